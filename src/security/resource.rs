//! What an action is on.

use std::fmt;
use std::net::IpAddr;

use crate::security::directory::Directory;
use crate::security::host_pattern::Endpoint;

/// What an action is on.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A component's id, a storage namespace, a path of the host, a request.
    Text(&'a str),
    /// What is reached through an open directory: only grants for that directory count. `path` is
    /// the host's for `inside`.
    File { root: &'a Directory, inside: &'a str, path: &'a str },
    /// A host or an address.
    Endpoint(Endpoint<'a>),
    /// An address that a name was resolved to.
    Found { name: &'a str, port: Option<u16>, address: IpAddr },
    /// The component's own, of which there is one: its clock, its environment, its random numbers.
    Own,
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
