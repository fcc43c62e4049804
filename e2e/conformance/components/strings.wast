;; Three components that give back what they get and three that ask them to, one for each encoding, in all nine
;; pairs. A string is encoded anew on its way in and on its way out.
(component $strings
  ;; Memory whose allocations last until the result has been read, and the number of times that it has.
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 64))
    (global $posts (mut i32) (i32.const 0))
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $new i32)
      (local.set $new
        (i32.and
          (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $next (i32.add (local.get $new) (local.get $size)))
      (memory.copy
        (local.get $new)
        (local.get $old)
        (select (local.get $old-size) (local.get $size) (i32.lt_u (local.get $old-size) (local.get $size))))
      (local.get $new))
    (func (export "post") (param i32)
      (global.set $posts (i32.add (global.get $posts) (i32.const 1)))
      (global.set $next (i32.const 64)))
    (func (export "posts") (result i32) (global.get $posts)))

  ;; Gives back address and length: the length as it came, with the bit that says which of two encodings it is.
  (core module $give
    (import "libc" "memory" (memory 1))
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0))
      (i32.store (i32.const 4) (local.get 1))
      (i32.const 0)))

  (core module $ask
    (import "libc" "memory" (memory 1))
    (import "giver" "echo" (func $echo (param i32 i32 i32)))
    (func (export "echo") (param i32 i32) (result i32)
      (call $echo (local.get 0) (local.get 1) (i32.const 8))
      (i32.const 8)))

  (component $give-utf8
    (alias outer $strings $libc (core module $libc))
    (alias outer $strings $give (core module $give))
    (core instance $libc (instantiate $libc))
    (core instance $give (instantiate $give (with "libc" (instance $libc))))
    (func (export "echo") (param "s" string) (result string)
      (canon lift (core func $give "echo") string-encoding=utf8
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))
        (post-return (core func $libc "post"))))
    (func (export "posts") (result u32) (canon lift (core func $libc "posts"))))

  (component $give-utf16
    (alias outer $strings $libc (core module $libc))
    (alias outer $strings $give (core module $give))
    (core instance $libc (instantiate $libc))
    (core instance $give (instantiate $give (with "libc" (instance $libc))))
    (func (export "echo") (param "s" string) (result string)
      (canon lift (core func $give "echo") string-encoding=utf16
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))
        (post-return (core func $libc "post"))))
    (func (export "posts") (result u32) (canon lift (core func $libc "posts"))))

  (component $give-latin1
    (alias outer $strings $libc (core module $libc))
    (alias outer $strings $give (core module $give))
    (core instance $libc (instantiate $libc))
    (core instance $give (instantiate $give (with "libc" (instance $libc))))
    (func (export "echo") (param "s" string) (result string)
      (canon lift (core func $give "echo") string-encoding=latin1+utf16
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))
        (post-return (core func $libc "post"))))
    (func (export "posts") (result u32) (canon lift (core func $libc "posts"))))

  (component $ask-utf8
    (alias outer $strings $libc (core module $libc))
    (alias outer $strings $ask (core module $ask))
    (import "echo" (func $echo (param "s" string) (result string)))
    (core instance $libc (instantiate $libc))
    (core func $echo
      (canon lower (func $echo) string-encoding=utf8
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (core instance $ask (instantiate $ask
      (with "libc" (instance $libc))
      (with "giver" (instance (export "echo" (func $echo))))))
    (func (export "echo") (param "s" string) (result string)
      (canon lift (core func $ask "echo") string-encoding=utf8
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))
        (post-return (core func $libc "post")))))

  (component $ask-utf16
    (alias outer $strings $libc (core module $libc))
    (alias outer $strings $ask (core module $ask))
    (import "echo" (func $echo (param "s" string) (result string)))
    (core instance $libc (instantiate $libc))
    (core func $echo
      (canon lower (func $echo) string-encoding=utf16
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (core instance $ask (instantiate $ask
      (with "libc" (instance $libc))
      (with "giver" (instance (export "echo" (func $echo))))))
    (func (export "echo") (param "s" string) (result string)
      (canon lift (core func $ask "echo") string-encoding=utf16
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))
        (post-return (core func $libc "post")))))

  (component $ask-latin1
    (alias outer $strings $libc (core module $libc))
    (alias outer $strings $ask (core module $ask))
    (import "echo" (func $echo (param "s" string) (result string)))
    (core instance $libc (instantiate $libc))
    (core func $echo
      (canon lower (func $echo) string-encoding=latin1+utf16
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (core instance $ask (instantiate $ask
      (with "libc" (instance $libc))
      (with "giver" (instance (export "echo" (func $echo))))))
    (func (export "echo") (param "s" string) (result string)
      (canon lift (core func $ask "echo") string-encoding=latin1+utf16
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))
        (post-return (core func $libc "post")))))

  (instance $give-utf8 (instantiate $give-utf8))
  (instance $give-utf16 (instantiate $give-utf16))
  (instance $give-latin1 (instantiate $give-latin1))
  (instance $utf8-utf8 (instantiate $ask-utf8 (with "echo" (func $give-utf8 "echo"))))
  (export "utf8-utf8" (func $utf8-utf8 "echo"))
  (instance $utf8-utf16 (instantiate $ask-utf8 (with "echo" (func $give-utf16 "echo"))))
  (export "utf8-utf16" (func $utf8-utf16 "echo"))
  (instance $utf8-latin1 (instantiate $ask-utf8 (with "echo" (func $give-latin1 "echo"))))
  (export "utf8-latin1" (func $utf8-latin1 "echo"))
  (instance $utf16-utf8 (instantiate $ask-utf16 (with "echo" (func $give-utf8 "echo"))))
  (export "utf16-utf8" (func $utf16-utf8 "echo"))
  (instance $utf16-utf16 (instantiate $ask-utf16 (with "echo" (func $give-utf16 "echo"))))
  (export "utf16-utf16" (func $utf16-utf16 "echo"))
  (instance $utf16-latin1 (instantiate $ask-utf16 (with "echo" (func $give-latin1 "echo"))))
  (export "utf16-latin1" (func $utf16-latin1 "echo"))
  (instance $latin1-utf8 (instantiate $ask-latin1 (with "echo" (func $give-utf8 "echo"))))
  (export "latin1-utf8" (func $latin1-utf8 "echo"))
  (instance $latin1-utf16 (instantiate $ask-latin1 (with "echo" (func $give-utf16 "echo"))))
  (export "latin1-utf16" (func $latin1-utf16 "echo"))
  (instance $latin1-latin1 (instantiate $ask-latin1 (with "echo" (func $give-latin1 "echo"))))
  (export "latin1-latin1" (func $latin1-latin1 "echo"))
  (export "posts-utf8" (func $give-utf8 "posts"))
  (export "posts-utf16" (func $give-utf16 "posts"))
  (export "posts-latin1" (func $give-latin1 "posts")))

