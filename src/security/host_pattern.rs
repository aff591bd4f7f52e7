//! Patterns over hosts and ports.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::core::id::shorten;
use crate::security::address::{embedded_v4, is_public};
use crate::security::pattern::{InvalidPattern, Pattern};

/// A set of hosts: any host, names, or a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`: every name, and every public address.
    Any,
    /// `api.example.com`, `*.example.com` (one more label), `**.example.com` (any number of
    /// labels).
    Name(Pattern),
    /// `192.0.2.7`, `10.0.0.0/8`, `::1`.
    Range(IpNet),
}

/// Hosts and ports: `api.example.com:443`, `10.0.0.0/8:*`, `[::1]:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPattern {
    /// The hosts.
    pub host: HostPattern,
    /// The port; `None` is any.
    pub port: Option<u16>,
}

/// A remote host to reach, or a local address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A name, in lower case and without a trailing dot. `port` is unknown during a look-up.
    Name { name: &'a str, port: Option<u16> },
    /// An address.
    Address(SocketAddr),
    /// An address resolved from a name, before the port is known.
    Host(IpAddr),
}

impl HostPattern {
    /// Parses a name with wildcards, an address, `addr/bits`, or `*`.
    pub fn compile(text: &str) -> Result<Self, InvalidPattern> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if matches!(bare, "*" | "**") {
            return Ok(Self::Any);
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Range(address.to_canonical().into()));
        }
        if let Ok(range) = bare.parse::<IpNet>() {
            return Ok(Self::Range(canonical(range)));
        }
        let no_host = || InvalidPattern::NoHost(shorten(text));
        // Internationalized names are looked up and compared as `xn--`.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
        // Resolvers treat a name with a numeric last label as an address (`127.1`).
        let last = bare.rsplit('.').next().unwrap_or_default();
        let numeric = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
        if bare.is_empty() || numeric || !bare.chars().all(allowed) {
            return Err(no_host());
        }
        let name = bare.trim_end_matches('.').to_lowercase();
        if name.split('.').any(str::is_empty) {
            return Err(no_host());
        }
        Pattern::separated(&name, '.').map(Self::Name)
    }

    fn matches_name(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(pattern) => pattern.matches(name),
            Self::Range(_) => false,
        }
    }

    /// Returns whether the pattern covers an address, regardless of the name that led to it.
    fn matches_address(&self, address: IpAddr, private_too: bool) -> bool {
        match self {
            Self::Any => private_too || is_public(address),
            Self::Name(_) => false,
            Self::Range(range) => {
                let embedded = embedded_v4(address).map(IpAddr::from);
                range.contains(&address.to_canonical())
                    || embedded.is_some_and(|embedded| range.contains(&embedded))
            }
        }
    }
}

impl EndpointPattern {
    /// Parses a host pattern with an optional `:port`.
    pub fn compile(text: &str) -> Result<Self, InvalidPattern> {
        let (host, port) = split_port(text);
        let port = match port {
            None | Some("*") => None,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(InvalidPattern::NoPort(shorten(text))),
                Ok(port) => Some(port),
            },
        };
        Ok(Self { host: HostPattern::compile(host)?, port })
    }

    /// Returns whether the pattern covers an endpoint. With `private_too`, any host includes
    /// private addresses.
    pub fn matches(&self, endpoint: Endpoint<'_>, private_too: bool) -> bool {
        let of_port = |port| self.port.is_none_or(|own| own == port);
        match endpoint {
            Endpoint::Name { name, port } => {
                port.is_none_or(of_port) && self.host.matches_name(name)
            }
            Endpoint::Address(address) => {
                of_port(address.port()) && self.host.matches_address(address.ip(), private_too)
            }
            Endpoint::Host(address) => self.host.matches_address(address, private_too),
        }
    }
}

/// Converts an IPv4-mapped IPv6 range to the same IPv4 range.
fn canonical(range: IpNet) -> IpNet {
    let (address, bits) = (range.addr().to_canonical(), range.prefix_len());
    match address {
        IpAddr::V4(_) if range.addr().is_ipv6() && bits >= 96 => {
            IpNet::new(address, bits - 96).unwrap_or(range)
        }
        _ => range,
    }
}

/// Splits at the colon before a port, not at one inside an IPv6 address.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.split_once("]:") {
            Some((host, port)) => (&text[..=host.len()], Some(port)),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

/// A host in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case and without a trailing dot.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Parses a host as resolvers do, so that different notations of the same host compare equal.
pub fn parse_host(text: &str) -> Option<Host> {
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) => Some(Host::Name(name.trim_end_matches('.').to_owned())),
        Ok(url::Host::Ipv4(address)) => Some(Host::Address(address.into())),
        Ok(url::Host::Ipv6(address)) => Some(Host::Address(IpAddr::from(address).to_canonical())),
        Err(_) => text.parse::<Ipv6Addr>().ok().map(|ip| Host::Address(ip.into())),
    }
}

