//! A handwritten component with gaps to fill in with code that breaks the rules.

use crate::harness::published::{WIT, component_of};

/// The code for the gaps.
#[derive(Debug, Default, Clone)]
pub struct Code<'a> {
    /// Runs at the start of each allocation after `initialize`, with `$align` and `$size`.
    pub realloc: &'a str,
    /// The body of `handle-message`, with `$message`. Empty: an empty reply.
    pub message: &'a str,
    /// The body of `handle-callback`. Empty: success.
    pub callback: &'a str,
    /// Runs in the post-return of `handle-message`, with `$result`.
    pub post: &'a str,
    /// Further module fields.
    pub more: &'a str,
}

impl Code<'_> {
    pub fn component(&self) -> Vec<u8> {
        fn or<'a>(code: &'a str, otherwise: &'a str) -> &'a str {
            if code.is_empty() { otherwise } else { code }
        }
        let interface = "airssys:core/component-lifecycle@1.0.0";
        component_of(
            WIT,
            &format!(
                r#"(module
                (import "airssys:core/host-messaging@1.0.0" "request"
                    (func $request (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))
                (import "airssys:core/storage@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
                (import "airssys:core/host-services@1.0.0" "log"
                    (func $log (param i32 i32 i32 i32 i32 i32)))
                (memory (export "memory") 4)
                (data (i32.const 16) "app") (data (i32.const 32) "echo") (data (i32.const 48) "0")
                (data (i32.const 64) "\ff\fe")
                (global $free (mut i32) (i32.const 16384))
                (global $armed (mut i32) (i32.const 0))
                (global $traced (mut i32) (i32.const 4096))
                (global $posts (mut i32) (i32.const 0))
                (func $leave
                    (call $log (i32.const 2) (i32.const 16) (i32.const 3)
                        (i32.const 0) (i32.const 0) (i32.const 0)))
                (func $reply (param $at i32) (param $len i32) (result i32)
                    (i64.store (i32.const 768) (i64.const 0x100000000))
                    (i32.store (i32.const 776) (local.get $at))
                    (i32.store (i32.const 780) (local.get $len))
                    (i32.const 768))
                (func $fail (param $case i32) (param $at i32) (param $len i32) (result i32)
                    (i32.store (i32.const 768) (i32.const 1))
                    (i32.store (i32.const 772) (local.get $case))
                    (i32.store (i32.const 776) (local.get $at))
                    (i32.store (i32.const 780) (local.get $len))
                    (i32.const 768))
                (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32)
                    (result i32) (local $at i32)
                    (i32.store (global.get $traced) (local.get $align))
                    (i32.store offset=4 (global.get $traced) (local.get $size))
                    (global.set $traced (i32.add (global.get $traced) (i32.const 8)))
                    (if (global.get $armed) (then {realloc}))
                    (local.set $at (i32.and
                        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                        (i32.sub (i32.const 0) (local.get $align))))
                    (global.set $free (i32.add (local.get $at) (local.get $size)))
                    (local.get $at))
                (func (export "{interface}#initialize")
                    (param i32 i32 i32 i32 i32 i64 i64 i32 i64) (result i32)
                    (global.set $armed (i32.const 1))
                    (global.set $traced (i32.const 4096))
                    (i32.const 256))
                (func (export "{interface}#handle-message") (param $message i32) (result i32)
                    {message})
                (func (export "cabi_post_{interface}#handle-message") (param $result i32)
                    (global.set $posts (i32.add (global.get $posts) (i32.const 1)))
                    {post})
                (func (export "{interface}#handle-callback") (param i32) (result i32) {callback})
                (func (export "{interface}#metadata") (result i32) (i32.const 256))
                (func (export "{interface}#health") (result i32) (i32.const 0))
                (func (export "{interface}#shutdown") (result i32) (i32.const 256))
                {more})"#,
                realloc = self.realloc,
                message = or(self.message, "(call $reply (i32.const 0) (i32.const 0))"),
                callback = or(self.callback, "(i32.const 256)"),
                post = self.post,
                more = self.more,
            ),
        )
    }
}
