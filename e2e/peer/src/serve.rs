//! `peer serve`: a new instance for each request, as the wasmtime command does it for WASI 0.2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wasmtime::component::Linker;
use wasmtime::error::Context as _;
use wasmtime::{Result, Store, bail};
use wasmtime_wasi::p2;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, WasiHttpView};

use crate::code::{self, Program};
use crate::host::{self, Host};
use crate::options::Options;

type Body = UnsyncBoxBody<Bytes, Error>;

/// Serves until the process is killed. Says on stderr where, as soon as connections are taken.
pub(crate) async fn serve(options: &Options, addr: SocketAddr) -> Result<()> {
    let engine = code::engine()?;
    let Program::Component(component) = code::load(&engine, &options.code)? else {
        bail!("{} is a module; components serve HTTP", options.file)
    };
    // All of WASI, as `wasmtime serve -Scli` has it: the libraries of some languages import more than they use.
    let mut linker = Linker::<Host>::new(&engine);
    p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let pre = ProxyPre::new(linker.instantiate_pre(&component)?)?;
    // Refused now rather than at the first request.
    host::wasi(options)?;

    let server = Arc::new(Server {
        pre,
        options: options.clone(),
    });
    let listener = TcpListener::bind(addr).await?;
    eprintln!("Serving HTTP on http://{}/", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = server.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let served = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                eprintln!("error: {error:?}");
            }
        });
    }
}

struct Server {
    pre: ProxyPre<Host>,
    options: Options,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.handle(request).await {
            Ok(response) => response,
            Err(error) => {
                eprintln!("error: {error:?}");
                let body = Full::new(Bytes::new()).map_err(|never| match never {});
                let mut response = Response::new(body.boxed_unsync());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let mut store = Store::new(self.pre.engine(), Host::new(host::wasi(&self.options)?.build()));
        let (sender, receiver) = oneshot::channel();
        let request = store
            .data_mut()
            .http()
            .new_incoming_request(Scheme::Http, request)?;
        let out = store.data_mut().http().new_response_outparam(sender)?;
        let pre = self.pre.clone();
        // The handler may go on after it has set its response: its body is still to come.
        let task = tokio::spawn(async move {
            let proxy = pre.instantiate_async(&mut store).await?;
            let handler = proxy.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, out).await
        });
        const NEVER_SET: &str = "guest never invoked `response-outparam::set` method";
        match receiver.await {
            Ok(response) => Ok(response?),
            Err(_) => match task.await? {
                Ok(()) => bail!(NEVER_SET),
                Err(error) => Err(error).context(NEVER_SET),
            },
        }
    }
}
