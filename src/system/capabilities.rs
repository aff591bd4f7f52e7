//! Capabilities from JSON.

use std::fmt::Display;
use std::sync::Arc;

use serde_json::Value;

use crate::core::clock::coarse_wall;
use crate::core::id::shorten;
use crate::security::action::Action;
use crate::security::capability::{Capabilities, Grant, Scope};
use crate::security::directory::{self, InvalidPath};
use crate::security::host_pattern::EndpointPattern;
use crate::security::pattern::Pattern;
use crate::system::json::{self, Object, OptionsError};

/// The keys of a set of grants.
const SET_KEYS: &[&str] =
    &["messaging", "storage", "filesystem", "network", "expires-at-ms", "expires-in-ms"];
const MESSAGING_KEYS: &[&str] = &["send", "request", "broadcast"];
const STORAGE_KEYS: &[&str] = &["read", "write", "delete"];
const FILESYSTEM_KEYS: &[&str] = &["read", "write", "delete", "list-dir"];
const NETWORK_KEYS: &[&str] = &["outbound", "inbound"];

/// What grants of the component's own storage namespace are called.
const OWN_NAMESPACE: &str = "own namespace";

/// Reads the member `capabilities`: one set of grants, or an array of them.
pub fn read(place: String, value: &Value) -> Result<Capabilities, OptionsError> {
    let mut grants = Vec::new();
    match value {
        Value::Array(sets) => {
            for (at, set) in sets.iter().enumerate() {
                read_set(format!("{place}[{at}]"), set, true, &mut grants)?;
            }
        }
        set => read_set(place.clone(), set, true, &mut grants)?,
    }
    let capabilities = Capabilities::new(grants);
    check_places(&place, &capabilities)?;
    Ok(capabilities)
}

/// Reads a document that is one set of grants.
pub fn parse(text: &str) -> Result<Vec<Grant>, OptionsError> {
    parse_set(text, true)
}

/// Reads a document that names a set of grants, the paths of which need not exist any more.
pub fn parse_names(text: &str) -> Result<Vec<Grant>, OptionsError> {
    parse_set(text, false)
}

fn parse_set(text: &str, opens: bool) -> Result<Vec<Grant>, OptionsError> {
    let mut grants = Vec::new();
    let document = json::parse("capabilities", text)?;
    read_set("capabilities".into(), &document, opens, &mut grants)?;
    Ok(grants)
}

/// Two directories can not be seen at one place, whenever their grants end.
pub fn check_places(place: &str, capabilities: &Capabilities) -> Result<(), OptionsError> {
    let directories = capabilities.directories(0);
    for (at, (directory, _)) in directories.iter().enumerate() {
        let same_place =
            |(other, _): &&(Arc<directory::Directory>, _)| other.guest() == directory.guest();
        if let Some((other, _)) = directories[..at].iter().find(same_place) {
            let (guest, first, second) = (directory.guest(), other.host(), directory.host());
            let reason = format!("{first} and {second} can not both appear at {guest:?}");
            return Err(OptionsError::Invalid { place: place.to_owned(), reason });
        }
    }
    Ok(())
}

fn read_set(
    place: String,
    value: &Value,
    opens: bool,
    grants: &mut Vec<Grant>,
) -> Result<(), OptionsError> {
    let set = Object::new(place, value, SET_KEYS)?;
    let mut reader = Reader { grants, opens, expires: expiry(&set)? };
    reader.messaging(&set)?;
    reader.storage(&set)?;
    reader.filesystem(&set)?;
    reader.network(&set)
}

fn expiry(set: &Object<'_>) -> Result<Option<u64>, OptionsError> {
    let at = set.integer("expires-at-ms", 0..=u64::MAX)?;
    let after = set.integer("expires-in-ms", 0..=u64::MAX)?;
    if at.is_some() && after.is_some() {
        let reason = "expires-at-ms and expires-in-ms exclude each other".into();
        return Err(OptionsError::Invalid { place: set.place("expires-in-ms"), reason });
    }
    let now = u64::try_from(coarse_wall().as_millis()).unwrap_or(u64::MAX);
    Ok(at.or(after.map(|after| now.saturating_add(after))))
}

struct Reader<'a> {
    grants: &'a mut Vec<Grant>,
    /// Whether directories are opened, which must exist then.
    opens: bool,
    expires: Option<u64>,
}

