//! Capabilities, parsed from JSON.

use std::fmt::Display;
use std::sync::Arc;

use crate::core::clock::coarse_wall;
use crate::core::id::shorten;
use crate::security::action::{Action, Subject};
use crate::security::capability::{Capabilities, Grant, Scope};
use crate::security::directory::{self, InvalidPath};
use crate::security::host_pattern::EndpointPattern;
use crate::security::pattern::Pattern;
use crate::system::documents::grants::{
    self, Filesystem, FilesystemActions, FilesystemRights, FunctionPatterns, GrantSet,
    HostPatterns, IdPatterns, Messaging, Network, NetworkGrant, Storage, StorageGrant,
};
use crate::system::documents::reader::read;
use crate::system::documents::values::Int;
use crate::system::json::{self, OptionsError};

/// The text of grants for the component's own storage namespace.
const OWN_NAMESPACE: &str = "own namespace";

/// Returns the capabilities granted by the document at `place`.
pub fn granted(place: &str, document: &grants::Capabilities) -> Result<Capabilities, OptionsError> {
    let mut grants = Vec::new();
    match document {
        grants::Capabilities::Set(set) => add_set(place, set, true, &mut grants)?,
        grants::Capabilities::Sets(sets) => {
            for (at, set) in sets.iter().enumerate() {
                add_set(&format!("{place}[{at}]"), set, true, &mut grants)?;
            }
        }
    }
    let capabilities = Capabilities::new(grants);
    check_places(place, &capabilities)?;
    Ok(capabilities)
}

/// Parses a document with one set of grants.
pub fn parse(text: &str) -> Result<Vec<Grant>, OptionsError> {
    parse_set(text, true)
}

/// Parses a document that names a set of grants, whose paths need no longer exist.
pub fn parse_names(text: &str) -> Result<Vec<Grant>, OptionsError> {
    parse_set(text, false)
}

fn parse_set(text: &str, opens: bool) -> Result<Vec<Grant>, OptionsError> {
    let mut grants = Vec::new();
    let set = read("capabilities", json::parse("capabilities", text)?)?;
    add_set("capabilities", &set, opens, &mut grants)?;
    Ok(grants)
}

/// Checks that no two directories share a guest path, no matter when their grants expire.
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

fn add_set(
    place: &str,
    set: &GrantSet,
    opens: bool,
    grants: &mut Vec<Grant>,
) -> Result<(), OptionsError> {
    let mut reader = Reader { place, grants, opens, expires: expiry(place, set)? };
    reader.messaging(set)?;
    reader.storage(set)?;
    reader.filesystem(set)?;
    reader.network(set)?;
    reader.functions(set)
}

fn expiry(place: &str, set: &GrantSet) -> Result<Option<u64>, OptionsError> {
    let (at, after) = (set.expires_at_ms, set.expires_in_ms);
    if at.is_some() && after.is_some() {
        let reason = "expires-at-ms and expires-in-ms exclude each other".into();
        return Err(OptionsError::Invalid { place: format!("{place}.expires-in-ms"), reason });
    }
    let now = u64::try_from(coarse_wall().as_millis()).unwrap_or(u64::MAX);
    let after = after.map(|Int(after)| now.saturating_add(after));
    Ok(at.map(|Int(at)| at).or(after))
}

/// Converts the grants of a set to enforceable ones.
struct Reader<'a> {
    place: &'a str,
    grants: &'a mut Vec<Grant>,
    /// Whether to open directories, which must then exist.
    opens: bool,
    expires: Option<u64>,
}

