//! From a test file's text to steps.

use mote_script::{Action, Command, Directive};
use wasmtime::Engine;
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke};

use super::File;
use super::component::{self, Known, Read, owned};
use super::engines::{compile, is_component};

/// What a file asks for.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    /// Modules and components as binaries, by the number that directives have for them, or why there is no binary.
    pub(super) modules: Vec<Result<Vec<u8>, String>>,
    /// The module that components import from their host, if the file has any.
    pub(super) host: Option<u32>,
}

pub(super) enum Step {
    /// Decided already.
    Host {
        line: u32,
        verdict: Result<(), String>,
    },
    /// To be run by the interpreter.
    Run(Directive),
    Skipped {
        line: u32,
        reason: &'static str,
    },
}

impl Steps {
    /// What the interpreter is to run.
    pub(super) fn directives(&self) -> impl Iterator<Item = &Directive> {
        self.steps.iter().filter_map(|step| match step {
            Step::Run(directive) => Some(directive),
            _ => None,
        })
    }

    pub(super) fn add(&mut self, module: &mut QuoteWat<'_>) -> Result<u32, String> {
        let number = u32::try_from(self.modules.len()).map_err(|e| e.to_string())?;
        self.modules.push(module.encode().map_err(|e| e.message()));
        Ok(number)
    }
}

/// Reads a file.
///
/// # Errors
/// What the text parser says about it.
pub(super) fn parse(file: &File, engine: &Engine) -> Result<Steps, String> {
    let mut lexer = Lexer::new(&file.text);
    // Names in the tests are chosen to be confusing.
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).map_err(|e| e.to_string())?;
    let wast = parser::parse::<Wast<'_>>(&buffer).map_err(|e| e.to_string())?;
    let mut steps = Steps::default();
    let mut known = Known::default();
    for directive in wast.directives {
        let (line, _) = directive.span().linecol_in(&file.text);
        let line = u32::try_from(line + 1).unwrap_or(u32::MAX);
        let step = match step(directive, &mut steps, &mut known, engine) {
            Ok(Made::Command(command)) => Step::Run(Directive { line, command }),
            Ok(Made::Verdict(verdict)) => Step::Host { line, verdict },
            Ok(Made::Skipped(reason)) => Step::Skipped { line, reason },
            Err(text) => Step::Host {
                line,
                verdict: Err(text),
            },
        };
        steps.steps.push(step);
    }
    Ok(steps)
}

enum Made {
    Command(Command),
    Verdict(Result<(), String>),
    Skipped(&'static str),
}

fn step(
    directive: WastDirective<'_>,
    steps: &mut Steps,
    known: &mut Known,
    engine: &Engine,
) -> Result<Made, String> {
    let directive = match component::read(directive, steps, known) {
        Read::Component(command) => return Ok(Made::Command(Command::Component(command?))),
        Read::Core(directive) => directive,
    };
    Ok(Made::Command(match directive {
        WastDirective::Module(mut module) => Command::Module {
            name: owned(module.name()),
            module: steps.add(&mut module)?,
        },
        WastDirective::ModuleDefinition(mut module) => Command::Definition {
            name: owned(module.name()),
            module: steps.add(&mut module)?,
        },
        WastDirective::ModuleInstance { instance, module, .. } => Command::Instance {
            name: owned(instance),
            definition: owned(module),
        },
        WastDirective::Register { name, module, .. } => Command::Register {
            instance: owned(module),
            name: name.to_string(),
        },
        WastDirective::Invoke(call) => Command::Action(invoke(call)?),
        WastDirective::AssertReturn { exec, results, .. } => {
            let expected = results
                .iter()
                .map(super::values::result)
                .collect::<Result<_, _>>()?;
            Command::AssertReturn(action(exec)?, expected)
        }
        WastDirective::AssertTrap {
            exec: WastExecute::Wat(module),
            message,
            ..
        } => Command::AssertUninstantiable(steps.add(&mut QuoteWat::Wat(module))?, message.to_string()),
        WastDirective::AssertTrap { exec, message, .. } => {
            Command::AssertTrap(action(exec)?, message.to_string())
        }
        WastDirective::AssertExhaustion { call, message, .. } => {
            Command::AssertExhaustion(invoke(call)?, message.to_string())
        }
        WastDirective::AssertException { exec, .. } => Command::AssertException(action(exec)?),
        WastDirective::AssertUnlinkable { module, message, .. } => {
            Command::AssertUnlinkable(steps.add(&mut QuoteWat::Wat(module))?, message.to_string())
        }
        WastDirective::AssertMalformed { module, message, .. }
        | WastDirective::AssertInvalid { module, message, .. }
        | WastDirective::AssertMalformedCustom { module, message, .. }
        | WastDirective::AssertInvalidCustom { module, message, .. } => {
            return Ok(Made::Verdict(refused(module, message, engine)));
        }
        WastDirective::AssertSuspension { .. } => {
            return Ok(Made::Skipped("stack switching, off in Wasmtime by default"));
        }
        WastDirective::Thread(_) | WastDirective::Wait { .. } => return Ok(Made::Skipped("threads")),
    }))
}

/// Whether text parser or compiler refuse the module or component. The words of the refusal are theirs.
fn refused(mut module: QuoteWat<'_>, message: &str, engine: &Engine) -> Result<(), String> {
    let component = component::quoted(&module);
    match module.encode() {
        // A module whose bytes say that it is a component is malformed, and the other way round.
        Ok(wasm) if is_component(&wasm) == component && compile(engine, &wasm).is_ok() => {
            Err(format!("accepted, expected {message:?}"))
        }
        _ => Ok(()),
    }
}

fn action(exec: WastExecute<'_>) -> Result<Action, String> {
    match exec {
        WastExecute::Invoke(call) => invoke(call),
        WastExecute::Get { module, global, .. } => Ok(Action::Get {
            instance: owned(module),
            field: global.to_string(),
        }),
        WastExecute::Wat(_) => Err("a module where an action is expected".into()),
    }
}

fn invoke(call: WastInvoke<'_>) -> Result<Action, String> {
    Ok(Action::Invoke {
        instance: owned(call.module),
        field: call.name.to_string(),
        args: call
            .args
            .iter()
            .map(super::values::argument)
            .collect::<Result<_, _>>()?,
    })
}
