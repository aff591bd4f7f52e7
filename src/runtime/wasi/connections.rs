//! The remote addresses that an instance may use, and the local ones that it listens on.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi::p2::StreamResult;
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::core::account::{Account, Charge};
use crate::core::versioned::Versioned;
use crate::runtime::wasi::guarded_streams::{Right, denied};
use crate::security::action::Action;
use crate::security::guard::{AllowedUntil, Guard};
use crate::security::host_pattern::Endpoint;
use crate::security::resource::Resource;

/// The most addresses remembered from name look-ups, and from sent datagrams. Older ones must be
/// looked up, or sent to, again.
const REMEMBERED: usize = 1024;

/// The size of a remembered address without its name.
const FOUND_BYTES: u64 = 128;

/// The most names remembered per address.
const NAMES: usize = 16;

/// The addresses found for an instance's names, and the local addresses that it listens on.
///
/// A repeated look-up with a different result adds addresses. Each address is checked when it is
/// found, and again when it is connected to.
pub struct Connections {
    guard: Arc<Guard>,
    account: Arc<Account>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    found: HashMap<IpAddr, Vec<Arc<str>>>,
    /// The charge for `found`.
    charge: Option<Charge>,
    /// The local addresses of listening sockets and of sockets that receive datagrams.
    listening: [Vec<SocketAddr>; 2],
    /// The destinations of datagrams, from which answers may come.
    sent_to: HashSet<(IpAddr, u16)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Connections,
    Datagrams,
}

impl Connections {
    /// Creates an empty state.
    pub fn new(guard: Arc<Guard>, account: Arc<Account>) -> Self {
        Self { guard, account, known: Mutex::default() }
    }

    /// Returns the guard.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Decides whether a socket may use an address.
    pub fn allows(&self, address: SocketAddr, using: SocketAddrUse) -> bool {
        match using {
            SocketAddrUse::TcpConnect => self.may_reach(address, true),
            SocketAddrUse::UdpSend => self.may_reach(address, true) && self.sends_to(address),
            SocketAddrUse::TcpAccept => self.still_listens(Kind::Connections),
            // Anything sent to a listening socket, and answers to sent datagrams. Neither this nor
            // an accepted connection is recorded, because anyone may send any number.
            SocketAddrUse::UdpReceive => {
                let answers = self.lock().sent_to.contains(&(address.ip(), address.port()));
                (answers && self.may_reach(address, false)) || self.still_listens(Kind::Datagrams)
            }
            // The system's implicit bind before a connect; the connect is decided separately.
            // Nothing comes in through this bind alone.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind
                if address.ip().is_unspecified()
                    && address.port() == 0
                    && !self.decide_listen(address) =>
            {
                true
            }
            SocketAddrUse::TcpBind => self.may_listen(address),
            SocketAddrUse::TcpListen => {
                self.may_listen(address) && self.listens(Kind::Connections, address)
            }
            SocketAddrUse::UdpBind => {
                self.may_listen(address) && self.listens(Kind::Datagrams, address)
            }
        }
    }

    /// Returns the right to a connection to an address, through all names that led there.
    pub fn reached(&self, remote: SocketAddr) -> ConnectionRight {
        let names = self.names_of(remote);
        ConnectionRight::new(&self.guard, End::Reached { remote, names })
    }

    /// Returns the right to a connection accepted at a listening address.
    pub fn accepted(&self, local: SocketAddr) -> ConnectionRight {
        ConnectionRight::new(&self.guard, End::Accepted { local })
    }

    fn names_of(&self, address: SocketAddr) -> Vec<Arc<str>> {
        let ip = address.ip().to_canonical();
        self.lock().found.get(&ip).cloned().unwrap_or_default()
    }

    /// Remembers that a reachable name resolves to an address. Without room, the name must be
    /// looked up again.
    pub fn remember(&self, name: &Arc<str>, address: IpAddr) {
        let mut known = self.lock();
        let Known { found, charge, .. } = &mut *known;
        if found.get(&address).is_some_and(|names| names.contains(name)) {
            return;
        }
        if found.len() >= REMEMBERED {
            found.clear();
            *charge = None;
        }
        let bytes = FOUND_BYTES + name.len() as u64;
        let paid = match charge {
            Some(charge) => charge.grow(bytes),
            None => self.account.charge(bytes).map(|paid| *charge = Some(paid)),
        };
        if paid.is_err() {
            return;
        }
        let names = found.entry(address).or_default();
        if names.len() >= NAMES {
            let oldest = names.remove(0);
            if let Some(charge) = charge {
                charge.shrink(FOUND_BYTES + oldest.len() as u64);
            }
        }
        names.push(Arc::clone(name));
    }

    fn sends_to(&self, address: SocketAddr) -> bool {
        let sent_to = &mut self.lock().sent_to;
        if sent_to.len() >= REMEMBERED {
            sent_to.clear();
        }
        sent_to.insert((address.ip(), address.port()));
        true
    }

