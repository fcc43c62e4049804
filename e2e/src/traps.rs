//! Core modules that trap, one for each way a program can.

use anyhow::{Context as _, Result};

/// A module whose `_start` traps.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub name: &'static str,
    /// Part of the line that names the trap.
    pub says: &'static str,
    wat: &'static str,
}

/// All of them. The function that traps is called `culprit`, so that a backtrace can be told from a bare message.
pub const ALL: &[Trap] = &[
    Trap {
        name: "unreachable",
        says: "unreachable",
        wat: "(func $culprit unreachable)",
    },
    Trap {
        name: "divide-by-zero",
        says: "integer divide by zero",
        wat: "(global $zero (mut i32) (i32.const 0))
              (func $culprit (drop (i32.div_s (i32.const 1) (global.get $zero))))",
    },
    Trap {
        name: "remainder-by-zero-64",
        says: "integer divide by zero",
        wat: "(global $zero (mut i64) (i64.const 0))
              (func $culprit (drop (i64.rem_u (i64.const 1) (global.get $zero))))",
    },
    Trap {
        name: "integer-overflow",
        says: "integer overflow",
        wat: "(global $minus (mut i32) (i32.const -1))
              (func $culprit (drop (i32.div_s (i32.const 0x80000000) (global.get $minus))))",
    },
    Trap {
        name: "bad-conversion",
        says: "invalid conversion to integer",
        wat: "(global $nan (mut f64) (f64.const nan))
              (func $culprit (drop (i32.trunc_f64_s (global.get $nan))))",
    },
    Trap {
        name: "conversion-overflow",
        says: "integer overflow",
        wat: "(global $large (mut f32) (f32.const 1e30))
              (func $culprit (drop (i64.trunc_f32_s (global.get $large))))",
    },
    Trap {
        name: "memory-first-byte-past",
        says: "out of bounds memory access",
        wat: "(global $at (mut i32) (i32.const 65536))
              (func $culprit (drop (i32.load8_u (global.get $at))))",
    },
    Trap {
        name: "memory-across-the-end",
        says: "out of bounds memory access",
        wat: "(global $at (mut i32) (i32.const 65533))
              (func $culprit (i32.store (global.get $at) (i32.const 1)))",
    },
    Trap {
        name: "memory-far",
        says: "out of bounds memory access",
        wat: "(global $at (mut i32) (i32.const -4))
              (func $culprit (i64.store offset=0xfffffff0 (global.get $at) (i64.const 1)))",
    },
    Trap {
        name: "memory-after-growth",
        says: "out of bounds memory access",
        wat: "(global $at (mut i32) (i32.const 0x30000))
              (func $culprit
                (drop (memory.grow (i32.const 2)))
                (i32.store (i32.const 0x2fffc) (i32.const 1))
                (i32.store (global.get $at) (i32.const 1)))",
    },
    Trap {
        name: "memory-fill",
        says: "out of bounds memory access",
        wat: "(global $at (mut i32) (i32.const 65530))
              (func $culprit (memory.fill (global.get $at) (i32.const 1) (i32.const 7)))",
    },
    Trap {
        name: "call-signature",
        says: "indirect call type mismatch",
        wat: "(table 4 funcref) (elem (i32.const 0) $other)
              (func $other (param i64) (result i64) local.get 0)
              (global $slot (mut i32) (i32.const 0))
              (func $culprit (call_indirect (global.get $slot)))",
    },
    Trap {
        name: "call-null",
        says: "uninitialized element",
        wat: "(table 4 funcref) (global $slot (mut i32) (i32.const 2))
              (func $culprit (call_indirect (global.get $slot)))",
    },
    Trap {
        name: "call-past-table",
        says: "undefined element: out of bounds table access",
        wat: "(table 4 funcref) (global $slot (mut i32) (i32.const 4))
              (func $culprit (call_indirect (global.get $slot)))",
    },
    Trap {
        name: "table-get",
        says: "out of bounds table access",
        wat: "(table 4 funcref) (global $slot (mut i32) (i32.const 99))
              (func $culprit (drop (table.get (global.get $slot))))",
    },
    Trap {
        name: "stack-exhaustion",
        says: "call stack exhausted",
        wat: "(func $culprit (call $culprit) (call $culprit))",
    },
    Trap {
        name: "stack-exhaustion-by-frames",
        says: "call stack exhausted",
        wat: "(func $culprit (drop (call $deeper (i64.const 1))))
              (func $deeper (param $x i64) (result i64)
                (i64.add (call $deeper (i64.add (local.get $x) (i64.const 1)))
                         (i64.mul (local.get $x) (call $deeper (i64.sub (local.get $x) (i64.const 1))))))",
    },
];

impl Trap {
    /// The module, in binary form, with names.
    ///
    /// # Errors
    /// The assembler's.
    pub fn assemble(&self) -> Result<Vec<u8>> {
        let module = format!(
            "(module $trap (memory (export \"memory\") 1 16) {} (func (export \"_start\") (call $culprit)))",
            self.wat
        );
        wat::parse_str(module).with_context(|| self.name)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_assemble() {
        for trap in super::ALL {
            trap.assemble().unwrap();
        }
    }
}
