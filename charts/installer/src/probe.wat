;; What a node runs to show that it can: a line on standard output, and exit code 42.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; One iovec: address 8, 20 bytes.
  (data (i32.const 0) "\08\00\00\00\14\00\00\00")
  (data (i32.const 8) "this node runs Mote\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
    (call $proc_exit (i32.const 42))))
