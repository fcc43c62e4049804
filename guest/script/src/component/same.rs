//! Compares values.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::string::String;

use super::Value;

/// Whether a value is what is expected.
pub(super) fn same(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        // There is one NaN: what bits it has is lost where it passes from one component to another. (Component model,
        // design/mvp/CanonicalABI.md, "Loading", `canonicalize_nan32`)
        (Value::F32(a), Value::F32(e)) => {
            a == e || (f32::from_bits(*a).is_nan() && f32::from_bits(*e).is_nan())
        }
        (Value::F64(a), Value::F64(e)) => {
            a == e || (f64::from_bits(*a).is_nan() && f64::from_bits(*e).is_nan())
        }
        // A set: the order is that of the type on one side and that of the text on the other.
        (Value::Flags(a), Value::Flags(e)) => {
            let sorted = |names: &[String]| {
                let mut names = names.to_owned();
                names.sort_unstable();
                names
            };
            sorted(a) == sorted(e)
        }
        (Value::List(a), Value::List(e)) | (Value::Tuple(a), Value::Tuple(e)) => {
            a.len() == e.len() && a.iter().zip(e).all(|(a, e)| same(a, e))
        }
        (Value::Record(a), Value::Record(e)) => {
            a.len() == e.len() && a.iter().zip(e).all(|((a, v), (e, w))| a == e && same(v, w))
        }
        (Value::Variant(a, v), Value::Variant(e, w)) => a == e && optional(v, w),
        (Value::Option(a), Value::Option(e)) => optional(a, e),
        (Value::Result(Ok(a)), Value::Result(Ok(e))) | (Value::Result(Err(a)), Value::Result(Err(e))) => {
            optional(a, e)
        }
        // What has no other values inside.
        _ => actual == expected,
    }
}

fn optional(actual: &Option<Box<Value>>, expected: &Option<Box<Value>>) -> bool {
    match (actual, expected) {
        (Some(a), Some(e)) => same(a, e),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn text(value: &str) -> Value {
        Value::String(value.to_string())
    }

    #[test]
    fn each_value_equals_itself_and_no_other() {
        let some = |value| Some(Box::new(value));
        let values = [
            Value::Bool(true),
            Value::Bool(false),
            Value::U8(1),
            Value::S8(1),
            Value::S8(-1),
            Value::U16(1),
            Value::S16(-1),
            Value::U32(1),
            Value::S32(-1),
            Value::U64(1),
            Value::S64(-1),
            Value::F32(0),
            Value::F32(0x8000_0000),
            Value::F64(0),
            Value::F64(1 << 63),
            Value::Char('a'),
            Value::Enum("a".to_string()),
            text("a"),
            text(""),
            Value::List(vec![]),
            Value::List(vec![Value::U8(1)]),
            Value::List(vec![Value::U8(1), Value::U8(1)]),
            Value::Tuple(vec![Value::U8(1)]),
            Value::Record(vec![("a".to_string(), Value::U8(1))]),
            Value::Record(vec![("b".to_string(), Value::U8(1))]),
            Value::Record(vec![
                ("a".to_string(), Value::U8(1)),
                ("b".to_string(), Value::U8(1)),
            ]),
            Value::Variant("a".to_string(), None),
            Value::Variant("a".to_string(), some(Value::U8(1))),
            Value::Variant("b".to_string(), some(Value::U8(1))),
            Value::Option(None),
            Value::Option(some(Value::Option(None))),
            Value::Result(Ok(None)),
            Value::Result(Err(None)),
            Value::Result(Ok(some(text("a")))),
            Value::Result(Err(some(text("a")))),
            Value::Flags(vec![]),
            Value::Flags(vec!["a".to_string()]),
        ];
        for (i, a) in values.iter().enumerate() {
            for (j, e) in values.iter().enumerate() {
                assert_eq!(same(a, e), i == j, "{a:?} {e:?}");
            }
        }
    }

    #[test]
    fn flags_are_a_set_and_all_nans_are_one() {
        let flags = |names: &[&str]| Value::Flags(names.iter().map(ToString::to_string).collect());
        assert!(same(&flags(&["b", "a"]), &flags(&["a", "b"])));
        let nested = |nan| Value::List(vec![Value::Option(Some(Box::new(Value::F32(nan))))]);
        assert!(same(&nested(0xffc0_0001), &nested(0x7fc0_0000)));
        assert!(!same(&nested(0x7f80_0000), &nested(0x7fc0_0000)));
        assert!(same(
            &Value::F64(0x7ff0_0000_0000_0001),
            &Value::F64(0x7ff8 << 48)
        ));
    }
}
