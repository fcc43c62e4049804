//! The interpreter's part for components.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Linker, Val};
use wasmtime::{Engine, Error, Module, Store};

use super::same::same;
use super::{Call, Command, Value, host, value};
use crate::Modules;
use crate::run::{Outcome, counted, linked, text, trapped};

/// The components of a run.
pub(crate) struct Components {
    linker: Linker<()>,
    instances: BTreeMap<Option<String>, Running>,
    /// The name of the current instance, if there is one; it may have none.
    current: Option<Option<String>>,
    definitions: BTreeMap<Option<String>, Component>,
}

struct Running {
    store: Store<()>,
    instance: Instance,
}

impl Components {
    /// No component, and `simple` as the module that the host has for them.
    ///
    /// # Errors
    /// If what they import cannot be defined.
    pub(crate) fn new(engine: &Engine, simple: &Module) -> wasmtime::Result<Components> {
        let mut linker = Linker::new(engine);
        // Files use names anew.
        linker.allow_shadowing(true);
        host::define(&mut linker, simple)?;
        Ok(Components {
            linker,
            instances: BTreeMap::new(),
            current: None,
            definitions: BTreeMap::new(),
        })
    }

    /// Runs one command.
    ///
    /// # Errors
    /// A text that says how it failed.
    pub(crate) fn run(&mut self, components: &mut impl Modules, command: &Command) -> Outcome {
        let mut load = |number| components.load_component(number).map_err(|e| text(&e));
        match command {
            Command::Instantiate { name, component } => {
                self.leave();
                let component = load(*component)?;
                self.instantiate(name.as_deref(), &component)
            }
            Command::Definition { name, component } => {
                let component = load(*component)?;
                self.definitions.insert(name.clone(), component);
                Ok(())
            }
            Command::Instance { name, definition } => {
                self.leave();
                let Some(component) = self.definitions.get(definition).cloned() else {
                    return Err(format!("no component {definition:?} is defined"));
                };
                self.instantiate(name.as_deref(), &component)
            }
            Command::Call(call) => self.call(call)?.map(|_| ()).map_err(|e| text(&e)),
            Command::AssertReturn(call, expected) => {
                let values = self.call(call)?.map_err(|e| text(&e))?;
                returned(&values, expected)
            }
            Command::AssertTrap(call, message) => trapped(self.call(call)?, message),
            Command::AssertUninstantiable(component, message) => {
                let component = load(*component)?;
                trapped(self.start(&component).map(|_| ()), message)
            }
            Command::AssertUnlinkable(component, message) => {
                let component = load(*component)?;
                linked(self.start(&component).map(|_| ()), message)
            }
        }
    }

    /// There is no current instance. One that has no name ends: nothing refers to it.
    fn leave(&mut self) {
        self.current = None;
        self.instances.remove(&None);
    }

    fn start(&self, component: &Component) -> wasmtime::Result<Running> {
        let mut store = Store::new(component.engine(), ());
        let instance = self.linker.instantiate(&mut store, component)?;
        Ok(Running { store, instance })
    }

    fn instantiate(&mut self, name: Option<&str>, component: &Component) -> Outcome {
        let mut running = self.start(component).map_err(|e| text(&e))?;
        if let Some(name) = name {
            self.offer(name, component, &mut running).map_err(|e| text(&e))?;
        }
        let name = name.map(String::from);
        self.instances.insert(name.clone(), running);
        self.current = Some(name);
        Ok(())
    }

    /// Lets components import the modules and resources of an instance. Functions cannot be: each store is alone.
    fn offer(&mut self, name: &str, component: &Component, running: &mut Running) -> wasmtime::Result<()> {
        let engine = component.engine();
        let Running { store, instance } = running;
        let mut linker = self.linker.instance(name)?;
        for (field, item) in component.component_type().exports(engine) {
            match item.ty {
                ComponentItem::Module(_) => {
                    if let Some(module) = instance.get_module(&mut *store, field) {
                        linker.module(field, &module)?;
                    }
                }
                ComponentItem::Resource(_) => {
                    if let Some(resource) = instance.get_resource(&mut *store, field) {
                        linker.resource(field, resource, |_, _| Ok(()))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Calls a function. The outer error is one of the script, not of the program.
    fn call(&mut self, call: &Call) -> Result<Result<Vec<Val>, Error>, String> {
        let name = match &call.instance {
            Some(name) => Some(name.clone()),
            None => self.current.clone().ok_or("no current instance")?,
        };
        let Some(Running { store, instance }) = self.instances.get_mut(&name) else {
            return Err(format!("no instance {name:?}"));
        };
        let Some(func) = instance.get_func(&mut *store, &call.field) else {
            return Err(format!("no function {:?}", call.field));
        };
        let args: Vec<Val> = call.args.iter().map(value::write).collect();
        let mut results = vec![Val::Bool(false); func.ty(&*store).results().len()];
        let ended = func.call(&mut *store, &args, &mut results);
        Ok(ended.map(|()| results))
    }
}

fn returned(values: &[Val], expected: &[Value]) -> Outcome {
    counted(values, expected)?;
    for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
        if !value::read(value).is_some_and(|value| same(&value, expected)) {
            return Err(format!("result {i}: expected {expected:?}, got {value:?}"));
        }
    }
    Ok(())
}
