//! Random types and values: what a component is passed is what it returns, on the stack and in
//! memory.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, With};
use crate::harness::properties::for_all;

#[derive(Debug, Clone)]
enum Type {
    Bool,
    /// Signed or not, and the size in bytes.
    Integer(bool, u32),
    F32,
    F64,
    Char,
    Text,
    List(Box<Type>),
    Record(Vec<Type>),
    Tuple(Vec<Type>),
    Variant(Vec<Option<Type>>),
    Enum(usize),
    Flags(usize),
    Option(Box<Type>),
    Result(Option<Box<Type>>, Option<Box<Type>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Core {
    I32,
    I64,
    F32,
    F64,
}

impl Core {
    fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (one, two) if one == two => one,
            (Self::I32 | Self::F32, Self::I32 | Self::F32) => Self::I32,
            _ => Self::I64,
        }
    }

    /// Instructions from a word of a variant to one of a case's payload.
    fn to(self, wanted: Self) -> &'static str {
        match (self, wanted) {
            (one, two) if one == two => "",
            (Self::I32, Self::F32) => "f32.reinterpret_i32",
            (Self::I64, Self::I32) => "i32.wrap_i64",
            (Self::I64, Self::F32) => "i32.wrap_i64 f32.reinterpret_i32",
            (Self::I64, Self::F64) => "f64.reinterpret_i64",
            other => panic!("{other:?} is no join"),
        }
    }
}

fn aligned(offset: u32, align: u32) -> u32 {
    offset.next_multiple_of(align)
}

fn discriminant(cases: usize) -> u32 {
    match cases {
        0..=256 => 1,
        257..=65536 => 2,
        _ => 4,
    }
}

impl Type {
    /// The payloads of the cases, for every type that has cases.
    fn cases(&self) -> Option<Vec<Option<&Type>>> {
        match self {
            Self::Variant(cases) => Some(cases.iter().map(Option::as_ref).collect()),
            Self::Enum(count) => Some(vec![None; *count]),
            Self::Option(payload) => Some(vec![None, Some(payload)]),
            Self::Result(ok, err) => Some(vec![ok.as_deref(), err.as_deref()]),
            _ => None,
        }
    }

    fn fields(&self) -> Option<&[Type]> {
        match self {
            Self::Record(fields) | Self::Tuple(fields) => Some(fields),
            _ => None,
        }
    }

    fn align(&self) -> u32 {
        if let Some(cases) = self.cases() {
            let payload = cases.iter().flatten().map(|ty| ty.align()).max().unwrap_or(1);
            return payload.max(discriminant(cases.len()));
        }
        match self {
            Self::Bool => 1,
            Self::Integer(_, bytes) => *bytes,
            Self::F32 | Self::Char | Self::Text | Self::List(_) => 4,
            Self::F64 => 8,
            Self::Flags(count) if *count <= 8 => 1,
            Self::Flags(count) if *count <= 16 => 2,
            Self::Flags(_) => 4,
            _ => self.fields().unwrap().iter().map(Self::align).max().unwrap(),
        }
    }

    fn size(&self) -> u32 {
        if let Some(cases) = self.cases() {
            let largest = cases.iter().flatten().map(|ty| ty.size()).max().unwrap_or(0);
            return aligned(self.payload_at() + largest, self.align());
        }
        if let Some(fields) = self.fields() {
            let end = fields.iter().fold(0, |at, ty| aligned(at, ty.align()) + ty.size());
            return aligned(end, self.align());
        }
        match self {
            Self::Text | Self::List(_) => 8,
            Self::Flags(count) if *count > 16 => count.div_ceil(32) as u32 * 4,
            other => other.align(),
        }
    }

    fn payload_at(&self) -> u32 {
        let cases = self.cases().unwrap();
        let align = cases.iter().flatten().map(|ty| ty.align()).max().unwrap_or(1);
        aligned(discriminant(cases.len()), align)
    }

    fn flat(&self) -> Vec<Core> {
        if let Some(cases) = self.cases() {
            let mut words: Vec<Core> = Vec::new();
            for payload in cases.into_iter().flatten() {
                for (index, word) in payload.flat().into_iter().enumerate() {
                    match words.get_mut(index) {
                        Some(known) => *known = known.joined(word),
                        None => words.push(word),
                    }
                }
            }
            words.insert(0, Core::I32);
            return words;
        }
        if let Some(fields) = self.fields() {
            return fields.iter().flat_map(Self::flat).collect();
        }
        match self {
            Self::Integer(_, 8) => vec![Core::I64],
            Self::F32 => vec![Core::F32],
            Self::F64 => vec![Core::F64],
            Self::Text | Self::List(_) => vec![Core::I32; 2],
            Self::Flags(count) => vec![Core::I32; count.div_ceil(32)],
            _ => vec![Core::I32],
        }
    }

