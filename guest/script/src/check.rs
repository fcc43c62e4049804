//! Compares results with what a script expects.

use alloc::format;
use alloc::string::String;

use wasmtime::{AnyRef, ExternRef, Rooted, Store, Val};

use crate::Expected;
use crate::float::{float32, float64, lanes32, lanes64};

/// What is wrong with `actual`, if anything is.
pub(crate) fn value(store: &mut Store<()>, actual: &Val, expected: &Expected) -> Result<(), String> {
    let matches = match (actual, expected) {
        (_, Expected::Either(options)) => options.iter().any(|e| value(store, actual, e).is_ok()),
        (Val::I32(a), Expected::I32(e)) => a == e,
        (Val::I64(a), Expected::I64(e)) => a == e,
        (Val::F32(a), Expected::F32(e)) => float32(*a, *e),
        (Val::F64(a), Expected::F64(e)) => float64(*a, *e),
        (Val::V128(a), Expected::V128(e)) => a.as_u128() == *e,
        (Val::V128(a), Expected::F32x4(e)) => lanes32(a.as_u128()).zip(e).all(|(a, e)| float32(a, *e)),
        (Val::V128(a), Expected::F64x2(e)) => lanes64(a.as_u128()).zip(e).all(|(a, e)| float64(a, *e)),
        (
            Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None),
            Expected::Null,
        )
        | (Val::FuncRef(None), Expected::NullFunc)
        | (Val::ExternRef(None), Expected::NullExtern)
        | (Val::AnyRef(None), Expected::NullAny)
        | (Val::ExnRef(None), Expected::NullExn)
        // Which function it is cannot be asked of Wasmtime.
        | (Val::FuncRef(Some(_)), Expected::Func)
        | (Val::ExternRef(Some(_)), Expected::Extern)
        | (Val::AnyRef(Some(_)), Expected::Any)
        | (Val::ExnRef(Some(_)), Expected::Exn) => true,
        (Val::ExternRef(Some(a)), Expected::ExternOf(e)) => number(store, *a) == Some(*e),
        (Val::AnyRef(Some(a)), Expected::HostOf(e)) => match ExternRef::convert_any(&mut *store, *a) {
            Ok(a) => number(store, a) == Some(*e),
            Err(_) => false,
        },
        (Val::AnyRef(Some(a)), Expected::Eq | Expected::I31 | Expected::Struct | Expected::Array) => {
            kind(store, *a, expected).unwrap_or(false)
        }
        _ => false,
    };
    if matches {
        Ok(())
    } else {
        Err(format!("expected {expected:x?}, got {actual:x?}"))
    }
}

fn kind(store: &mut Store<()>, actual: Rooted<AnyRef>, expected: &Expected) -> wasmtime::Result<bool> {
    match expected {
        Expected::Eq => actual.is_eqref(&*store),
        Expected::I31 => actual.is_i31(&*store),
        Expected::Struct => actual.is_struct(&*store),
        _ => actual.is_array(&*store),
    }
}

/// The number that the host made a reference from.
fn number(store: &mut Store<()>, reference: Rooted<ExternRef>) -> Option<u32> {
    let data = reference.data(&*store).ok().flatten()?;
    data.downcast_ref::<u32>().copied()
}