/// An [`Endpoint`] that owns its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedEndpoint {
    host: Host,
    port: Option<u16>,
}

impl OwnedEndpoint {
    /// Borrows the endpoint.
    pub fn borrow(&self) -> Endpoint<'_> {
        match (&self.host, self.port) {
            (Host::Name(name), port) => Endpoint::Name { name, port },
            (Host::Address(address), Some(port)) => Endpoint::Address((*address, port).into()),
            (Host::Address(address), None) => Endpoint::Host(*address),
        }
    }
}

/// Parses the text form of [`Endpoint`]: `name`, `name:port`, `addr`, `addr:port`.
pub fn parse_endpoint(text: &str) -> Option<OwnedEndpoint> {
    let (host, port) = split_port(text);
    let port = port.map(str::parse).transpose().ok()?;
    Some(OwnedEndpoint { host: parse_host(host)?, port })
}

impl Endpoint<'_> {
    /// Returns the port, if known.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Name { port, .. } => *port,
            Self::Address(address) => Some(address.port()),
            Self::Host(_) => None,
        }
    }
}

impl fmt::Display for Endpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, port: None } => f.write_str(name),
            Self::Name { name, port: Some(port) } => write!(f, "{name}:{port}"),
            Self::Address(address) => address.fmt(f),
            Self::Host(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, endpoint: &str) -> bool {
        let endpoint = parse_endpoint(endpoint).unwrap();
        EndpointPattern::compile(pattern).unwrap().matches(endpoint.borrow(), false)
    }

    #[test]
    fn names_addresses_and_ports() {
        for (pattern, endpoint) in [
            ("api.example.com", "api.example.com:443"),
            ("API.Example.com.", "api.example.com"),
            ("*.example.com:443", "api.example.com:443"),
            ("*.example.com:443", "api.example.com"),
            ("**.example.com", "a.b.example.com:1"),
            ("*", "anything.at.all:1"),
            ("*:53", "8.8.8.8:53"),
            ("10.0.0.0/8", "10.1.2.3:9"),
            ("10.0.0.0/8:*", "[::ffff:10.1.2.3]:9"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("::1", "[::1]:1"),
            ("[::1]:8080", "[::1]:8080"),
            ("fe80::/10", "[fe80::7]:1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3:9"),
            ("10.0.0.0/8", "[64:ff9b::a01:203]:9"),
        ] {
            assert!(matches(pattern, endpoint), "{pattern} on {endpoint}");
        }
        for (pattern, endpoint) in [
            ("api.example.com:443", "api.example.com:80"),
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("example.com", "example.com.evil.org"),
            ("example.com", "1.2.3.4:80"),
            ("*", "127.0.0.1:80"),
            ("*", "169.254.169.254:80"),
            ("*:53", "8.8.8.8:54"),
            ("10.0.0.0/8", "11.0.0.1:1"),
            ("10.0.0.0/8", "10.example.com:1"),
            ("[::1]:8080", "[::1]:8081"),
        ] {
            assert!(!matches(pattern, endpoint), "{pattern} on {endpoint}");
        }
    }

    #[test]
    fn any_host_includes_private_ones_on_request() {
        let any = EndpointPattern::compile("*").unwrap();
        let loopback = parse_endpoint("127.0.0.1:80").unwrap();
        assert!(any.matches(loopback.borrow(), true) && !any.matches(loopback.borrow(), false));
    }

    #[test]
    fn another_notation_is_the_same_endpoint() {
        for (text, same) in [
            ("127.1:80", "127.0.0.1:80"),
            ("0x7f.1", "127.0.0.1"),
            ("2130706433:80", "127.0.0.1:80"),
            ("API.Example.com.:443", "api.example.com:443"),
            ("h\u{f6}her.example", "xn--hher-5qa.example"),
            ("::1", "::1"),
            ("[::1]:80", "[::1]:80"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ] {
            assert_eq!(parse_endpoint(text).unwrap().borrow().to_string(), same, "{text}");
        }
        for text in ["", ":80", "a b", "host:http", "host:70000", "[::1", "a (10.0.0.1)"] {
            assert_eq!(parse_endpoint(text), None, "{text}");
        }
    }

    #[test]
    fn malformed_hosts_are_refused() {
        for text in [
            "",
            ":80",
            "a b",
            "a/b",
            "127.1",
            "10.0.0.0/40",
            "a..b",
            "host:0",
            "host:x",
            "h:70000",
            "[::1",
            "a@b",
            "höher.example",
            "**a.com",
        ] {
            assert!(EndpointPattern::compile(text).is_err(), "{text}");
        }
    }
}