    /// Appends the type and what it is made of to a component; returns how it is referred to.
    fn declare(&self, wat: &mut String, count: &mut usize) -> String {
        let mut named = |wat: &mut String, body: String, is_named: bool| {
            *count += 1;
            writeln!(wat, "(type $d{count} {body})").unwrap();
            if is_named {
                writeln!(wat, "(export $t{count} \"t{count}\" (type $d{count}))").unwrap();
                return format!("$t{count}");
            }
            format!("$d{count}")
        };
        match self {
            Self::Bool => "bool".into(),
            Self::Integer(signed, bytes) => {
                format!("{}{}", if *signed { 's' } else { 'u' }, bytes * 8)
            }
            Self::F32 => "f32".into(),
            Self::F64 => "f64".into(),
            Self::Char => "char".into(),
            Self::Text => "string".into(),
            Self::List(ty) => {
                let ty = ty.declare(wat, count);
                *count += 1;
                writeln!(wat, "(type $d{count} (list {ty}))").unwrap();
                format!("$d{count}")
            }
            Self::Option(ty) => {
                let ty = ty.declare(wat, count);
                *count += 1;
                writeln!(wat, "(type $d{count} (option {ty}))").unwrap();
                format!("$d{count}")
            }
            Self::Result(ok, err) => {
                let ok = ok.as_ref().map_or_else(String::new, |ty| ty.declare(wat, count));
                let err = err
                    .as_ref()
                    .map_or_else(String::new, |ty| format!("(error {})", ty.declare(wat, count)));
                *count += 1;
                writeln!(wat, "(type $d{count} (result {ok} {err}))").unwrap();
                format!("$d{count}")
            }
            Self::Tuple(fields) => {
                let fields: Vec<_> = fields.iter().map(|ty| ty.declare(wat, count)).collect();
                *count += 1;
                writeln!(wat, "(type $d{count} (tuple {}))", fields.join(" ")).unwrap();
                format!("$d{count}")
            }
            Self::Record(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .enumerate()
                    .map(|(at, ty)| {
                        let ty = ty.declare(wat, count);
                        format!("(field \"f{at}\" {ty})")
                    })
                    .collect();
                *count += 1;
                writeln!(wat, "(type $d{count} (record {}))", fields.join(" ")).unwrap();
                writeln!(wat, "(export $t{count} \"t{count}\" (type $d{count}))").unwrap();
                format!("$t{count}")
            }
            Self::Variant(cases) => {
                let cases: Vec<_> = cases
                    .iter()
                    .enumerate()
                    .map(|(at, payload)| {
                        let payload =
                            payload.as_ref().map_or_else(String::new, |ty| ty.declare(wat, count));
                        format!("(case \"c{at}\" {payload})")
                    })
                    .collect();
                *count += 1;
                writeln!(wat, "(type $d{count} (variant {}))", cases.join(" ")).unwrap();
                writeln!(wat, "(export $t{count} \"t{count}\" (type $d{count}))").unwrap();
                format!("$t{count}")
            }
            Self::Enum(cases) => {
                let cases: Vec<_> = (0..*cases).map(|at| format!("\"c{at}\"")).collect();
                named(wat, format!("(enum {})", cases.join(" ")), true)
            }
            Self::Flags(flags) => {
                let flags: Vec<_> = (0..*flags).map(|at| format!("\"f{at}\"")).collect();
                named(wat, format!("(flags {})", flags.join(" ")), true)
            }
        }
    }

