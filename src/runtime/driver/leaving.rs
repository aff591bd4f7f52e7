//! Whether a function of a module can reach an import.
//!
//! By the Canonical ABI, allocation and clean-up code of a component must not call its imports:
//! Wasmtime makes such calls trap. Inside the loop nothing enforces that, which makes no difference
//! for functions that can never call an import. Allocators, as compilers make them, are such
//! functions, except for their panic code, which calls through a table.

use wasmparser::{
    BinaryReaderError, CompositeInnerType, ConstExpr, ElementItems, ExternalKind, FuncType,
    FunctionBody, Operator, Parser, Payload, SubType, TableInit, TypeRef, ValType,
};

/// The most types by which an allocator may call through tables: each costs a scan of everything in
/// the tables.
const MAX_TYPES: usize = 32;

/// Returns whether no import can be reached, directly or not, from the exports with these names.
/// Returns false where that cannot be determined.
pub fn stay_inside(module: &[u8], names: &[&str]) -> bool {
    Functions::read(module, names).is_ok_and(|functions| {
        functions.exported.len() == names.len() && functions.stay_inside().unwrap_or(false)
    })
}

/// The functions of a module.
#[derive(Default)]
struct Functions<'a> {
    /// `None` for a type that may have subtypes or that two indices may denote.
    types: Vec<Option<FuncType>>,
    /// The type index of each function.
    signatures: Vec<u32>,
    imported: usize,
    bodies: Vec<FunctionBody<'a>>,
    in_tables: InTables,
    /// The functions to check.
    exported: Vec<u32>,
}

/// The functions that a call through a table can reach.
enum InTables {
    /// These, according to everything outside function bodies.
    Known(Vec<u32>),
    Anything,
}

impl Default for InTables {
    fn default() -> Self {
        Self::Known(Vec::new())
    }
}

impl InTables {
    fn add(&mut self, function: Option<u32>) {
        match (&mut *self, function) {
            (Self::Known(functions), Some(function)) => functions.push(function),
            _ => *self = Self::Anything,
        }
    }

    /// Adds the result of a constant expression, `ref.func` or nothing.
    fn add_constant(&mut self, constant: &ConstExpr<'_>) -> Result<(), BinaryReaderError> {
        for operator in constant.get_operators_reader() {
            match operator? {
                Operator::RefNull { .. } | Operator::End => {}
                Operator::RefFunc { function_index } => self.add(Some(function_index)),
                _ => self.add(None),
            }
        }
        Ok(())
    }
}

