//! The resources of actions.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path};

use crate::security::action::{Action, Subject};
use crate::security::directory::Directory;
use crate::security::host_pattern::{Endpoint, OwnedEndpoint, parse_endpoint};

/// The resource of an action.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A component's id, a storage namespace, a host path, or a request.
    Text(&'a str),
    /// A file reached through an open directory; only grants on that directory count. `path` is the
    /// host path of `inside`.
    File { root: &'a Directory, inside: &'a str, path: &'a str },
    /// A host or an address.
    Endpoint(Endpoint<'a>),
    /// An address resolved from a name.
    Found { name: &'a str, port: Option<u16>, address: IpAddr },
    /// The component's own single resource: its clock, environment, or random numbers.
    Own,
}

/// A resource parsed from text, in the notation of records or an equivalent one.
#[derive(Debug)]
pub enum NamedResource<'a> {
    /// See [`Resource::Text`].
    Text(Cow<'a, str>),
    /// See [`Resource::Endpoint`].
    Endpoint(OwnedEndpoint),
    /// See [`Resource::Found`].
    Found(OwnedEndpoint, IpAddr),
    /// See [`Resource::Own`].
    Own,
}

impl<'a> NamedResource<'a> {
    /// Parses the resource that a component would reach with `action` on `text`. `own` is the
    /// namespace of its storage.
    pub fn read(action: Action, text: &'a str, own: &'a str) -> Self {
        match action.subject() {
            Subject::Own => Self::Own,
            Subject::Namespace if text.is_empty() => Self::Text(own.into()),
            Subject::Path => Self::Text(without_detours(text)),
            Subject::Host => Self::endpoint(text).unwrap_or(Self::Text(text.into())),
            Subject::Id | Subject::Namespace | Subject::Request | Subject::Function => {
                Self::Text(text.into())
            }
        }
    }

    fn endpoint(text: &str) -> Option<Self> {
        let found = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
        match found {
            Some((name, address)) => {
                Some(Self::Found(parse_endpoint(name)?, address.parse().ok()?))
            }
            None => parse_endpoint(text).map(Self::Endpoint),
        }
    }

    /// Borrows the resource.
    pub fn borrow(&self) -> Resource<'_> {
        match self {
            Self::Text(text) => Resource::Text(text),
            Self::Endpoint(endpoint) => Resource::Endpoint(endpoint.borrow()),
            Self::Found(endpoint, address) => match endpoint.borrow() {
                Endpoint::Name { name, port } => Resource::Found { name, port, address: *address },
                other => Resource::Endpoint(other),
            },
            Self::Own => Resource::Own,
        }
    }
}

/// Normalizes a path as a component's access would resolve it.
pub fn without_detours(path: &str) -> Cow<'_, str> {
    let mut names = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => drop(names.pop()),
            Component::CurDir | Component::RootDir => {}
            other => names.push(other.as_os_str().to_string_lossy()),
        }
    }
    let direct = if path.starts_with('/') { "/".to_owned() } else { String::new() };
    (direct + &names.join("/")).into()
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Text(text) => f.write_str(text),
            Self::File { path, .. } => f.write_str(path),
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Found { name, port, address } => {
                write!(f, "{} ({address})", Endpoint::Name { name, port })
            }
            Self::Own => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalized() {
        for (path, direct) in [
            ("/srv/in/a", "/srv/in/a"),
            ("/srv/in/", "/srv/in"),
            ("/srv//in/./a", "/srv/in/a"),
            ("/srv/in/../secret", "/srv/secret"),
            ("/../../etc", "/etc"),
            ("/", "/"),
            ("in/a", "in/a"),
            ("", ""),
        ] {
            assert_eq!(without_detours(path), direct, "{path}");
        }
    }

    #[test]
    fn resources_of_records_parse() {
        let shown = |action, text| NamedResource::read(action, text, "a/b/c").borrow().to_string();
        let host = Action::NetworkOutbound;
        for text in ["localhost (127.0.0.1)", "a.example:80 (::1)", "10.0.0.1:80", "a.example"] {
            assert_eq!(shown(host, text), text);
        }
        assert_eq!(shown(Action::StorageRead, ""), "a/b/c");
        assert_eq!(shown(Action::ClockRead, "wall"), "");
    }
}
