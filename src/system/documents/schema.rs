//! The JSON schema of all documents, generated from their types.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::core::codec::Codec;
use crate::security::action::Action;
use crate::system::documents::config::ConfigDocument;
use crate::system::documents::grants::GrantSet;
use crate::system::documents::group::GroupDocument;
use crate::system::documents::options::{LoadDocument, ReplaceDocument};
use crate::system::documents::policies::{ActionPattern, PoliciesDocument};
use crate::system::documents::values::{Given, Int, List, Table};

impl<const MIN: u64, const MAX: u64> JsonSchema for Int<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        "integer".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        match MAX {
            u64::MAX => json_schema!({ "type": "integer", "minimum": MIN }),
            _ => json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX }),
        }
    }
}

/// Gives a type the schema of another.
macro_rules! like {
    ($($type:ty => $other:ty),+) => {
        $(impl<T: JsonSchema> JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                <$other>::schema_name()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$other>::json_schema(generator)
            }
        })+
    };
}

like!(Given<T> => Option<T>, List<T> => Vec<T>, Table<T> => BTreeMap<String, T>);

impl JsonSchema for ActionPattern {
    fn schema_name() -> Cow<'static, str> {
        "action-pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut names = vec!["*".to_owned()];
        for action in Action::ALL {
            let group = format!("{}.*", action.group());
            if !names.contains(&group) {
                names.push(group);
            }
            names.push(action.name().into());
        }
        json_schema!({
            "description": "An action, all actions of a group, or `*`, all actions.",
            "enum": names
        })
    }
}

/// The name of a codec. The reader looks names up once it has the whole array.
pub struct CodecName;

impl JsonSchema for CodecName {
    fn schema_name() -> Cow<'static, str> {
        "codec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a codec, as `airssys_codec_name` has it.",
            "enum": Codec::ALL.map(Codec::name)
        })
    }
}

/// The documents that functions take.
pub const ROOTS: [&str; 6] =
    ["load-options", "replace-options", "group-options", "config", "grant-set", "policies"];

/// Returns the schema of all documents.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    generator.subschema_for::<LoadDocument>();
    generator.subschema_for::<ReplaceDocument>();
    generator.subschema_for::<GroupDocument>();
    generator.subschema_for::<ConfigDocument>();
    generator.subschema_for::<GrantSet>();
    generator.subschema_for::<PoliciesDocument>();
    let mut definitions = Value::Object(generator.take_definitions(true));
    join_lines(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The JSON documents of airssys_wasm.h",
        "description": "The options of a load. The other documents are among the definitions: \
                        `replace-options`, `group-options`, `config`, `grant-set` and `policies`.",
        "$ref": "#/$defs/load-options",
        "$defs": definitions
    })
}

/// Joins the lines of descriptions, which come from wrapped comments.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    member => join_lines(member),
                }
            }
        }
        _ => {}
    }
}

/// Asserts that a checked-in file has the generated contents. Writes it first if
/// `AIRSSYS_WRITE_DOCUMENTS` is set.
pub fn is_checked_in(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("AIRSSYS_WRITE_DOCUMENTS").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(generated.lines()).find(|(found, made)| found != made);
    assert!(
        found == generated,
        "{name} is out of date: {differs:?}; AIRSSYS_WRITE_DOCUMENTS=1 cargo test --lib documents writes it"
    );
}

#[test]
fn the_checked_in_schema_is_the_generated_one() {
    let text = serde_json::to_string_pretty(&schema()).unwrap();
    is_checked_in("include/airssys_wasm.schema.json", &format!("{text}\n"));
}

#[test]
fn members_that_must_be_there_are_strings() {
    let schema = schema();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let required = definition["required"].as_array();
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            let member = &definition["properties"][key];
            let reference = member["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/"));
            let target = reference.map_or(member, |reference| &schema["$defs"][reference]);
            let words = [&target["oneOf"], &target["enum"]].into_iter().any(Value::is_array);
            assert!(words || target["type"] == "string", "{name}.{key}: {target}");
        }
    }
}
