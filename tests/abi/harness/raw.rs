//! Components of hand-written code, for calls that no toolchain would make.

use wit_component::StringEncoding;

use crate::harness::published::{WIT, encoded};

/// What a component begins with that hands over what is in its memory, and keeps what it is given.
pub struct Raw {
    /// Pages of memory.
    pub pages: u32,
    /// What it imports, in the text format.
    pub imports: &'static str,
    /// What it does with a message; it replies nothing.
    pub handler: String,
    /// Its encoding of texts.
    pub texts: StringEncoding,
}

impl Default for Raw {
    fn default() -> Self {
        let handler = String::new();
        Self { pages: 1, imports: "", handler, texts: StringEncoding::UTF8 }
    }
}

impl Raw {
    /// The component.
    pub fn component(&self) -> Vec<u8> {
        self.with("")
    }

    /// The component, with other functions too.
    pub fn with(&self, functions: &str) -> Vec<u8> {
        let Self { pages, imports, handler, .. } = self;
        let lifecycle = "airssys:core/component-lifecycle@1.0.0";
        let code = format!(
            r#"(module
  {imports}
  {functions}
  (memory (export "memory") {pages})
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (if (i32.gt_u (global.get $free) (i32.const 60000)) (then (global.set $free (i32.const 4096))))
    (local.get $at))
  (func (export "{lifecycle}#initialize")
    (param i32 i32 i32 i32 i32 i64 i64 i32 i64) (result i32) (i32.const 256))
  (func (export "{lifecycle}#handle-message") (param $message i32) (result i32)
    (local $n i32)
    {handler}
    (i32.const 256))
  (func (export "{lifecycle}#handle-callback") (param i32) (result i32) (i32.const 256))
  (func (export "{lifecycle}#metadata") (result i32) (i32.const 896))
  (func (export "{lifecycle}#health") (result i32) (i32.const 0))
  (func (export "{lifecycle}#shutdown") (result i32) (i32.const 256))
)"#
        );
        encoded(WIT, &code, self.texts)
    }
}
