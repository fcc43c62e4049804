//! Directives that are about components.

use std::collections::{HashMap, HashSet};

use mote_script::component::{Call, Command, Value};
use wast::component::WastVal;
use wast::core::{NanPattern, WastArgCore, WastRetCore};
use wast::parser::{self, ParseBuffer};
use wast::token::Id;
use wast::{QuoteWat, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, Wat};

use super::parse::Steps;

/// A directive, read.
pub(super) enum Read<'a> {
    Component(Result<Command, String>),
    /// It is about no component.
    Core(WastDirective<'a>),
}

/// What the names of a file stand for: a call does not say whether a module or a component is called.
#[derive(Default)]
pub(super) struct Known {
    /// Whether the current instance is one of a component.
    current: bool,
    /// Names of components' instances.
    instances: HashSet<String>,
    /// Whether a definition is a component.
    definitions: HashMap<Option<String>, bool>,
}

impl Known {
    /// Notes what a directive defines.
    fn note(&mut self, directive: &WastDirective<'_>) {
        let (name, component) = match directive {
            WastDirective::Module(module) => (owned(module.name()), quoted(module)),
            WastDirective::ModuleDefinition(module) => {
                self.definitions.insert(owned(module.name()), quoted(module));
                return;
            }
            WastDirective::ModuleInstance { instance, module, .. } => (
                owned(*instance),
                self.definitions.get(&owned(*module)).copied().unwrap_or(false),
            ),
            _ => return,
        };
        self.current = component;
        if let Some(name) = name {
            if component {
                self.instances.insert(name);
            } else {
                self.instances.remove(&name);
            }
        }
    }

    fn calls(&self, call: &WastInvoke<'_>) -> bool {
        match call.module {
            Some(id) => self.instances.contains(id.name()),
            None => self.current,
        }
    }

    /// Whether the directive is one of those that [`command`] reads.
    fn about(&self, directive: &WastDirective<'_>) -> bool {
        match directive {
            WastDirective::Module(module) | WastDirective::ModuleDefinition(module) => quoted(module),
            WastDirective::ModuleInstance { .. } => self.current,
            WastDirective::Invoke(call) | WastDirective::AssertExhaustion { call, .. } => self.calls(call),
            WastDirective::AssertReturn { exec, .. }
            | WastDirective::AssertTrap { exec, .. }
            | WastDirective::AssertException { exec, .. } => match exec {
                WastExecute::Invoke(call) => self.calls(call),
                WastExecute::Wat(module) => matches!(module, Wat::Component(_)),
                WastExecute::Get { .. } => false,
            },
            WastDirective::AssertUnlinkable { module, .. } => matches!(module, Wat::Component(_)),
            _ => false,
        }
    }
}

/// Reads a directive if it is about a component, and adds the component to `steps`.
pub(super) fn read<'a>(directive: WastDirective<'a>, steps: &mut Steps, known: &mut Known) -> Read<'a> {
    known.note(&directive);
    if !known.about(&directive) {
        return Read::Core(directive);
    }
    Read::Component(host(steps).and_then(|()| command(directive, steps)))
}

fn command(directive: WastDirective<'_>, steps: &mut Steps) -> Result<Command, String> {
    Ok(match directive {
        WastDirective::Module(mut component) => Command::Instantiate {
            name: owned(component.name()),
            component: steps.add(&mut component)?,
        },
        WastDirective::ModuleDefinition(mut component) => Command::Definition {
            name: owned(component.name()),
            component: steps.add(&mut component)?,
        },
        WastDirective::ModuleInstance { instance, module, .. } => Command::Instance {
            name: owned(instance),
            definition: owned(module),
        },
        WastDirective::Invoke(invoke) => Command::Call(call(&invoke)?),
        WastDirective::AssertReturn {
            exec: WastExecute::Invoke(invoke),
            results,
            ..
        } => {
            let expected = results.iter().map(result).collect::<Result<_, _>>()?;
            Command::AssertReturn(call(&invoke)?, expected)
        }
        WastDirective::AssertTrap {
            exec: WastExecute::Wat(component),
            message,
            ..
        } => Command::AssertUninstantiable(steps.add(&mut QuoteWat::Wat(component))?, message.to_string()),
        WastDirective::AssertTrap {
            exec: WastExecute::Invoke(invoke),
            message,
            ..
        }
        | WastDirective::AssertExhaustion {
            call: invoke,
            message,
            ..
        } => Command::AssertTrap(call(&invoke)?, message.to_string()),
        WastDirective::AssertUnlinkable { module, message, .. } => {
            Command::AssertUnlinkable(steps.add(&mut QuoteWat::Wat(module))?, message.to_string())
        }
        _ => return Err("a directive that components do not have".into()),
    })
}

/// Adds the module that components import from their host.
fn host(steps: &mut Steps) -> Result<(), String> {
    if steps.host.is_none() {
        let buffer = ParseBuffer::new(mote_script::HOST_MODULE).map_err(|e| e.to_string())?;
        let module = parser::parse::<Wat<'_>>(&buffer).map_err(|e| e.to_string())?;
        steps.host = Some(steps.add(&mut QuoteWat::Wat(module))?);
    }
    Ok(())
}

/// A name without its `$`.
pub(super) fn owned(id: Option<Id<'_>>) -> Option<String> {
    id.map(|id| id.name().to_string())
}

/// Whether the text says that it is a component.
pub(super) fn quoted(module: &QuoteWat<'_>) -> bool {
    matches!(
        module,
        QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..)
    )
}