impl Reader<'_> {
    fn add(&mut self, action: Action, scope: Scope, text: &str) {
        let (expires, text) = (self.expires, text.into());
        self.grants.push(Grant { action, scope, expires, text, seen_at: None });
    }

    fn messaging(&mut self, set: &Object<'_>) -> Result<(), OptionsError> {
        let Some(value) = set.get("messaging") else { return Ok(()) };
        let place = set.place("messaging");
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let place = format!("{place}[{at}]");
                    let item = Object::new(place, item, &["action", "target-pattern"])?;
                    let action = action("messaging", MESSAGING_KEYS, &item)?;
                    let pattern = item.required("target-pattern")?;
                    self.ids(action, &item.place("target-pattern"), pattern)?;
                }
                Ok(())
            }
            value => self.ids_by_action("messaging", MESSAGING_KEYS, place, value),
        }
    }

    fn storage(&mut self, set: &Object<'_>) -> Result<(), OptionsError> {
        let Some(value) = set.get("storage") else { return Ok(()) };
        let place = set.place("storage");
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let place = format!("{place}[{at}]");
                    if let Value::String(verb) = item {
                        let action = named(place, "storage", STORAGE_KEYS, verb)?;
                        self.add(action, Scope::OwnNamespace, OWN_NAMESPACE);
                        continue;
                    }
                    let item = Object::new(place, item, &["action", "namespace-pattern"])?;
                    let action = action("storage", STORAGE_KEYS, &item)?;
                    match item.string("namespace-pattern")? {
                        Some(pattern) => {
                            self.ids(action, &item.place("namespace-pattern"), pattern)?;
                        }
                        None => self.add(action, Scope::OwnNamespace, OWN_NAMESPACE),
                    }
                }
                Ok(())
            }
            value => self.ids_by_action("storage", STORAGE_KEYS, place, value),
        }
    }

    fn filesystem(&mut self, set: &Object<'_>) -> Result<(), OptionsError> {
        let Some(value) = set.get("filesystem") else { return Ok(()) };
        let place = set.place("filesystem");
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let keys = &["action", "actions", "path-pattern", "guest-path"];
                    let item = Object::new(format!("{place}[{at}]"), item, keys)?;
                    let pattern = item.required("path-pattern")?;
                    self.files(&item, item.place("path-pattern"), pattern)?;
                }
                Ok(())
            }
            Value::Object(entries) => {
                for (pattern, value) in entries {
                    let place = format!("{place}.{}", shorten(pattern));
                    if value.is_object() {
                        let item = Object::new(
                            place.clone(),
                            value,
                            &["action", "actions", "guest-path"],
                        )?;
                        self.files(&item, place, pattern)?;
                        continue;
                    }
                    let actions = verbs("filesystem", FILESYSTEM_KEYS, &place, value)?;
                    self.opened(&actions, place, pattern, None)?;
                }
                Ok(())
            }
            other => Err(json::wrong_type(place, "an object or an array", other)),
        }
    }

    fn files(
        &mut self,
        item: &Object<'_>,
        place: String,
        pattern: &str,
    ) -> Result<(), OptionsError> {
        let named = ["action", "actions"].into_iter().filter(|key| item.get(key).is_some());
        let [key] = named.collect::<Vec<_>>()[..] else {
            let reason = "either action or actions is needed".into();
            return Err(OptionsError::Invalid { place: item.place("actions"), reason });
        };
        let value = item.get(key).unwrap_or(&Value::Null);
        let actions = verbs("filesystem", FILESYSTEM_KEYS, &item.place(key), value)?;
        self.opened(&actions, place, pattern, item.string("guest-path")?)
    }

    fn opened(
        &mut self,
        actions: &[Action],
        place: String,
        pattern: &str,
        guest: Option<&str>,
    ) -> Result<(), OptionsError> {
        let scope = if self.opens {
            let (directory, within) = directory::open(pattern, guest).map_err(not_opened(place))?;
            Scope::Files { directory: Arc::new(directory), within }
        } else {
            Scope::Nothing
        };
        for action in actions {
            let (expires, text) = (self.expires, pattern.into());
            let (scope, seen_at) = (scope.clone(), guest.map(Into::into));
            self.grants.push(Grant { action: *action, scope, expires, text, seen_at });
        }
        Ok(())
    }

    fn network(&mut self, set: &Object<'_>) -> Result<(), OptionsError> {
        let Some(value) = set.get("network") else { return Ok(()) };
        let place = set.place("network");
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let keys = &["action", "host-pattern", "port", "private"];
                    let item = Object::new(format!("{place}[{at}]"), item, keys)?;
                    let action = action("network", NETWORK_KEYS, &item)?;
                    let host = item.required("host-pattern")?;
                    let at = item.place("host-pattern");
                    let mut pattern = EndpointPattern::compile(host).map_err(invalid(at))?;
                    let mut text = host.to_owned();
                    if let Some(port) = item.integer("port", 1..=u64::from(u16::MAX))? {
                        if pattern.port.is_some_and(|named| u64::from(named) != port) {
                            let reason = format!("{host:?} names another port than {port}");
                            return Err(OptionsError::Invalid {
                                place: item.place("port"),
                                reason,
                            });
                        }
                        if pattern.port.is_none() {
                            let bare = text.trim_end_matches(":*");
                            let bracketed = !bare.contains(':') || bare.starts_with('[');
                            text = if bracketed {
                                format!("{bare}:{port}")
                            } else {
                                format!("[{bare}]:{port}")
                            };
                        }
                        pattern.port = u16::try_from(port).ok();
                    }
                    // What listens does so on addresses of this host.
                    let private = item.boolean("private")?.unwrap_or(false);
                    let private_too = private || action == Action::NetworkInbound;
                    if private {
                        text.push_str(" private");
                    }
                    self.add(action, Scope::Hosts { pattern, private_too }, &text);
                }
                Ok(())
            }
            value => {
                let by_action = Object::new(place, value, NETWORK_KEYS)?;
                each_pattern("network", NETWORK_KEYS, &by_action, |action, place, text| {
                    let pattern = EndpointPattern::compile(text).map_err(invalid(place))?;
                    let private_too = action == Action::NetworkInbound;
                    self.add(action, Scope::Hosts { pattern, private_too }, text);
                    Ok(())
                })
            }
        }
    }

    fn ids_by_action(
        &mut self,
        group: &str,
        verbs: &'static [&'static str],
        place: String,
        value: &Value,
    ) -> Result<(), OptionsError> {
        let by_action = Object::new(place, value, verbs)?;
        each_pattern(group, verbs, &by_action, |action, place, text| self.ids(action, &place, text))
    }

    fn ids(&mut self, action: Action, place: &str, text: &str) -> Result<(), OptionsError> {
        let pattern = Pattern::for_ids(text).map_err(invalid(place.to_owned()))?;
        self.add(action, Scope::Ids(pattern), text);
        Ok(())
    }
}

