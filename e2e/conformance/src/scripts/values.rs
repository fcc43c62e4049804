//! Arguments and results, from the text format's tree to a script's.

use mote_script::{Expected, Float, Value};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Const, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// An argument, or why a script cannot hold it.
pub(super) fn argument(arg: &WastArg<'_>) -> Result<Value, String> {
    let WastArg::Core(arg) = arg else {
        return Err(format!("an argument of another kind: {arg:?}"));
    };
    Ok(match arg {
        WastArgCore::I32(v) => Value::I32(*v),
        WastArgCore::I64(v) => Value::I64(*v),
        WastArgCore::F32(v) => Value::F32(v.bits),
        WastArgCore::F64(v) => Value::F64(v.bits),
        WastArgCore::V128(v) => Value::V128(u128::from_le_bytes(constant(v))),
        WastArgCore::RefExtern(v) => Value::Extern(*v),
        WastArgCore::RefHost(v) => Value::Host(*v),
        WastArgCore::RefNull(ty) => match null(ty)? {
            Expected::NullFunc => Value::NullFunc,
            Expected::NullExtern => Value::NullExtern,
            Expected::NullExn => Value::NullExn,
            _ => Value::NullAny,
        },
    })
}

/// An expected result, or why a script cannot hold it.
pub(super) fn result(result: &WastRet<'_>) -> Result<Expected, String> {
    match result {
        WastRet::Core(result) => core_result(result),
        other => Err(format!("a result of another kind: {other:?}")),
    }
}

fn core_result(result: &WastRetCore<'_>) -> Result<Expected, String> {
    Ok(match result {
        WastRetCore::I32(v) => Expected::I32(*v),
        WastRetCore::I64(v) => Expected::I64(*v),
        WastRetCore::F32(v) => Expected::F32(float32(*v)),
        WastRetCore::F64(v) => Expected::F64(float64(*v)),
        WastRetCore::V128(v) => vector(v),
        WastRetCore::RefNull(None) => Expected::Null,
        WastRetCore::RefNull(Some(ty)) => null(ty)?,
        WastRetCore::RefExtern(None) => Expected::Extern,
        WastRetCore::RefExtern(Some(v)) => Expected::ExternOf(*v),
        WastRetCore::RefHost(v) => Expected::HostOf(*v),
        WastRetCore::RefFunc(_) => Expected::Func,
        WastRetCore::RefAny => Expected::Any,
        WastRetCore::RefEq => Expected::Eq,
        WastRetCore::RefArray => Expected::Array,
        WastRetCore::RefStruct => Expected::Struct,
        WastRetCore::RefI31 => Expected::I31,
        WastRetCore::RefI31Shared => return Err("a shared reference".into()),
        WastRetCore::Either(options) => {
            Expected::Either(options.iter().map(core_result).collect::<Result<_, _>>()?)
        }
    })
}

fn null(ty: &HeapType<'_>) -> Result<Expected, String> {
    use AbstractHeapType as T;
    let HeapType::Abstract { shared: false, ty } = ty else {
        return Err(format!("a null reference to {ty:?}"));
    };
    Ok(match ty {
        T::Func | T::NoFunc => Expected::NullFunc,
        T::Extern | T::NoExtern => Expected::NullExtern,
        T::Exn | T::NoExn => Expected::NullExn,
        T::Any | T::None | T::Eq | T::Struct | T::Array | T::I31 => Expected::NullAny,
        T::Cont | T::NoCont => return Err("a null reference to a continuation".into()),
    })
}

fn float32(v: NanPattern<F32>) -> Float {
    match v {
        NanPattern::CanonicalNan => Float::CanonicalNan,
        NanPattern::ArithmeticNan => Float::ArithmeticNan,
        NanPattern::Value(v) => Float::Bits(v.bits.into()),
    }
}

fn float64(v: NanPattern<F64>) -> Float {
    match v {
        NanPattern::CanonicalNan => Float::CanonicalNan,
        NanPattern::ArithmeticNan => Float::ArithmeticNan,
        NanPattern::Value(v) => Float::Bits(v.bits),
    }
}

fn vector(v: &V128Pattern) -> Expected {
    let integer = |bytes| Expected::V128(u128::from_le_bytes(bytes));
    match v {
        V128Pattern::I8x16(v) => integer(join(v.map(i8::to_le_bytes))),
        V128Pattern::I16x8(v) => integer(join(v.map(i16::to_le_bytes))),
        V128Pattern::I32x4(v) => integer(join(v.map(i32::to_le_bytes))),
        V128Pattern::I64x2(v) => integer(join(v.map(i64::to_le_bytes))),
        V128Pattern::F32x4(v) => Expected::F32x4(v.map(float32)),
        V128Pattern::F64x2(v) => Expected::F64x2(v.map(float64)),
    }
}

fn constant(v: &V128Const) -> [u8; 16] {
    match v {
        V128Const::I8x16(v) => join(v.map(i8::to_le_bytes)),
        V128Const::I16x8(v) => join(v.map(i16::to_le_bytes)),
        V128Const::I32x4(v) => join(v.map(i32::to_le_bytes)),
        V128Const::I64x2(v) => join(v.map(i64::to_le_bytes)),
        V128Const::F32x4(v) => join(v.map(|v| v.bits.to_le_bytes())),
        V128Const::F64x2(v) => join(v.map(|v| v.bits.to_le_bytes())),
    }
}

/// Lanes after each other.
fn join<const LEN: usize, const LANES: usize>(lanes: [[u8; LEN]; LANES]) -> [u8; 16] {
    const { assert!(LEN * LANES == 16) };
    std::array::from_fn(|i| lanes[i / LEN][i % LEN])
}
