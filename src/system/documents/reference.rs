//! The Markdown reference of all documents, generated from their schema.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::system::documents::config::{CompileDocument, ConfigDocument, StorageDocument};
use crate::system::documents::grants::{
    FilesystemAt, FilesystemGrant, GrantSet, MessagingByAction, MessagingGrant, NetworkByAction,
    NetworkGrant, StorageByAction, StorageIn,
};
use crate::system::documents::group::GroupDocument;
use crate::system::documents::options::{
    BackoffDocument, CanaryDocument, ExpectDocument, HealthDocument, LimitsDocument, LoadDocument,
    MailboxDocument, QuotasDocument, ReplaceDocument, SaveEveryDocument, SupervisionDocument,
};
use crate::system::documents::policies::{PoliciesDocument, RuleDocument};
use crate::system::documents::reader::read;
use crate::system::documents::schema::{ROOTS, is_checked_in, schema};
use crate::system::json::OptionsError;

const HEAD: &str = "\
# Options

The JSON documents that the functions of `airssys_wasm.h` take. This file and the JSON schema,
[airssys_wasm.schema.json](../include/airssys_wasm.schema.json), are generated from the types that the
library reads the documents into.

- Every key is optional, unless its description begins with *Required*.
- `null` means the same as an absent key, unless the description says otherwise.
- An unknown key, a key that occurs twice, a value of the wrong type and a value out of range are
  errors (`AIRSSYS_ERROR_INVALID_OPTIONS`) that name the place and, for an unknown key, the nearest
  known one.
";

type Keys = (String, &'static [&'static str]);

/// Returns the keys of a document, in order.
fn keys<T: JsonSchema + DeserializeOwned + std::fmt::Debug>() -> Keys {
    match read::<T>("", json!({ "~": null })) {
        Err(OptionsError::UnknownKey { known, .. }) => (T::schema_name().into(), known),
        other => panic!("{}: {other:?}", T::schema_name()),
    }
}

fn all_keys() -> Vec<Keys> {
    vec![
        keys::<LoadDocument>(),
        keys::<ReplaceDocument>(),
        keys::<GroupDocument>(),
        keys::<LimitsDocument>(),
        keys::<MailboxDocument>(),
        keys::<QuotasDocument>(),
        keys::<SupervisionDocument>(),
        keys::<HealthDocument>(),
        keys::<SaveEveryDocument>(),
        keys::<ExpectDocument>(),
        keys::<CanaryDocument>(),
        keys::<BackoffDocument>(),
        keys::<ConfigDocument>(),
        keys::<CompileDocument>(),
        keys::<StorageDocument>(),
        keys::<GrantSet>(),
        keys::<MessagingByAction>(),
        keys::<MessagingGrant>(),
        keys::<StorageByAction>(),
        keys::<StorageIn>(),
        keys::<FilesystemAt>(),
        keys::<FilesystemGrant>(),
        keys::<NetworkByAction>(),
        keys::<NetworkGrant>(),
        keys::<PoliciesDocument>(),
        keys::<RuleDocument>(),
    ]
}

struct Reference {
    definitions: Value,
    keys: Vec<Keys>,
    text: String,
    /// The definitions that have a section or are about to get one.
    listed: Vec<String>,
}

impl Reference {
    fn section(&mut self, name: &str, level: &str) {
        let definition = self.definitions[name].clone();
        let description = definition["description"].as_str().unwrap_or_default();
        write!(self.text, "\n{level} {name}\n\n{description}\n").unwrap();
        let mut named = Vec::new();
        if definition["properties"].is_object() {
            self.members(name, &definition, &mut named);
        } else if let Some(choices) = definition["oneOf"].as_array() {
            self.text += "\n| Value | Meaning |\n| --- | --- |\n";
            for choice in choices {
                let meaning = choice["description"].as_str().unwrap_or_default();
                writeln!(self.text, "| {} | {meaning} |", code(&choice["const"])).unwrap();
            }
        } else {
            let what = if definition["enum"].is_array() { "One of" } else { "Value:" };
            let shown = shown(&definition, &mut named);
            writeln!(self.text, "\n{what} {shown}.").unwrap();
        }
        if let Some(examples) = definition["examples"].as_array() {
            let examples: Vec<_> = examples.iter().map(code).collect();
            writeln!(self.text, "\nExamples: {}.", examples.join(", ")).unwrap();
        }
        for name in named {
            if !ROOTS.contains(&&*name) && !self.listed.contains(&name) {
                self.listed.push(name.clone());
                self.section(&name, "###");
            }
        }
    }