    /// Core code that stores the value of the words from local `first` on, at `at` behind local
    /// `$to`. `words` are the types of those locals.
    fn store(&self, words: &[Core], first: usize, at: u32) -> String {
        let word = |index: usize, wanted: Core| {
            format!("local.get {} {}", first + index, words[index].to(wanted))
        };
        let put = |index: usize, wanted: Core, store: &str, at: u32| {
            format!("local.get $to {} {store} offset={at}\n", word(index, wanted))
        };
        let narrow = |bytes: u32| match bytes {
            1 => "i32.store8",
            2 => "i32.store16",
            _ => "i32.store",
        };
        if let Some(cases) = self.cases() {
            let mut code = put(0, Core::I32, narrow(discriminant(cases.len())), at);
            let payload_at = at + self.payload_at();
            for (case, payload) in cases.iter().enumerate() {
                let Some(payload) = payload else { continue };
                let inner = payload.store(&words[1..], first + 1, payload_at);
                let chosen = word(0, Core::I32);
                write!(code, "{chosen} i32.const {case} i32.eq if\n{inner}end\n").unwrap();
            }
            return code;
        }
        if let Some(fields) = self.fields() {
            let (mut code, mut offset, mut index) = (String::new(), 0, 0);
            for ty in fields {
                offset = aligned(offset, ty.align());
                code += &ty.store(&words[index..], first + index, at + offset);
                offset += ty.size();
                index += ty.flat().len();
            }
            return code;
        }
        match self {
            Self::Integer(_, 8) => put(0, Core::I64, "i64.store", at),
            Self::F32 => put(0, Core::F32, "f32.store", at),
            Self::F64 => put(0, Core::F64, "f64.store", at),
            Self::Text | Self::List(_) => {
                put(0, Core::I32, "i32.store", at) + &put(1, Core::I32, "i32.store", at + 4)
            }
            Self::Flags(count) if *count > 16 => (0..count.div_ceil(32))
                .map(|index| put(index, Core::I32, "i32.store", at + 4 * index as u32))
                .collect(),
            other => put(0, Core::I32, narrow(other.size()), at),
        }
    }

    fn value(&self) -> BoxedStrategy<Value> {
        match self {
            Self::Bool => any::<bool>().prop_map(Value::from).boxed(),
            Self::Integer(true, bytes) => {
                let unused = 64 - bytes * 8;
                any::<i64>().prop_map(move |it| json!(it >> unused)).boxed()
            }
            Self::Integer(false, bytes) => {
                let unused = 64 - bytes * 8;
                any::<u64>().prop_map(move |it| json!(it >> unused)).boxed()
            }
            Self::F32 => prop_oneof![
                any::<i16>().prop_map(|it| json!(f64::from(it) / 8.0)),
                prop_oneof!["NaN", "Infinity", "-Infinity"].prop_map(Value::from),
            ]
            .boxed(),
            Self::F64 => prop_oneof![
                any::<f64>().prop_filter("finite", |it| it.is_finite()).prop_map(Value::from),
                prop_oneof!["NaN", "Infinity", "-Infinity"].prop_map(Value::from),
            ]
            .boxed(),
            Self::Char => any::<char>().prop_map(|it| json!(it)).boxed(),
            Self::Text => any::<String>().prop_map(Value::from).boxed(),
            Self::List(ty) if matches!(**ty, Self::Integer(false, 1)) => {
                prop_oneof!["", "AA==", "AQI=", "/+8A"].prop_map(Value::from).boxed()
            }
            Self::List(ty) => prop::collection::vec(ty.value(), 0..4).prop_map(Value::from).boxed(),
            Self::Tuple(fields) => {
                fields.iter().map(Self::value).collect::<Vec<_>>().prop_map(Value::from).boxed()
            }
            Self::Record(fields) => fields
                .iter()
                .map(Self::value)
                .collect::<Vec<_>>()
                .prop_map(|values| {
                    let named = values.into_iter().enumerate();
                    named.map(|(at, value)| (format!("f{at}"), value)).collect()
                })
                .boxed(),
            Self::Variant(cases) => {
                let each = cases.iter().enumerate().map(|(at, payload)| match payload {
                    None => Just(json!(format!("c{at}"))).boxed(),
                    Some(ty) => {
                        ty.value().prop_map(move |it| json!({ format!("c{at}"): it })).boxed()
                    }
                });
                prop::strategy::Union::new(each).boxed()
            }
            Self::Enum(count) => (0..*count).prop_map(|at| json!(format!("c{at}"))).boxed(),
            Self::Flags(count) => prop::collection::btree_set(0..*count, 0..=*count)
                .prop_map(|set| set.into_iter().map(|at| format!("f{at}")).collect())
                .boxed(),
            Self::Option(ty) => {
                let nested = matches!(**ty, Self::Option(_));
                let some = ty.value();
                let some = some.prop_map(move |it| if nested { json!({ "some": it }) } else { it });
                prop_oneof![Just(Value::Null), some].boxed()
            }
            Self::Result(ok, err) => {
                let arm = |name: &'static str, ty: &Option<Box<Type>>| match ty {
                    None => Just(json!({ name: null })).boxed(),
                    Some(ty) => ty.value().prop_map(move |it| json!({ name: it })).boxed(),
                };
                prop_oneof![arm("ok", ok), arm("err", err)].boxed()
            }
        }
    }
}