impl<'a> Functions<'a> {
    fn read(module: &'a [u8], names: &[&str]) -> Result<Self, BinaryReaderError> {
        let mut functions = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            functions.note(payload?, names)?;
        }
        Ok(functions)
    }

    fn note(&mut self, payload: Payload<'a>, names: &[&str]) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types.extend(group?.into_types().map(plain));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    match import?.ty {
                        TypeRef::Func(of) | TypeRef::FuncExact(of) => {
                            self.imported += 1;
                            self.signatures.push(of);
                        }
                        TypeRef::Table(_) => self.in_tables = InTables::Anything,
                        TypeRef::Memory(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for of in section {
                    self.signatures.push(of?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    if let TableInit::Expr(constant) = table?.init {
                        self.in_tables.add_constant(&constant)?;
                    }
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    match element?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.in_tables.add(Some(function?));
                            }
                        }
                        ElementItems::Expressions(_, constants) => {
                            for constant in constants {
                                self.in_tables.add_constant(&constant?)?;
                            }
                        }
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => {
                            let named = names.iter().filter(|name| **name == export.name);
                            self.exported.extend(named.map(|_| export.index));
                        }
                        ExternalKind::Table => self.in_tables = InTables::Anything,
                        _ => {}
                    }
                }
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            _ => {}
        }
        Ok(())
    }

    fn stay_inside(&self) -> Result<bool, BinaryReaderError> {
        let (mut seen, mut left) = (vec![false; self.bodies.len()], self.exported.clone());
        let (mut called_as, mut tables_are_known) = (Vec::new(), false);
        while let Some(function) = left.pop() {
            let defined = (function as usize).checked_sub(self.imported);
            let place = defined.and_then(|at| Some((self.bodies.get(at)?, seen.get_mut(at)?)));
            let Some((body, seen)) = place else { return Ok(false) };
            if std::mem::replace(seen, true) {
                continue;
            }
            for operator in body.get_operators_reader()? {
                match operator? {
                    Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                        left.push(function_index);
                    }
                    Operator::CallIndirect { type_index, .. }
                    | Operator::ReturnCallIndirect { type_index, .. } => {
                        if called_as.contains(&type_index) {
                            continue;
                        }
                        called_as.push(type_index);
                        if called_as.len() > MAX_TYPES {
                            return Ok(false);
                        }
                        let InTables::Known(functions) = &self.in_tables else { return Ok(false) };
                        if !tables_are_known && self.write_to_tables()? {
                            return Ok(false);
                        }
                        tables_are_known = true;
                        let may_be = |function: &&u32| self.has_type(**function, type_index);
                        left.extend(functions.iter().filter(may_be));
                    }
                    Operator::CallRef { .. }
                    | Operator::ReturnCallRef { .. }
                    | Operator::Resume { .. }
                    | Operator::ResumeThrow { .. }
                    | Operator::ResumeThrowRef { .. }
                    | Operator::Suspend { .. }
                    | Operator::Switch { .. } => return Ok(false),
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    /// Returns whether any function body may put new functions into a table.
    fn write_to_tables(&self) -> Result<bool, BinaryReaderError> {
        for body in &self.bodies {
            for operator in body.get_operators_reader()? {
                if let Operator::TableSet { .. }
                | Operator::TableGrow { .. }
                | Operator::TableFill { .. }
                | Operator::TableAtomicSet { .. }
                | Operator::TableAtomicRmwXchg { .. }
                | Operator::TableAtomicRmwCmpxchg { .. } = operator?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns whether a call with type index `called` may accept the function.
    fn has_type(&self, function: u32, called: u32) -> bool {
        let of = |index: u32| self.types.get(index as usize)?.as_ref();
        let own = self.signatures.get(function as usize).and_then(|index| of(*index));
        match (own, of(called)) {
            (Some(own), Some(called)) => own == called,
            _ => true,
        }
    }
}

/// Returns a function type that equality of structure identifies: it is final, has no supertype,
/// and mentions no other type by index.
fn plain(of: SubType) -> Option<FuncType> {
    let CompositeInnerType::Func(function) = of.composite_type.inner else { return None };
    let is_told = |of: &ValType| match of {
        ValType::Ref(of) => of.type_index().is_none(),
        _ => true,
    };
    let told = function.params().iter().chain(function.results()).all(is_told);
    (of.is_final && of.supertype_idx.is_none() && told).then_some(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> bool {
        stay_inside(&wat::parse_str(format!("(module {text})")).unwrap(), &["f"])
    }

    #[test]
    fn calls_within_the_module_stay_inside() {
        for text in [
            r#"(func (export "f"))"#,
            r#"(import "a" "b" (func)) (func (export "f") (call 2)) (func (call 1))"#,
            r#"(import "a" "b" (func)) (func $f (export "f") (call $f)) (func (call 0))"#,
            r#"(func (export "f") (return_call 1)) (func (unreachable))"#,
            r#"(func (export "f") (drop (memory.grow (i32.const 1)))) (memory 1)"#,
        ] {
            assert!(of(text), "{text}");
        }
    }

    #[test]
    fn all_of_several_exports_must_stay_inside() {
        let text = r#"(import "a" "b" (func)) (func (export "f")) (func (export "g"))
            (func (export "h") (call 0))"#;
        let module = wat::parse_str(format!("(module {text})")).unwrap();
        for (names, expected) in [
            (&["f", "g"][..], true),
            (&["f", "f"], true),
            (&["f", "h"], false),
            (&["g", "none"], false),
        ] {
            assert_eq!(stay_inside(&module, names), expected, "{names:?}");
        }
    }

    #[test]
    fn an_import_is_found_wherever_it_is_called() {
        for text in [
            r#"(import "a" "b" (func)) (func (export "f") (call 0))"#,
            r#"(import "a" "b" (func)) (func (export "f") (return_call 0))"#,
            r#"(import "a" "b" (func)) (func (export "f") (call 2)) (func (call 0))"#,
            r#"(import "a" "b" (func $b)) (export "f" (func $b))"#,
            r#"(func (export "g"))"#,
            r#"(func (export "f") (call_ref 0 (ref.func 0))) (type (func))"#,
            r#"(func (export "f") (return_call_ref 0 (ref.func 0))) (type (func))"#,
        ] {
            assert!(!of(text), "{text}");
        }
    }

    #[test]
    fn a_call_through_a_table_reaches_functions_in_it_with_its_type() {
        let calls = r#"(import "a" "b" (func $b (param i32))) (type $t (func (param i32)))
            (func $f (export "f") (call_indirect (type $t) (i32.const 0) (i32.const 0)))
            (func $in (param i32)) (func $out (param i32) (call $b (i32.const 0)))"#;
        for (table, expected) in [
            ("(table funcref (elem $in))", true),
            ("(table 3 funcref)", true),
            // Of another type.
            ("(table funcref (elem $in $f))", true),
            ("(table funcref (elem $in $out))", false),
            ("(table funcref (elem $b))", false),
            ("(table 1 funcref) (elem func $out)", false),
            ("(table 1 funcref) (elem funcref (ref.func $in) (ref.null func))", true),
            ("(table 1 funcref) (elem funcref (ref.func $out))", false),
            ("(table 1 funcref (ref.func $out))", false),
            // Where other modules, or its own functions, change the table.
            ("(table (export \"t\") funcref (elem $in))", false),
            ("(table 1 funcref) (func (table.set (i32.const 0) (ref.func $in)))", false),
            ("(table 1 funcref) (func (drop (table.grow (ref.func $in) (i32.const 1))))", false),
            (
                "(table 1 funcref) (func (table.fill (i32.const 0) (ref.func $in) (i32.const 1)))",
                false,
            ),
            (
                "(table 1 funcref) (func (table.copy (i32.const 0) (i32.const 0) (i32.const 1)))",
                true,
            ),
        ] {
            let text = format!("{calls} {table} (elem declare func $in)");
            assert_eq!(of(&text), expected, "{table}");
        }
        let calls =
            r#"(type $t (func)) (func (export "f") (call_indirect (type $t) (i32.const 0)))"#;
        for imports in [
            r#"(import "a" "t" (table 1 funcref))"#,
            r#"(import "a" "g" (global funcref)) (table 1 funcref) (elem funcref (global.get 0))"#,
        ] {
            assert!(!of(&format!("{imports} {calls}")), "{imports}");
        }
    }

    #[test]
    fn indistinct_types_may_be_any() {
        let calls = |types: &str| {
            format!(
                r#"{types} (import "a" "b" (func $b)) (table funcref (elem $out))
                (func (export "f") (call_indirect (type $called) (ref.null any) (i32.const 0)))
                (func $out (type $own) (call $b))"#
            )
        };
        let (called, own) =
            ("(type $called (func (param anyref)))", "(type $own (func (param eqref)))");
        assert!(of(&calls(&format!("{called} {own}"))));
        for (called, own) in [
            ("(type $called (sub (func (param anyref))))", own),
            (
                "(type $called (sub (func (param anyref))))",
                "(type $own (sub $called (func (param anyref))))",
            ),
        ] {
            assert!(!of(&calls(&format!("{called} {own}"))), "{called} {own}");
        }
    }
}
