//! The interpreter.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Debug;

use wasmtime::component::Component;
use wasmtime::{
    AnyRef, Engine, Error, Extern, ExternRef, Instance, Linker, Module, Store, ThrownException, Val,
};

use crate::component::Components;
use crate::{Action, Command, Expected, Value, check, spectest};

/// Where compiled modules and components come from.
pub trait Modules {
    /// The module with this number in the script.
    ///
    /// # Errors
    /// The compiler's refusal, or the loader's.
    fn load(&mut self, number: u32) -> wasmtime::Result<Module>;

    /// The component with this number in the script.
    ///
    /// # Errors
    /// As for modules.
    fn load_component(&mut self, number: u32) -> wasmtime::Result<Component>;
}

/// The state of a run: one store, the instances that have names, and the current one.
#[allow(missing_debug_implementations, reason = "a linker has none")]
pub struct Interpreter<M> {
    modules: M,
    store: Store<()>,
    linker: Linker<()>,
    current: Option<Instance>,
    instances: BTreeMap<String, Instance>,
    definitions: BTreeMap<Option<String>, Module>,
    components: Option<Components>,
}

/// What is wrong with a directive.
pub(crate) type Outcome = Result<(), String>;

/// How an action ended: with values, or with an error of the program.
type Ended = Result<Vec<Val>, Error>;

impl<M: Modules> Interpreter<M> {
    /// An interpreter with `spectest` and, for components, if module number `host` is there for them, what they import
    /// from their host.
    ///
    /// # Errors
    /// If these cannot be defined.
    pub fn new(engine: &Engine, mut modules: M, host: Option<u32>) -> wasmtime::Result<Interpreter<M>> {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        // Files register names anew.
        linker.allow_shadowing(true);
        spectest::define(&mut linker, &mut store)?;
        let components = match host {
            Some(number) => Some(Components::new(engine, &modules.load(number)?)?),
            None => None,
        };
        Ok(Interpreter {
            modules,
            store,
            linker,
            current: None,
            instances: BTreeMap::new(),
            definitions: BTreeMap::new(),
            components,
        })
    }

