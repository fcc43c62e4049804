//! Components in a script: what is done with them, and values.
//!
//! Each component gets a store of its own, which ends with it: a trap ends whatever runs in its store.

#[cfg(feature = "interpreter")]
mod host;
#[cfg(feature = "interpreter")]
mod run;
#[cfg(any(feature = "interpreter", test))]
mod same;
#[cfg(feature = "interpreter")]
mod value;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

#[cfg(feature = "interpreter")]
pub(crate) use run::Components;

/// What a step does with a component. Names are without their `$`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Instantiates a component and makes it the current one. What a component with a name exports of modules and
    /// resources can be imported under that name.
    Instantiate {
        name: Option<String>,
        component: u32,
    },
    /// Remembers a component for [`Command::Instance`].
    Definition {
        name: Option<String>,
        component: u32,
    },
    Instance {
        name: Option<String>,
        definition: Option<String>,
    },
    Call(Call),
    AssertReturn(Call, Vec<Value>),
    AssertTrap(Call, String),
    /// Instantiation traps.
    AssertUninstantiable(u32, String),
    AssertUnlinkable(u32, String),
}

/// A call of a function that a component exports. Without an instance's name, the current one is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub instance: Option<String>,
    pub field: String,
    pub args: Vec<Value>,
}

/// An argument, or what a result must be. Floats are their bits; a resource has no text and so no value here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    Bool(bool),
    U8(u8),
    S8(i8),
    U16(u16),
    S16(i16),
    U32(u32),
    S32(i32),
    U64(u64),
    S64(i64),
    F32(u32),
    F64(u64),
    Char(char),
    String(String),
    List(Vec<Value>),
    Record(Vec<(String, Value)>),
    Tuple(Vec<Value>),
    Variant(String, Option<Box<Value>>),
    Enum(String),
    Option(Option<Box<Value>>),
    Result(Result<Option<Box<Value>>, Option<Box<Value>>>),
    Flags(Vec<String>),
}