    fn members(&mut self, name: &str, definition: &Value, named: &mut Vec<String>) {
        let (_, keys) = *self
            .keys
            .iter()
            .find(|(known, _)| known == name)
            .as_ref()
            .unwrap_or_else(|| panic!("{name} is not among the keys"));
        let required = definition["required"].as_array();
        self.text += "\n| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |\n";
        for key in *keys {
            let member = &definition["properties"][key];
            let meaning = member["description"].as_str().unwrap_or_else(|| panic!("{name}.{key}"));
            let is_required = required.is_some_and(|all| all.contains(&json!(key)));
            let mark = if is_required { "*Required.* " } else { "" };
            let default = member.get("default").map(|value| sized(key, value)).unwrap_or_default();
            let shown = shown(member, named);
            writeln!(self.text, "| `{key}` | {shown} | {default} | {mark}{meaning} |").unwrap();
        }
    }
}

fn code(value: &Value) -> String {
    format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Formats a default; bytes also in a larger unit.
fn sized(key: &str, value: &Value) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let bytes = value.as_u64().filter(|bytes| key.contains("bytes") && *bytes > 0);
    let unit = units.into_iter().find(|(_, unit)| bytes.is_some_and(|n| n.is_multiple_of(*unit)));
    match (bytes, unit) {
        (Some(bytes), Some((name, unit))) => format!("{} ({} {name})", code(value), bytes / unit),
        _ => code(value),
    }
}

/// Formats the allowed values, and adds the definitions that they refer to to `named`.
fn shown(schema: &Value, named: &mut Vec<String>) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        named.push(name.to_owned());
        return format!("[{name}](#{name})");
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let not_null = any.iter().filter(|schema| schema["type"] != "null");
        return not_null.map(|schema| shown(schema, named)).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(code).collect::<Vec<_>>().join(", ");
    }
    let types = [&schema["type"], &schema["type"][0]];
    match types.into_iter().find_map(Value::as_str) {
        Some("integer") => match (&schema["minimum"], schema.get("maximum")) {
            (from, Some(to)) => format!("integer, {from} to {to}"),
            (from, None) => format!("integer, at least {from}"),
        },
        Some("array") => format!("array of {}", shown(&schema["items"], named)),
        Some("object") => format!("object of {}", shown(&schema["additionalProperties"], named)),
        Some("boolean") => "`true` or `false`".into(),
        Some(other) => other.into(),
        None => "any".into(),
    }
}

#[test]
fn the_checked_in_reference_is_the_generated_one() {
    let definitions = schema()["$defs"].clone();
    let (keys, listed) = (all_keys(), ROOTS.map(Into::into).into());
    let mut reference = Reference { definitions, keys, text: HEAD.into(), listed };
    for root in ROOTS {
        reference.section(root, "##");
    }
    for name in reference.definitions.as_object().unwrap().keys() {
        assert!(reference.listed.contains(name), "{name} has no section");
    }
    is_checked_in("docs/options.md", &reference.text);
}

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let definitions = schema()["$defs"].clone();
    for (name, keys) in all_keys() {
        let definition = &definitions[&name];
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        let properties = definition["properties"].as_object().unwrap();
        assert!(properties.keys().eq(&keys), "{name}");
        assert_eq!(definition["additionalProperties"], false, "{name}");
    }
}
