//! Conformance scripts: a WebAssembly test file (`.wast`) as data, and the interpreter that runs it.
//!
//! The same interpreter runs in the micro-VM and in a plain process on the host, so that a difference in the outcome
//! is a difference of what is below it. Parsing text and compiling modules is the host's work; a script refers to
//! modules and components by number. (The language: WebAssembly/spec, interpreter/README.md, "Scripts"; for components
//! that of the crate `wast`)
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "interpreter")]
mod check;
pub mod component;
#[cfg(any(feature = "interpreter", test))]
mod float;
#[cfg(feature = "interpreter")]
mod run;
#[cfg(feature = "interpreter")]
mod spectest;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

#[cfg(feature = "interpreter")]
pub use run::{Interpreter, Modules};

/// A payload of kind `Script` starts with the length of the encoded script, a little-endian u64; the script follows,
/// and behind it, each on a page boundary, the modules and components.
pub const LENGTH_BYTES: usize = 8;

/// The module that components import from their host as `simple-module`, as text: the number of its binary is
/// [`Script::host`].
pub const HOST_MODULE: &str =
    r#"(module (global (export "g") i32 i32.const 100) (func (export "f") (result i32) i32.const 101))"#;

/// A test file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// Compiled modules and components, by the number that directives have for them.
    pub modules: Vec<Compiled>,
    /// The module that components import from their host. Without it there can be no components.
    pub host: Option<u32>,
    pub directives: Vec<Directive>,
}

/// A module or component as the compiler left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compiled {
    /// Where its code is: bytes from the start of the payload, and how many.
    Code { offset: u64, len: u64 },
    /// The compiler's refusal.
    Refused(String),
}

/// A step of a script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Directive {
    /// Its line in the test file, from 1.
    pub line: u32,
    pub command: Command,
}

/// What a step does. Names of modules and instances are without their `$`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Instantiates a module and makes it the current one.
    Module {
        name: Option<String>,
        module: u32,
    },
    /// Remembers a module for [`Command::Instance`].
    Definition {
        name: Option<String>,
        module: u32,
    },
    Instance {
        name: Option<String>,
        definition: Option<String>,
    },
    Register {
        instance: Option<String>,
        name: String,
    },
    Action(Action),
    AssertReturn(Action, Vec<Expected>),
    AssertTrap(Action, String),
    AssertExhaustion(Action, String),
    AssertException(Action),
    /// The module's start function or initialisation traps.
    AssertUninstantiable(u32, String),
    AssertUnlinkable(u32, String),
    Component(component::Command),
}

/// What an assertion is about. Without an instance's name, the current one is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    Invoke {
        instance: Option<String>,
        field: String,
        args: Vec<Value>,
    },
    Get {
        instance: Option<String>,
        field: String,
    },
}

/// An argument. Floats are their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    NullFunc,
    NullExtern,
    NullAny,
    NullExn,
    /// `ref.extern n`: a reference that the host made from a number.
    Extern(u32),
    /// `ref.host n`: the same as an `anyref`.
    Host(u32),
}

/// What a result must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    I32(i32),
    I64(i64),
    F32(Float),
    F64(Float),
    V128(u128),
    F32x4([Float; 4]),
    F64x2([Float; 2]),
    /// Null of any type.
    Null,
    NullFunc,
    NullExtern,
    NullAny,
    NullExn,
    Func,
    Extern,
    ExternOf(u32),
    Any,
    HostOf(u32),
    Eq,
    I31,
    Struct,
    Array,
    Exn,
    Either(Vec<Expected>),
}

/// What a float must be, by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Float {
    Bits(u64),
    CanonicalNan,
    ArithmeticNan,
}

impl Script {
    /// The script as bytes.
    ///
    /// # Errors
    /// The encoder's.
    pub fn encode(&self) -> postcard::Result<Vec<u8>> {
        postcard::to_allocvec(self)
    }

    /// Reads a script.
    ///
    /// # Errors
    /// The decoder's, for bytes that are no script.
    pub fn decode(bytes: &[u8]) -> postcard::Result<Script> {
        postcard::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::string::ToString as _;
    use alloc::vec;

    use super::component::{Call, Value};
    use super::*;

    #[test]
    fn a_script_of_components_is_read_as_it_was_written() {
        let call = Call {
            instance: Some("a".to_string()),
            field: "f".to_string(),
            args: vec![
                Value::Char('\u{10ffff}'),
                Value::Record(vec![("x".to_string(), Value::F32(0xffc0_0001))]),
                Value::Result(Err(Some(Box::new(Value::Flags(vec!["y".to_string()]))))),
            ],
        };
        let expected = vec![Value::Variant("v".to_string(), None), Value::S64(i64::MIN)];
        let commands = [
            component::Command::Instantiate {
                name: None,
                component: 1,
            },
            component::Command::AssertReturn(call.clone(), expected),
            component::Command::AssertTrap(call, "unreachable".to_string()),
        ];
        let script = Script {
            modules: vec![
                Compiled::Code {
                    offset: 4096,
                    len: 12,
                },
                Compiled::Refused("no".to_string()),
            ],
            host: Some(0),
            directives: (1..)
                .zip(commands)
                .map(|(line, command)| Directive {
                    line,
                    command: Command::Component(command),
                })
                .collect(),
        };
        assert_eq!(Script::decode(&script.encode().unwrap()).unwrap(), script);
    }
}