/// Calls `take` with each pattern of an object of the form `{"action": ["pattern", ...]}`, in which
/// one pattern may stand without its array.
fn each_pattern(
    group: &str,
    verbs: &'static [&'static str],
    by_action: &Object<'_>,
    mut take: impl FnMut(Action, String, &str) -> Result<(), OptionsError>,
) -> Result<(), OptionsError> {
    for verb in verbs {
        let place = by_action.place(verb);
        let action = named(place.clone(), group, verbs, verb)?;
        match by_action.get(verb) {
            None => {}
            Some(Value::String(text)) => take(action, place, text)?,
            Some(_) => {
                for (at, text) in by_action.texts(verb)?.into_iter().enumerate() {
                    take(action, format!("{place}[{at}]"), text)?;
                }
            }
        }
    }
    Ok(())
}

/// One action, or an array of them.
fn verbs(
    group: &str,
    known: &'static [&'static str],
    place: &str,
    value: &Value,
) -> Result<Vec<Action>, OptionsError> {
    let one = |place: String, value: &Value| match value {
        Value::String(verb) => named(place, group, known, verb),
        other => Err(json::wrong_type(place, "an action or an array of actions", other)),
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| one(format!("{place}[{at}]"), item)).collect()
        }
        value => Ok(vec![one(place.to_owned(), value)?]),
    }
}

fn action(
    group: &str,
    known: &'static [&'static str],
    item: &Object<'_>,
) -> Result<Action, OptionsError> {
    named(item.place("action"), group, known, item.required("action")?)
}

fn named(
    place: String,
    group: &str,
    known: &'static [&'static str],
    verb: &str,
) -> Result<Action, OptionsError> {
    let action = Action::find(group, verb).filter(|_| known.contains(&verb));
    action.ok_or_else(|| json::not_one_of(place, verb, known))
}

