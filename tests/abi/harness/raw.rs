//! Handwritten components for calls that no toolchain generates.

use wit_component::StringEncoding;

use crate::harness::published::{WIT, encoded};

/// The frame of such a component.
pub struct Raw {
    /// Memory size in pages.
    pub pages: u32,
    /// Imports, in the text format.
    pub imports: &'static str,
    /// The body of `handle-message`, which does not reply.
    pub handler: String,
    /// The string encoding.
    pub texts: StringEncoding,
}

impl Default for Raw {
    fn default() -> Self {
        let handler = String::new();
        Self { pages: 1, imports: "", handler, texts: StringEncoding::UTF8 }
    }
}

impl Raw {
    pub fn component(&self) -> Vec<u8> {
        self.with("")
    }

    /// The component with further functions.
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
