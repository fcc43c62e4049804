//! Values as Wasmtime has them, to and from those of scripts.

use alloc::boxed::Box;

use wasmtime::component::Val;

use super::Value;

/// The value as Wasmtime has it.
pub(super) fn write(value: &Value) -> Val {
    let boxed = |value: &Option<Box<Value>>| value.as_deref().map(|v| Box::new(write(v)));
    match value {
        Value::Bool(v) => Val::Bool(*v),
        Value::U8(v) => Val::U8(*v),
        Value::S8(v) => Val::S8(*v),
        Value::U16(v) => Val::U16(*v),
        Value::S16(v) => Val::S16(*v),
        Value::U32(v) => Val::U32(*v),
        Value::S32(v) => Val::S32(*v),
        Value::U64(v) => Val::U64(*v),
        Value::S64(v) => Val::S64(*v),
        Value::F32(v) => Val::Float32(f32::from_bits(*v)),
        Value::F64(v) => Val::Float64(f64::from_bits(*v)),
        Value::Char(v) => Val::Char(*v),
        Value::String(v) => Val::String(v.clone()),
        Value::List(v) => Val::List(v.iter().map(write).collect()),
        Value::Record(v) => Val::Record(v.iter().map(|(name, v)| (name.clone(), write(v))).collect()),
        Value::Tuple(v) => Val::Tuple(v.iter().map(write).collect()),
        Value::Variant(case, v) => Val::Variant(case.clone(), boxed(v)),
        Value::Enum(v) => Val::Enum(v.clone()),
        Value::Option(v) => Val::Option(boxed(v)),
        Value::Result(v) => Val::Result(v.as_ref().map(boxed).map_err(boxed)),
        Value::Flags(v) => Val::Flags(v.clone()),
    }
}

/// The value that Wasmtime has, unless a script has none of its kind.
pub(super) fn read(val: &Val) -> Option<Value> {
    let all = |vals: &[Val]| vals.iter().map(read).collect::<Option<_>>();
    Some(match val {
        Val::Bool(v) => Value::Bool(*v),
        Val::U8(v) => Value::U8(*v),
        Val::S8(v) => Value::S8(*v),
        Val::U16(v) => Value::U16(*v),
        Val::S16(v) => Value::S16(*v),
        Val::U32(v) => Value::U32(*v),
        Val::S32(v) => Value::S32(*v),
        Val::U64(v) => Value::U64(*v),
        Val::S64(v) => Value::S64(*v),
        Val::Float32(v) => Value::F32(v.to_bits()),
        Val::Float64(v) => Value::F64(v.to_bits()),
        Val::Char(v) => Value::Char(*v),
        Val::String(v) => Value::String(v.clone()),
        Val::List(v) => Value::List(all(v)?),
        Val::Record(v) => Value::Record(
            v.iter()
                .map(|(name, v)| Some((name.clone(), read(v)?)))
                .collect::<Option<_>>()?,
        ),
        Val::Tuple(v) => Value::Tuple(all(v)?),
        Val::Variant(case, v) => Value::Variant(case.clone(), inner(v)?),
        Val::Enum(v) => Value::Enum(v.clone()),
        Val::Option(v) => Value::Option(inner(v)?),
        Val::Result(Ok(v)) => Value::Result(Ok(inner(v)?)),
        Val::Result(Err(v)) => Value::Result(Err(inner(v)?)),
        Val::Flags(v) => Value::Flags(v.clone()),
        _ => return None,
    })
}

/// A payload, if there is one; `None` as for [`read`].
#[allow(
    clippy::option_option,
    reason = "a payload may be missing, and what is there may have no value"
)]
fn inner(val: &Option<Box<Val>>) -> Option<Option<Box<Value>>> {
    match val {
        Some(val) => read(val).map(|v| Some(Box::new(v))),
        None => Some(None),
    }
}