fn types() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        Just(Type::Bool),
        (any::<bool>(), prop_oneof![Just(1), Just(2), Just(4), Just(8)])
            .prop_map(|(signed, bytes)| Type::Integer(signed, bytes)),
        Just(Type::F32),
        Just(Type::F64),
        Just(Type::Char),
        Just(Type::Text),
        prop_oneof![1..4_usize, Just(300)].prop_map(Type::Enum),
        prop_oneof![1..8_usize, 9..17_usize, 17..32_usize].prop_map(Type::Flags),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let some = prop::option::of(boxed.clone());
        prop_oneof![
            boxed.clone().prop_map(Type::List),
            boxed.prop_map(Type::Option),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Type::Record),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Type::Tuple),
            prop::collection::vec(prop::option::of(inner), 1..4).prop_map(Type::Variant),
            (some.clone(), some).prop_map(|(ok, err)| Type::Result(ok, err)),
        ]
    })
}

/// Words that do not fit on the stack beside any value.
const WIDE: usize = 17;

/// A component that returns what it is passed: `flat` gets words, `wide` a pointer.
fn component(ty: &Type) -> Vec<u8> {
    let (mut declared, mut count) = (String::new(), 0);
    let name = ty.declare(&mut declared, &mut count);
    let wide = format!("(tuple {name} (tuple {}))", "u64 ".repeat(WIDE));
    let pair = Type::Tuple(vec![ty.clone(), Type::Bool]);
    let words = ty.flat();
    let flat = words.len() <= 16;
    let params: String = words.iter().map(|word| format!("{} ", word.name())).collect();
    let store = ty.store(&words, 0, 0);
    let (size, align) = (pair.size(), pair.align());
    let flat_core = format!(
        "(func (export \"flat\") (param {params}) (result i32) (local $to i32)
           (local.set $to (call $realloc (i32.const 0) (i32.const 0) (i32.const {align}) (i32.const {size})))
           {store}
           local.get $to)"
    );
    let flat_lift = format!(
        "(func (export \"flat\") (param \"v\" {name}) (result (tuple {name} bool))
           (canon lift (core func $i \"flat\") (memory (core memory $i \"memory\"))
             (realloc (core func $i \"realloc\"))))"
    );
    let (flat_core, flat_lift) = if flat { (flat_core, flat_lift) } else { Default::default() };
    let text = format!(
        "(component
           (core module $m
             (memory (export \"memory\") 4)
             (global $free (mut i32) (i32.const 64))
             (func $realloc (export \"realloc\") (param i32 i32 i32 i32) (result i32)
               (global.set $free (i32.and
                 (i32.add (global.get $free) (i32.sub (local.get 2) (i32.const 1)))
                 (i32.sub (i32.const 0) (local.get 2))))
               (global.get $free)
               (global.set $free (i32.add (global.get $free) (local.get 3))))
             (func (export \"wide\") (param i32) (result i32) local.get 0)
             {flat_core})
           (core instance $i (instantiate $m))
           {declared}
           (func (export \"wide\") (param \"v\" {wide}) (result {wide})
             (canon lift (core func $i \"wide\") (memory (core memory $i \"memory\"))
               (realloc (core func $i \"realloc\"))))
           {flat_lift})"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn values_of_random_types_return_as_they_were_passed() {
    let strategy = types().prop_flat_map(|ty| {
        let values = prop::collection::vec(ty.value(), 1..4);
        (Just(ty), values)
    });
    for_all(150, strategy, |(ty, values)| {
        let engine = Config::bare().engine();
        let component = engine.try_load("app/echo/0", &component(&ty), None).unwrap();
        for value in values {
            let wide = json!([[value, vec![0; WIDE]]]);
            let came = engine.invoke(component, "wide", &wide).unwrap();
            assert_eq!(&came, &wide[0], "{:?}", ty);
            // A list of numbers may be packed on the way in, too.
            let text = json!([value]).to_string();
            if ty.flat().len() <= 16 {
                let came = engine.invoke_text(component, "flat", &text, With::default()).unwrap();
                let came: Value = serde_json::from_str(&came).unwrap();
                assert_eq!(&came, &json!([value, false]), "{:?}", ty);
            }
        }
    });
}