(assert_return (invoke "utf8-utf8" (str.const "")) (str.const ""))
(assert_return (invoke "utf8-utf8" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "utf8-utf8" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "utf8-utf8" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "utf8-utf8" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))
(assert_return (invoke "utf8-utf16" (str.const "")) (str.const ""))
(assert_return (invoke "utf8-utf16" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "utf8-utf16" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "utf8-utf16" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "utf8-utf16" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))
(assert_return (invoke "utf8-latin1" (str.const "")) (str.const ""))
(assert_return (invoke "utf8-latin1" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "utf8-latin1" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "utf8-latin1" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "utf8-latin1" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))

(assert_return (invoke "utf16-utf8" (str.const "")) (str.const ""))
(assert_return (invoke "utf16-utf8" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "utf16-utf8" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "utf16-utf8" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "utf16-utf8" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))
(assert_return (invoke "utf16-utf16" (str.const "")) (str.const ""))
(assert_return (invoke "utf16-utf16" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "utf16-utf16" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "utf16-utf16" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "utf16-utf16" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))
(assert_return (invoke "utf16-latin1" (str.const "")) (str.const ""))
(assert_return (invoke "utf16-latin1" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "utf16-latin1" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "utf16-latin1" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "utf16-latin1" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))

(assert_return (invoke "latin1-utf8" (str.const "")) (str.const ""))
(assert_return (invoke "latin1-utf8" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "latin1-utf8" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "latin1-utf8" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "latin1-utf8" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))
(assert_return (invoke "latin1-utf16" (str.const "")) (str.const ""))
(assert_return (invoke "latin1-utf16" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "latin1-utf16" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "latin1-utf16" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "latin1-utf16" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))
(assert_return (invoke "latin1-latin1" (str.const "")) (str.const ""))
(assert_return (invoke "latin1-latin1" (str.const "plain")) (str.const "plain"))
(assert_return (invoke "latin1-latin1" (str.const "ÿ é")) (str.const "ÿ é"))
(assert_return (invoke "latin1-latin1" (str.const "Ω → 語 and é")) (str.const "Ω → 語 and é"))
(assert_return (invoke "latin1-latin1" (str.const "𝄞 after ÿ, then 🦀")) (str.const "𝄞 after ÿ, then 🦀"))

;; Three pairs with five strings each.
(assert_return (invoke "posts-utf8") (u32.const 15))
(assert_return (invoke "posts-utf16") (u32.const 15))
(assert_return (invoke "posts-latin1") (u32.const 15))
