//! `wasi:sockets`: names, and the addresses that they may lead to.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, HostResolveAddressStream, IpAddress, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, Network};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};

use crate::runtime::state::HostState;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::guard::Guard;
use crate::security::host_pattern::Endpoint;
use crate::security::resource;

/// How many addresses an instance's names may have led to; older ones have to be looked up again.
const REMEMBERED: usize = 1024;

/// Where an instance may connect to: the addresses of the names that it looked up, with the names.
/// A name that leads elsewhere when it is looked up again adds addresses; each was held against the
/// rights when it was found, and is again when it is connected to.
pub struct Connections {
    guard: Arc<Guard>,
    found: Mutex<HashMap<IpAddr, HashSet<Arc<str>>>>,
}

impl Connections {
    /// No name was looked up yet.
    pub fn new(guard: Arc<Guard>) -> Self {
        Self { guard, found: Mutex::default() }
    }

    /// Decides whether a socket may use an address.
    pub fn allows(&self, address: SocketAddr, using: SocketAddrUse) -> bool {
        match using {
            SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => self.may_reach(address, true),
            // What is sent to a component that listens, and answers to what it has sent.
            SocketAddrUse::UdpReceive => {
                self.guard.grants_any(Action::NetworkInbound) || self.may_reach(address, false)
            }
            SocketAddrUse::TcpAccept => self.guard.grants_any(Action::NetworkInbound),
            // What the system does before it connects; nothing comes in through it alone.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind
                if address.ip().is_unspecified()
                    && address.port() == 0
                    && self.guard.grants_any(Action::NetworkOutbound) =>
            {
                true
            }
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind | SocketAddrUse::TcpListen => {
                let resource = resource::Resource::Endpoint(Endpoint::Address(address));
                self.guard.check_once(Action::NetworkInbound, resource).is_ok()
            }
        }
    }

    fn may_reach(&self, address: SocketAddr, recorded: bool) -> bool {
        let action = Action::NetworkOutbound;
        let by_address = resource::Resource::Endpoint(Endpoint::Address(address));
        let allowed = |resource| self.guard.decide(action, resource).allowed;
        if allowed(by_address) {
            if recorded {
                self.guard.record_allowed(action, by_address);
            }
            return true;
        }
        let ip = address.ip().to_canonical();
        let names: Vec<_> = self.lock().get(&ip).into_iter().flatten().cloned().collect();
        for name in &names {
            let port = Some(address.port());
            let by_name = resource::Resource::Found { name, port, address: ip };
            if allowed(by_name) {
                if recorded {
                    self.guard.record_allowed(action, by_name);
                }
                return true;
            }
        }
        // Once more, for the record.
        recorded && self.guard.check_once(action, by_address).is_ok()
    }

    fn remember(&self, name: &Arc<str>, address: IpAddr) {
        let mut found = self.lock();
        if found.len() >= REMEMBERED {
            found.clear();
        }
        found.entry(address).or_default().insert(Arc::clone(name));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, HashSet<Arc<str>>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The look-ups of an instance that are under way, by their numbers.
pub type Lookups = HashMap<u32, Arc<str>>;

/// What an instance sees of names.
pub struct Names<'a> {
    /// Looks up what is allowed.
    pub inner: WasiSocketsCtxView<'a>,
    /// Says what is allowed.
    pub connections: &'a Arc<Connections>,
    /// The names of look-ups.
    pub lookups: &'a mut Lookups,
}

/// Names [`Names`] for linkers.
pub struct HasNames;

impl HasData for HasNames {
    type Data<'a> = Names<'a>;
}

/// What an instance sees of names.
pub fn names(state: &mut HostState) -> Names<'_> {
    let wasi = state.wasi();
    Names {
        inner: WasiSocketsCtxView { ctx: wasi.context.sockets(), table: &mut wasi.table },
        connections: &wasi.connections,
        lookups: &mut wasi.lookups,
    }
}

/// A name as resolvers take it: what looks different and leads to the same place is the same.
enum Host {
    Name(String),
    Address(IpAddr),
}

fn parse_host(text: &str) -> Option<Host> {
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) => Some(Host::Name(name.trim_end_matches('.').to_owned())),
        Ok(url::Host::Ipv4(address)) => Some(Host::Address(address.into())),
        Ok(url::Host::Ipv6(address)) => Some(Host::Address(IpAddr::from(address).to_canonical())),
        Err(_) => text.parse::<Ipv6Addr>().ok().map(|ip| Host::Address(ip.into())),
    }
}

impl ip_name_lookup::Host for Names<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        let host = parse_host(&name).ok_or(ErrorCode::InvalidArgument)?;
        let endpoint = match &host {
            Host::Name(name) => Endpoint::Name { name, port: None },
            Host::Address(address) => Endpoint::Host(*address),
        };
        let resource = resource::Resource::Endpoint(endpoint);
        let allowed = self.connections.guard.check_once(Action::NetworkOutbound, resource);
        allowed.map_err(|_| ErrorCode::AccessDenied)?;
        let key: Arc<str> = match host {
            Host::Name(name) => name.into(),
            Host::Address(address) => address.to_string().into(),
        };
        let stream = self.inner.resolve_addresses(network, name)?;
        self.lookups.insert(stream.rep(), key);
        Ok(stream)
    }
}

impl network::Host for Names<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        self.inner.convert_error_code(error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.inner.network_error_code(error)
    }
}

impl network::HostNetwork for Names<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.inner, network)
    }
}

impl HostResolveAddressStream for Names<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let name = self.lookups.get(&stream.rep()).cloned().ok_or(ErrorCode::InvalidArgument)?;
        let guard = &self.connections.guard;
        loop {
            let stream = Resource::new_borrow(stream.rep());
            let Some(found) = self.inner.resolve_next_address(stream)? else { return Ok(None) };
            let address = ip_address(&found).to_canonical();
            if name.parse() == Ok(address) {
                return Ok(Some(found));
            }
            let resource = resource::Resource::Found { name: &name, port: None, address };
            if guard.decide(Action::NetworkOutbound, resource).allowed {
                self.connections.remember(&name, address);
                return Ok(Some(found));
            }
            let never = Basis::Never("the name leads to an address that is not public");
            guard.refuse(Action::NetworkOutbound, resource, never);
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.inner.subscribe(stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.lookups.remove(&stream.rep());
        HostResolveAddressStream::drop(&mut self.inner, stream)
    }
}

fn ip_address(address: &IpAddress) -> IpAddr {
    match *address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}