fn not_opened(place: String) -> impl FnOnce(InvalidPath) -> OptionsError {
    move |error| match error {
        InvalidPath::NoDescriptor { .. } => {
            OptionsError::NoDescriptor { place, reason: error.to_string() }
        }
        other => invalid(place)(other),
    }
}

fn invalid<E: Display>(place: String) -> impl FnOnce(E) -> OptionsError {
    move |error| OptionsError::Invalid { place, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Vec<String> {
        let value = serde_json::from_str(text).unwrap();
        let capabilities = read("capabilities".into(), &value).unwrap();
        let shown = |grant: &Grant| format!("{} {}", grant.action.name(), grant.text);
        capabilities.all().iter().map(shown).collect()
    }

    #[test]
    fn short_and_long_forms_say_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        for (short, long) in [
            (
                r#"{"messaging": {"send": ["app/*/*"], "request": "app/db/0"}}"#.to_owned(),
                r#"{"messaging": [{"action": "send", "target-pattern": "app/*/*"},
                                  {"action": "request", "target-pattern": "app/db/0"}]}"#
                    .to_owned(),
            ),
            (
                r#"{"storage": ["read", "write"]}"#.into(),
                r#"[{"storage": [{"action": "read"}]}, {"storage": [{"action": "write"}]}]"#.into(),
            ),
            (
                r#"{"storage": {"read": "app/**"}}"#.into(),
                r#"{"storage": [{"action": "read", "namespace-pattern": "app/**"}]}"#.into(),
            ),
            (
                format!(r#"{{"filesystem": {{"{path}": ["read", "list-dir"]}}}}"#),
                format!(
                    r#"{{"filesystem": [{{"action": "read", "path-pattern": "{path}"}},
                                        {{"actions": "list-dir", "path-pattern": "{path}"}}]}}"#
                ),
            ),
            (
                r#"{"network": {"outbound": ["api.example.com:443"]}}"#.into(),
                r#"{"network": [{"action": "outbound", "host-pattern": "api.example.com",
                                 "port": 443}]}"#
                    .into(),
            ),
        ] {
            assert_eq!(grants(&short), grants(&long));
            assert!(!grants(&short).is_empty());
        }
    }

    #[test]
    fn errors_name_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let (one, other) = (format!("{path}/one"), format!("{path}/other"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        for (text, expected) in [
            (
                r#"{"message": {}}"#.to_owned(),
                r#"unknown key "message", did you mean "messaging"?"#,
            ),
            (
                r#"{"messaging": {"send": ["app/db"]}}"#.into(),
                r#"c.messaging.send[0]: "app/db" can match no component id"#,
            ),
            (
                r#"{"messaging": [{"action": "sned", "target-pattern": "**"}]}"#.into(),
                r#"c.messaging[0].action: "sned" is not allowed, "send" or "request" or "broadcast" expected"#,
            ),
            (r#"{"storage": ["list"]}"#.into(), r#"c.storage[0]: "list" is not allowed"#),
            (r#"{"storage": "read"}"#.into(), "c.storage: an object expected, a string found"),
            (
                r#"{"network": {"outbound": ["10.0.0.0/99"]}}"#.into(),
                r#"c.network.outbound[0]: "10.0.0.0/99" is neither a host name"#,
            ),
            (
                r#"[{}, {"network": [{"action": "outbound"}]}]"#.into(),
                "c[1].network[0].host-pattern: a string expected, nothing found",
            ),
            (
                format!(r#"{{"filesystem": {{"{path}/none": "read"}}}}"#),
                "/none: No such file or directory",
            ),
            (format!(r#"{{"filesystem": {{"{path}/*/x": "read"}}}}"#), "wildcards are for the end"),
            (
                format!(
                    r#"{{"filesystem": {{"{one}": {{"action": "read", "guest-path": "/in"}},
                                         "{other}": {{"action": "read", "guest-path": "/in"}}}}}}"#
                ),
                r#"can not both appear at "/in""#,
            ),
            (
                r#"{"expires-at-ms": 1, "expires-in-ms": 1}"#.into(),
                "c.expires-in-ms: expires-at-ms and expires-in-ms exclude each other",
            ),
        ] {
            let value = serde_json::from_str(&text).unwrap();
            let error = read("c".into(), &value).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