fn call(invoke: &WastInvoke<'_>) -> Result<Call, String> {
    Ok(Call {
        instance: owned(invoke.module),
        field: invoke.name.to_string(),
        args: invoke.args.iter().map(argument).collect::<Result<_, _>>()?,
    })
}

/// An argument. The words for floats are those of modules, which the parser knows first.
fn argument(arg: &WastArg<'_>) -> Result<Value, String> {
    match arg {
        WastArg::Component(v) => value(v),
        WastArg::Core(WastArgCore::F32(v)) => Ok(Value::F32(v.bits)),
        WastArg::Core(WastArgCore::F64(v)) => Ok(Value::F64(v.bits)),
        other => Err(format!("an argument of another kind: {other:?}")),
    }
}

/// A result, with the words for floats as in arguments. All NaNs are one.
fn result(result: &WastRet<'_>) -> Result<Value, String> {
    match result {
        WastRet::Component(v) => value(v),
        WastRet::Core(WastRetCore::F32(v)) => Ok(Value::F32(match v {
            NanPattern::Value(v) => v.bits,
            _ => f32::NAN.to_bits(),
        })),
        WastRet::Core(WastRetCore::F64(v)) => Ok(Value::F64(match v {
            NanPattern::Value(v) => v.bits,
            _ => f64::NAN.to_bits(),
        })),
        other => Err(format!("a result of another kind: {other:?}")),
    }
}

fn value(v: &WastVal<'_>) -> Result<Value, String> {
    let all = |values: &[WastVal<'_>]| values.iter().map(value).collect::<Result<Vec<_>, _>>();
    let optional =
        |v: &Option<Box<WastVal<'_>>>| v.as_deref().map(value).transpose().map(|v| v.map(Box::new));
    Ok(match v {
        WastVal::Bool(v) => Value::Bool(*v),
        WastVal::U8(v) => Value::U8(*v),
        WastVal::S8(v) => Value::S8(*v),
        WastVal::U16(v) => Value::U16(*v),
        WastVal::S16(v) => Value::S16(*v),
        WastVal::U32(v) => Value::U32(*v),
        WastVal::S32(v) => Value::S32(*v),
        WastVal::U64(v) => Value::U64(*v),
        WastVal::S64(v) => Value::S64(*v),
        WastVal::F32(v) => Value::F32(v.bits),
        WastVal::F64(v) => Value::F64(v.bits),
        WastVal::Char(v) => Value::Char(*v),
        WastVal::String(v) => Value::String((*v).to_string()),
        WastVal::List(v) => Value::List(all(v)?),
        WastVal::Record(v) => Value::Record(
            v.iter()
                .map(|(name, v)| Ok(((*name).to_string(), value(v)?)))
                .collect::<Result<_, String>>()?,
        ),
        WastVal::Tuple(v) => Value::Tuple(all(v)?),
        WastVal::Variant(case, v) => Value::Variant((*case).to_string(), optional(v)?),
        WastVal::Enum(v) => Value::Enum((*v).to_string()),
        WastVal::Option(v) => Value::Option(optional(v)?),
        WastVal::Result(Ok(v)) => Value::Result(Ok(optional(v)?)),
        WastVal::Result(Err(v)) => Value::Result(Err(optional(v)?)),
        WastVal::Flags(v) => Value::Flags(v.iter().map(ToString::to_string).collect()),
        WastVal::Map(_) => return Err("a map, which WASI 0.2 does not have".into()),
    })
}

#[cfg(test)]
mod tests {
    use wast::Wast;

    use super::*;

    #[test]
    fn calls_go_to_what_was_instantiated_last_or_is_named() {
        let text = r#"
            (component $c)
            (invoke "f" (u8.const 1) (f32.const -0))
            (module $m)
            (invoke "f" (f32.const 1))
            (assert_return (invoke $c "f") (list.const (str.const "a")))
            (component definition $d)
            (invoke "f")
            (component instance $i $d)
            (assert_trap (invoke "f") "unreachable")
            (invoke $m "f")
        "#;
        let buffer = ParseBuffer::new(text).unwrap();
        let wast = parser::parse::<Wast<'_>>(&buffer).unwrap();
        let mut steps = Steps::default();
        let mut known = Known::default();
        let mut commands = Vec::new();
        for directive in wast.directives {
            match read(directive, &mut steps, &mut known) {
                Read::Component(command) => commands.push(Some(command.unwrap())),
                Read::Core(_) => commands.push(None),
            }
        }
        let call = |instance: Option<&str>, args| Call {
            instance: instance.map(str::to_string),
            field: "f".to_string(),
            args,
        };
        let name = |name: &str| Some(name.to_string());
        let expected = [
            Some(Command::Instantiate {
                name: name("c"),
                component: 1,
            }),
            Some(Command::Call(call(
                None,
                vec![Value::U8(1), Value::F32(0x8000_0000)],
            ))),
            None,
            None,
            Some(Command::AssertReturn(
                call(Some("c"), vec![]),
                vec![Value::List(vec![Value::String("a".to_string())])],
            )),
            Some(Command::Definition {
                name: name("d"),
                component: 2,
            }),
            None,
            Some(Command::Instance {
                name: name("i"),
                definition: name("d"),
            }),
            Some(Command::AssertTrap(call(None, vec![]), "unreachable".to_string())),
            None,
        ];
        assert_eq!(commands, expected);
        // The host's module is the first.
        assert_eq!((steps.host, steps.modules.len()), (Some(0), 3));
    }
}