    fn may_listen(&self, address: SocketAddr) -> bool {
        self.check(Action::NetworkInbound, address)
    }

    /// Decides on an address and records it as a grant names it: a port left to the system may be
    /// any.
    pub fn check(&self, action: Action, address: SocketAddr) -> bool {
        let decision = self.guard.decide(action, at(address));
        if decision.allowed {
            self.guard.record_allowed(action, at(address));
        } else {
            let named = match address.port() {
                0 => Resource::Endpoint(Endpoint::Host(address.ip())),
                _ => at(address),
            };
            self.guard.refuse(action, named, decision.basis);
        }
        decision.allowed
    }

    fn decide_listen(&self, address: SocketAddr) -> bool {
        let resource = Resource::Endpoint(Endpoint::Address(address));
        self.guard.decide(Action::NetworkInbound, resource).allowed
    }

    /// Remembers a listening address; returns false if there are too many.
    fn listens(&self, kind: Kind, address: SocketAddr) -> bool {
        let listening = &mut self.lock().listening[kind as usize];
        if listening.contains(&address) {
            return true;
        }
        if listening.len() >= REMEMBERED {
            return false;
        }
        listening.push(address);
        true
    }

    /// Returns whether a listening instance may continue. Which of its sockets received something
    /// is unknown, so it must still have the right to every address that it has listened on.
    fn still_listens(&self, kind: Kind) -> bool {
        let listening = self.lock().listening[kind as usize].clone();
        !listening.is_empty() && listening.into_iter().all(|address| self.decide_listen(address))
    }