impl Reader<'_> {
    fn add(&mut self, action: Action, scope: Scope, text: &str) {
        let (expires, text) = (self.expires, text.into());
        self.grants.push(Grant { action, scope, expires, text, seen_at: None });
    }

    fn messaging(&mut self, set: &GrantSet) -> Result<(), OptionsError> {
        match &set.messaging {
            None => Ok(()),
            Some(Messaging::ByAction(by_action)) => {
                self.all_ids(Action::MessagingSend, &by_action.send)?;
                self.all_ids(Action::MessagingRequest, &by_action.request)?;
                self.all_ids(Action::MessagingBroadcast, &by_action.broadcast)
            }
            Some(Messaging::Each(items)) => items.iter().enumerate().try_for_each(|(at, item)| {
                let place = |set: &str| format!("{set}.messaging[{at}].target-pattern");
                self.ids(item.action.into(), place, &item.target_pattern.0)
            }),
        }
    }

    fn storage(&mut self, set: &GrantSet) -> Result<(), OptionsError> {
        match &set.storage {
            None => Ok(()),
            Some(Storage::ByAction(by_action)) => {
                self.all_ids(Action::StorageRead, &by_action.read)?;
                self.all_ids(Action::StorageWrite, &by_action.write)?;
                self.all_ids(Action::StorageDelete, &by_action.delete)
            }
            Some(Storage::Each(items)) => items.iter().enumerate().try_for_each(|(at, item)| {
                let (action, pattern) = match item {
                    StorageGrant::Own(action) => (*action, &None),
                    StorageGrant::In(named) => (named.action, &named.namespace_pattern),
                };
                let Some(pattern) = pattern else {
                    self.add(action.into(), Scope::OwnNamespace, OWN_NAMESPACE);
                    return Ok(());
                };
                let place = |set: &str| format!("{set}.storage[{at}].namespace-pattern");
                self.ids(action.into(), place, &pattern.0)
            }),
        }
    }

    fn filesystem(&mut self, set: &GrantSet) -> Result<(), OptionsError> {
        match &set.filesystem {
            None => Ok(()),
            Some(Filesystem::ByPath(by_path)) => by_path.0.iter().try_for_each(|(path, rights)| {
                let place = format!("{}.filesystem.{}", self.place, shorten(path));
                let (actions, guest) = match rights {
                    FilesystemRights::One(action) => (std::slice::from_ref(action), None),
                    FilesystemRights::Several(actions) => (&**actions, None),
                    FilesystemRights::At(at) => {
                        (named_actions(&place, &at.action, &at.actions)?, at.guest_path.as_deref())
                    }
                };
                self.files(actions, place, path, guest)
            }),
            Some(Filesystem::Each(items)) => items.iter().enumerate().try_for_each(|(at, item)| {
                let place = format!("{}.filesystem[{at}]", self.place);
                let actions = named_actions(&place, &item.action, &item.actions)?;
                let (path, guest) = (&item.path_pattern.0, item.guest_path.as_deref());
                self.files(actions, format!("{place}.path-pattern"), path, guest)
            }),
        }
    }

    fn files(
        &mut self,
        actions: &[grants::FilesystemAction],
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
            self.grants.push(Grant { action: (*action).into(), scope, expires, text, seen_at });
        }
        Ok(())
    }

    fn network(&mut self, set: &GrantSet) -> Result<(), OptionsError> {
        match &set.network {
            None => Ok(()),
            Some(Network::ByAction(by_action)) => {
                self.all_hosts(Action::NetworkOutbound, &by_action.outbound)?;
                self.all_hosts(Action::NetworkInbound, &by_action.inbound)
            }
            Some(Network::Each(items)) => items.iter().enumerate().try_for_each(|(at, item)| {
                let place = |set: &str, key: &str| format!("{set}.network[{at}].{key}");
                self.host(place, item)
            }),
        }
    }

    fn host(
        &mut self,
        place: impl Fn(&str, &str) -> String,
        item: &NetworkGrant,
    ) -> Result<(), OptionsError> {
        let (action, host) = (item.action.into(), &item.host_pattern.0);
        let mut pattern = EndpointPattern::compile(host)
            .map_err(|error| invalid(place(self.place, "host-pattern"), error))?;
        let mut text = host.clone();
        if let Some(Int(port)) = item.port {
            if pattern.port.is_some_and(|named| u64::from(named) != port) {
                let reason = format!("{:?} names another port than {port}", shorten(host));
                return Err(OptionsError::Invalid { place: place(self.place, "port"), reason });
            }
            if pattern.port.is_none() {
                let bare = text.trim_end_matches(":*");
                let bracketed = !bare.contains(':') || bare.starts_with('[');
                text =
                    if bracketed { format!("{bare}:{port}") } else { format!("[{bare}]:{port}") };
            }
            pattern.port = u16::try_from(port).ok();
        }
        // Listening is on addresses of this host, which may be private.
        let private = item.private.unwrap_or(false);
        let private_too = private || action == Action::NetworkInbound;
        if private {
            text.push_str(" private");
        }
        self.add(action, Scope::Hosts { pattern, private_too }, &text);
        Ok(())
    }

    fn all_hosts(
        &mut self,
        action: Action,
        patterns: &Option<HostPatterns>,
    ) -> Result<(), OptionsError> {
        let (patterns, one) = match patterns {
            None => return Ok(()),
            Some(HostPatterns::One(pattern)) => (std::slice::from_ref(pattern), true),
            Some(HostPatterns::Several(patterns)) => (&**patterns, false),
        };
        patterns.iter().enumerate().try_for_each(|(at, text)| {
            let pattern = EndpointPattern::compile(&text.0)
                .map_err(|error| invalid(place_of(self.place, action, at, one), error))?;
            let private_too = action == Action::NetworkInbound;
            self.add(action, Scope::Hosts { pattern, private_too }, &text.0);
            Ok(())
        })
    }

    fn functions(&mut self, set: &GrantSet) -> Result<(), OptionsError> {
        let (patterns, one) = match &set.host {
            None => return Ok(()),
            Some(FunctionPatterns::One(pattern)) => (std::slice::from_ref(pattern), true),
            Some(FunctionPatterns::Several(patterns)) => (&**patterns, false),
        };
        patterns.iter().enumerate().try_for_each(|(at, text)| {
            let place = format!("{}.host", self.place);
            let place = if one { place } else { format!("{place}[{at}]") };
            let pattern = Pattern::for_functions(&text.0).map_err(|error| invalid(place, error))?;
            self.add(Action::HostFunction, Scope::Ids(pattern), &text.0);
            Ok(())
        })
    }

    fn all_ids(
        &mut self,
        action: Action,
        patterns: &Option<IdPatterns>,
    ) -> Result<(), OptionsError> {
        let (patterns, one) = match patterns {
            None => return Ok(()),
            Some(IdPatterns::One(pattern)) => (std::slice::from_ref(pattern), true),
            Some(IdPatterns::Several(patterns)) => (&**patterns, false),
        };
        patterns.iter().enumerate().try_for_each(|(at, text)| {
            self.ids(action, |set: &str| place_of(set, action, at, one), &text.0)
        })
    }

    /// `place` returns the place of the pattern, given that of the set.
    fn ids(
        &mut self,
        action: Action,
        place: impl Fn(&str) -> String,
        text: &str,
    ) -> Result<(), OptionsError> {
        let pattern = match action.subject() {
            Subject::Namespace => Pattern::for_namespaces(text),
            _ => Pattern::for_ids(text),
        };
        let pattern = pattern.map_err(|error| invalid(place(self.place), error))?;
        self.add(action, Scope::Ids(pattern), text);
        Ok(())
    }
}

