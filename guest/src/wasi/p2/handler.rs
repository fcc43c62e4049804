//! A component's `wasi:http/incoming-handler`.

use mote_abi::http::RequestHead;
use mote_abi::wasi::INCOMING_HANDLER;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Resource};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store, bail};

use super::http::{IncomingRequest, ResponseOutparam};
use super::{exported, linker};
use crate::wasi::Host;
use crate::wasi::http::ExchangeId;

/// What `wasmtime serve` says of a component that returns or traps without an answer.
pub(crate) const NO_ANSWER: &str = "guest never invoked `response-outparam::set` method";

/// A component that is ready to be instantiated for a request.
pub(crate) struct Handler {
    instance: InstancePre<Host>,
    handle: ComponentExportIndex,
}

impl Handler {
    pub(crate) fn new(component: &Component) -> Result<Handler> {
        let Some(interface) = exported(component, INCOMING_HANDLER) else {
            bail!("the component does not export {INCOMING_HANDLER}@0.2.x")
        };
        let handle = component
            .get_export_index(None, interface.as_str())
            .and_then(|at| component.get_export_index(Some(&at), "handle"));
        let Some(handle) = handle else {
            bail!("the component's {interface} has no function `handle`")
        };
        let instance = linker(component)?.instantiate_pre(component)?;
        Ok(Handler { instance, handle })
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.instance.engine()
    }

    /// Has a new instance handle the request.
    pub(crate) fn call(
        &self,
        store: &mut Store<Host>,
        exchange: ExchangeId,
        head: RequestHead,
    ) -> Result<()> {
        let request = IncomingRequest::new(head, exchange)?;
        let instance = self.instance.instantiate(&mut *store)?;
        let handle = instance.get_typed_func::<(Resource<IncomingRequest>, Resource<ResponseOutparam>), ()>(
            &mut *store,
            &self.handle,
        )?;
        let table = &mut store.data_mut().table;
        let request = table.push(request)?;
        let out = table.push(ResponseOutparam(exchange))?;
        let result = handle.call(&mut *store, (request, out));
        if store.data().http.is_answered(exchange) {
            result
        } else {
            result.context(NO_ANSWER)
        }
    }
}