    fn may_reach(&self, address: SocketAddr, recorded: bool) -> bool {
        let action = Action::NetworkOutbound;
        let by_address = Resource::Endpoint(Endpoint::Address(address));
        let allowed = |resource: Resource<'_>| {
            let allowed = self.guard.decide(action, resource).allowed;
            if allowed && recorded {
                self.guard.record_allowed(action, resource);
            }
            allowed
        };
        let ip = address.ip().to_canonical();
        let port = Some(address.port());
        let by_name = |name: Arc<str>| allowed(Resource::Found { name: &name, port, address: ip });
        allowed(by_address)
            || self.names_of(address).into_iter().any(by_name)
            // Refused: check once more, to record it.
            || (recorded && self.guard.check_once(action, by_address).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one connection, checked again when rights change.
#[derive(Clone)]
pub struct ConnectionRight {
    guard: Arc<Guard>,
    end: End,
    /// How long the last decision holds, for the version of the rights that it was made on.
    known: Versioned<u64, Option<AllowedUntil>>,
}

/// The end of a connection that the right applies to.
#[derive(Clone)]
enum End {
    Reached { remote: SocketAddr, names: Vec<Arc<str>> },
    Accepted { local: SocketAddr },
}

impl ConnectionRight {
    fn new(guard: &Arc<Guard>, end: End) -> Self {
        Self { guard: Arc::clone(guard), end, known: Versioned::default() }
    }

    fn allowed(&self) -> Option<AllowedUntil> {
        let decide = |action, resource| self.guard.decide(action, resource).allows();
        match &self.end {
            End::Reached { remote, names } => {
                let (address, port) = (remote.ip().to_canonical(), Some(remote.port()));
                let by_name = |name| Resource::Found { name, port, address };
                let mut ways = names.iter().map(|name| by_name(name));
                decide(Action::NetworkOutbound, at(*remote))
                    .or_else(|| ways.find_map(|way| decide(Action::NetworkOutbound, way)))
            }
            End::Accepted { local } => decide(Action::NetworkInbound, at(*local)),
        }
    }
}

impl Right for ConnectionRight {
    fn check(&mut self) -> StreamResult<()> {
        let version = self.guard.version();
        if self.known.at(version).is_some_and(AllowedUntil::holds) {
            return Ok(());
        }
        let Some(allowed) = self.allowed() else {
            let (action, address) = match self.end {
                End::Reached { remote, .. } => (Action::NetworkOutbound, remote),
                End::Accepted { local } => (Action::NetworkInbound, local),
            };
            // By address the decision has the same basis again, so this records it.
            _ = self.guard.check_once(action, at(address));
            return Err(denied());
        };
        *self.known.at(version) = Some(allowed);
        Ok(())
    }
}

fn at(address: SocketAddr) -> Resource<'static> {
    Resource::Endpoint(Endpoint::Address(address))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::core::id::ComponentId;
    use crate::security::capability::{Capabilities, Grant, Scope};
    use crate::security::guard::Authority;
    use crate::security::host_pattern::EndpointPattern;
    use crate::security::quota::Quotas;

    fn connections(action: Action, pattern: &str) -> Connections {
        let scope = Scope::Hosts {
            pattern: EndpointPattern::compile(pattern).unwrap(),
            private_too: action == Action::NetworkInbound,
        };
        let grant = Grant { action, scope, expires: None, text: pattern.into(), seen_at: None };
        let capabilities = Arc::new(Capabilities::new(vec![grant]));
        let own = Arc::new(ComponentId::parse("a/b/c").unwrap());
        let authority = Arc::new(Authority::new(Arc::default(), None));
        let guard = Guard::new(own, authority, capabilities, Quotas::default());
        Connections::new(Arc::new(guard), Account::new(u64::MAX, Arc::default()))
    }

    #[test]
    fn names_of_one_address_are_bounded_and_charged() {
        let mut connections = connections(Action::NetworkOutbound, "*");
        connections.account = Account::new(100_000, Arc::default());
        let address = "93.184.216.34".parse().unwrap();
        for number in 0..10_000 {
            let name = Arc::from(format!("{number:08}.example.com"));
            connections.remember(&name, address);
            assert!(connections.names_of((address, 1).into()).contains(&name), "{name}");
        }
        let of_one = FOUND_BYTES + "00000000.example.com".len() as u64;
        assert_eq!(connections.account.held(), NAMES as u64 * of_one);
        for number in 0..10_000_u32 {
            connections.remember(&Arc::from("example.com"), number.to_be_bytes().into());
        }
        assert!(connections.account.held() <= 100_000);
    }

    fn take_all_back(connections: &Connections) {
        let changed = connections.guard().change(|held| {
            held.clear();
            Ok::<_, ()>(())
        });
        changed.unwrap();
    }

    fn reaches(connections: &Connections, address: &str) -> bool {
        connections.allows(address.parse().unwrap(), SocketAddrUse::TcpConnect)
    }

    #[test]
    fn a_name_reaches_only_the_addresses_found_for_it() {
        let connections = connections(Action::NetworkOutbound, "api.example.com:443");
        assert!(!reaches(&connections, "93.184.216.34:443"), "it was not looked up");
        let (name, other) = (Arc::from("api.example.com"), Arc::from("evil.example.com"));
        connections.remember(&name, "93.184.216.34".parse().unwrap());
        connections.remember(&name, "10.0.0.1".parse().unwrap());
        connections.remember(&other, "93.184.216.35".parse().unwrap());
        assert!(reaches(&connections, "93.184.216.34:443"));
        assert!(reaches(&connections, "[::ffff:93.184.216.34]:443"));
        assert!(!reaches(&connections, "93.184.216.34:80"), "another port");
        assert!(!reaches(&connections, "93.184.216.35:443"), "of another name");
        assert!(!reaches(&connections, "10.0.0.1:443"), "it is private, whatever resolvers say");
        take_all_back(&connections);
        assert!(!reaches(&connections, "93.184.216.34:443"), "it was taken back");
    }

    #[test]
    fn datagrams_come_only_from_their_destinations() {
        let connections = connections(Action::NetworkOutbound, "10.0.0.0/8");
        let [sent, other, port] = ["10.0.0.1:53", "10.0.0.2:53", "10.0.0.1:54"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
        let comes = |from| connections.allows(from, SocketAddrUse::UdpReceive);
        assert!(!comes(sent), "nothing was sent there");
        assert!(connections.allows(sent, SocketAddrUse::UdpSend));
        assert!(comes(sent) && !comes(other) && !comes(port));
        take_all_back(&connections);
        assert!(!comes(sent));
    }

    #[test]
    fn listening_lasts_as_long_as_the_right() {
        let connections = connections(Action::NetworkInbound, "127.0.0.1:80");
        let [own, other, remote] = ["127.0.0.1:80", "127.0.0.1:81", "9.9.9.9:9"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
        assert!(!connections.allows(remote, SocketAddrUse::TcpAccept), "it does not listen");
        assert!(!connections.allows(other, SocketAddrUse::TcpListen));
        assert!(connections.allows(own, SocketAddrUse::TcpListen));
        assert!(connections.allows(remote, SocketAddrUse::TcpAccept));
        assert!(!connections.allows(remote, SocketAddrUse::UdpReceive), "not datagrams");
        assert!(!connections.allows(remote, SocketAddrUse::TcpConnect));
        take_all_back(&connections);
        assert!(!connections.allows(remote, SocketAddrUse::TcpAccept));
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let connections = connections(Action::NetworkOutbound, "*");
        let address = "93.184.216.34".parse().unwrap();
        for n in 0..100 {
            connections.remember(&Arc::from(format!("n{n}.example.com")), address);
        }
        assert_eq!(connections.lock().found[&address].len(), NAMES);
        for n in 0..REMEMBERED as u32 + 10 {
            connections.remember(&Arc::from("a.example.com"), Ipv4Addr::from(n << 8).into());
        }
        assert!(connections.lock().found.len() <= REMEMBERED);
        for n in 0..REMEMBERED as u32 + 10 {
            let remote = SocketAddr::new(Ipv4Addr::from(0x0800_0000 + n).into(), 53);
            connections.allows(remote, SocketAddrUse::UdpSend);
        }
        assert!((1..=REMEMBERED).contains(&connections.lock().sent_to.len()));
    }
}