    /// Runs one directive.
    ///
    /// # Errors
    /// A text that says how it failed.
    pub fn run(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Module { name, module } => {
                self.current = None;
                let module = self.load(*module)?;
                self.instantiate(name.as_deref(), &module)
            }
            Command::Definition { name, module } => {
                let module = self.load(*module)?;
                self.definitions.insert(name.clone(), module);
                Ok(())
            }
            Command::Instance { name, definition } => {
                self.current = None;
                let Some(module) = self.definitions.get(definition).cloned() else {
                    return Err(format!("no module {definition:?} is defined"));
                };
                self.instantiate(name.as_deref(), &module)
            }
            Command::Register { instance, name } => {
                let instance = self.instance(instance.as_deref())?;
                let defined = self.linker.instance(&mut self.store, name, instance);
                defined.map(|_| ()).map_err(|e| text(&e))
            }
            Command::Action(action) => self.perform(action)?.map(|_| ()).map_err(|e| text(&e)),
            Command::AssertReturn(action, expected) => {
                let values = self.perform(action)?.map_err(|e| text(&e))?;
                self.check(&values, expected)
            }
            Command::AssertTrap(action, message) | Command::AssertExhaustion(action, message) => {
                let ended = self.perform(action)?;
                trapped(ended, message)
            }
            Command::AssertException(action) => {
                let ended = self.perform(action)?;
                self.thrown(ended)
            }
            Command::AssertUninstantiable(module, message) => {
                let module = self.load(*module)?;
                let ended = self.linker.instantiate(&mut self.store, &module);
                trapped(ended.map(|_| ()), message)
            }
            Command::AssertUnlinkable(module, message) => {
                let module = self.load(*module)?;
                let ended = self.linker.instantiate(&mut self.store, &module);
                linked(ended.map(|_| ()), message)
            }
            Command::Component(command) => match &mut self.components {
                Some(components) => components.run(&mut self.modules, command),
                None => Err("the script has no host for components".into()),
            },
        }
    }

    fn load(&mut self, number: u32) -> Result<Module, String> {
        self.modules.load(number).map_err(|e| text(&e))
    }

    fn instantiate(&mut self, name: Option<&str>, module: &Module) -> Outcome {
        let instance = self
            .linker
            .instantiate(&mut self.store, module)
            .map_err(|e| text(&e))?;
        if let Some(name) = name {
            self.instances.insert(name.to_string(), instance);
        }
        self.current = Some(instance);
        Ok(())
    }

    fn instance(&self, name: Option<&str>) -> Result<Instance, String> {
        match name {
            Some(name) => self
                .instances
                .get(name)
                .copied()
                .ok_or_else(|| format!("no instance ${name}")),
            None => self.current.ok_or_else(|| "no current instance".into()),
        }
    }

    /// Performs an action. The outer error is one of the script, not of the program.
    fn perform(&mut self, action: &Action) -> Result<Ended, String> {
        let (Action::Invoke { instance, field, .. } | Action::Get { instance, field }) = action;
        let instance = self.instance(instance.as_deref())?;
        let Some(export) = instance.get_export(&mut self.store, field) else {
            return Err(format!("no export {field:?}"));
        };
        match (action, export) {
            (Action::Invoke { args, .. }, Extern::Func(func)) => {
                let mut values = Vec::with_capacity(args.len());
                for arg in args {
                    values.push(self.value(*arg).map_err(|e| text(&e))?);
                }
                let mut results = vec![Val::null_func_ref(); func.ty(&self.store).results().len()];
                let ended = func.call(&mut self.store, &values, &mut results);
                Ok(ended.map(|()| results))
            }
            (Action::Get { .. }, Extern::Global(global)) => Ok(Ok(vec![global.get(&mut self.store)])),
            _ => Err(format!("export {field:?} is of another kind")),
        }
    }

    fn value(&mut self, value: Value) -> wasmtime::Result<Val> {
        Ok(match value {
            Value::I32(v) => Val::I32(v),
            Value::I64(v) => Val::I64(v),
            Value::F32(v) => Val::F32(v),
            Value::F64(v) => Val::F64(v),
            Value::V128(v) => Val::V128(v.into()),
            Value::NullFunc => Val::FuncRef(None),
            Value::NullExtern => Val::ExternRef(None),
            Value::NullAny => Val::AnyRef(None),
            Value::NullExn => Val::ExnRef(None),
            Value::Extern(v) => Val::ExternRef(Some(ExternRef::new(&mut self.store, v)?)),
            Value::Host(v) => {
                let reference = ExternRef::new(&mut self.store, v)?;
                Val::AnyRef(Some(AnyRef::convert_extern(&mut self.store, reference)?))
            }
        })
    }

    fn check(&mut self, values: &[Val], expected: &[Expected]) -> Outcome {
        counted(values, expected)?;
        for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
            check::value(&mut self.store, value, expected).map_err(|e| format!("result {i}: {e}"))?;
        }
        Ok(())
    }

    fn thrown(&mut self, ended: Ended) -> Outcome {
        match ended {
            Ok(values) => Err(format!("expected an exception, got {values:?}")),
            Err(error) if error.is::<ThrownException>() => match self.store.take_pending_exception() {
                Some(_) => Ok(()),
                None => Err("an exception was thrown, and the store has none".into()),
            },
            Err(error) => Err(format!("expected an exception, got {:?}", text(&error))),
        }
    }
}

pub(crate) fn text(error: &Error) -> String {
    format!("{error:?}")
}

/// Whether there are as many results as are expected.
pub(crate) fn counted<V, E>(values: &[V], expected: &[E]) -> Outcome {
    if values.len() == expected.len() {
        Ok(())
    } else {
        Err(format!(
            "expected {} results, got {}",
            expected.len(),
            values.len()
        ))
    }
}

/// Whether linking failed with a text that holds `message`.
pub(crate) fn linked(ended: Result<(), Error>, message: &str) -> Outcome {
    match ended {
        Ok(()) => Err("expected a failure to link, got an instance".into()),
        Err(error) if text(&error).contains(message) => Ok(()),
        Err(error) => Err(format!("expected {message:?}, got {:?}", text(&error))),
    }
}

/// Whether an action ended by a trap whose text is `message`. Where a test names more than Wasmtime's text holds, what
/// it holds must be there: these are the exceptions of Wasmtime's own runner of such files.
pub(crate) fn trapped<V: Debug>(ended: Result<V, Error>, message: &str) -> Outcome {
    let actual = match ended {
        Ok(values) => return Err(format!("expected a trap, got {values:?}")),
        Err(error) => text(&error),
    };
    let holds = |part: &str| actual.contains(part);
    let same = holds(message)
        || (message.contains("uninitialized element 2") && holds("uninitialized element"))
        || (message.contains("null function") && (holds("uninitialized element") || holds("null reference")))
        || (message.contains("null") && message.contains("reference") && holds("null reference"));
    if same {
        Ok(())
    } else {
        Err(format!("expected {message:?}, got {actual:?}"))
    }
}