/// Returns the place of a pattern listed by action, alone or in an array.
fn place_of(set: &str, action: Action, at: usize, alone: bool) -> String {
    let place = format!("{set}.{}", action.name());
    if alone { place } else { format!("{place}[{at}]") }
}

/// Returns the actions of the one member given.
fn named_actions<'a>(
    place: &str,
    action: &'a Option<FilesystemActions>,
    actions: &'a Option<FilesystemActions>,
) -> Result<&'a [grants::FilesystemAction], OptionsError> {
    match (action, actions) {
        (Some(named), None) | (None, Some(named)) => Ok(match named {
            FilesystemActions::One(action) => std::slice::from_ref(action),
            FilesystemActions::Several(actions) => actions,
        }),
        _ => {
            let reason = "either action or actions is needed".into();
            Err(OptionsError::Invalid { place: format!("{place}.actions"), reason })
        }
    }
}

fn not_opened(place: String) -> impl FnOnce(InvalidPath) -> OptionsError {
    move |error| match error {
        InvalidPath::NoDescriptor { .. } => {
            OptionsError::NoDescriptor { place, reason: error.to_string() }
        }
        other => invalid(place, other),
    }
}

fn invalid(place: String, error: impl Display) -> OptionsError {
    OptionsError::Invalid { place, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Vec<String> {
        let value = serde_json::from_str(text).unwrap();
        let document = read("capabilities", value).unwrap();
        let capabilities = granted("capabilities", &document).unwrap();
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
            let read = read("c", value).and_then(|document| granted("c", &document));
            let error = read.unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
