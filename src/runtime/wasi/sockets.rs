//! `wasi:sockets`: making sockets, and looking names up. Which addresses a socket may use is for
//! [`Connections`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, HostResolveAddressStream, IpAddress, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, SocketError, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use crate::runtime::state::HostState;
use crate::runtime::timers::Timers;
use crate::runtime::wasi::connections::Connections;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::host_pattern::{Endpoint, Host, parse_host};
use crate::security::quota::Permit;
use crate::security::resource;

/// The longest name that is looked up (RFC 1035), as text.
const MAX_NAME_BYTES: usize = 255;

/// How long a look-up that nobody waits for any more goes on counting as one under way: a resolver
/// can not be stopped, and holds a thread of the host.
const ABANDONED: Duration = Duration::from_secs(30);

/// A look-up.
pub struct Lookup {
    name: Arc<str>,
    under_way: UnderWay,
}

/// What a look-up takes of its quota; given back when it is done, or some time after its end.
struct UnderWay {
    /// `None` when it is done.
    permit: Option<Permit>,
    timers: Timers,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let Some(over) = self.timers.sleep_until(Instant::now() + ABANDONED) else { return };
        self.timers.workers().spawn(async move {
            over.await;
            drop(permit);
        });
    }
}

/// The look-ups of an instance, by their numbers.
pub type Lookups = HashMap<u32, Lookup>;

/// What an instance sees of sockets and names.
pub struct Sockets<'a> {
    /// Does what is allowed.
    pub inner: WasiSocketsCtxView<'a>,
    /// Says what is allowed.
    pub connections: &'a Arc<Connections>,
    /// The look-ups.
    pub lookups: &'a mut Lookups,
    /// Where to wait.
    pub timers: &'a Timers,
}

/// Names [`Sockets`] for linkers.
pub struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = Sockets<'a>;
}

/// What an instance sees of sockets and names.
pub fn sockets(state: &mut HostState) -> Sockets<'_> {
    let wasi = state.wasi();
    Sockets {
        inner: WasiSocketsCtxView { ctx: wasi.context.sockets(), table: &mut wasi.table },
        connections: &wasi.connections,
        lookups: &mut wasi.lookups,
        timers: &wasi.timers,
    }
}

impl Sockets<'_> {
    /// Whether it may have sockets at all: each takes a descriptor of the host.
    fn check_any(&self) -> Result<(), SocketError> {
        let guard = self.connections.guard();
        let any = [Action::NetworkOutbound, Action::NetworkInbound];
        if any.into_iter().any(|action| guard.grants_any(action)) {
            return Ok(());
        }
        let socket = resource::Resource::Text("any socket");
        guard.refuse(Action::NetworkOutbound, socket, Basis::NotGranted);
        Err(ErrorCode::AccessDenied.into())
    }
}

impl tcp_create_socket::Host for Sockets<'_> {
    fn create_tcp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<TcpSocket>, SocketError> {
        self.check_any()?;
        self.inner.create_tcp_socket(family)
    }
}

impl udp_create_socket::Host for Sockets<'_> {
    async fn create_udp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<UdpSocket>, SocketError> {
        self.check_any()?;
        udp_create_socket::Host::create_udp_socket(&mut self.inner, family).await
    }
}

impl ip_name_lookup::Host for Sockets<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        if name.len() > MAX_NAME_BYTES {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let host = parse_host(&name).ok_or(ErrorCode::InvalidArgument)?;
        let endpoint = match &host {
            Host::Name(name) => Endpoint::Name { name, port: None },
            Host::Address(address) => Endpoint::Host(*address),
        };
        let guard = self.connections.guard();
        let allowed =
            guard.check_once(Action::NetworkOutbound, resource::Resource::Endpoint(endpoint));
        allowed.map_err(|_| ErrorCode::AccessDenied)?;
        let permit =
            guard.take_lookup(endpoint).map_err(|_| ErrorCode::TemporaryResolverFailure)?;
        let mut under_way = UnderWay { permit: Some(permit), timers: self.timers.clone() };
        let name: Arc<str> = match host {
            Host::Name(name) => name.into(),
            Host::Address(address) => address.to_string().into(),
        };
        let stream = match self.inner.resolve_addresses(network, name.to_string()) {
            Ok(stream) => stream,
            Err(error) => {
                if error.downcast_ref().is_some() {
                    under_way.permit = None;
                }
                return Err(error);
            }
        };
        self.lookups.insert(stream.rep(), Lookup { name, under_way });
        Ok(stream)
    }
}

impl network::Host for Sockets<'_> {
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

impl network::HostNetwork for Sockets<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.inner, network)
    }
}

impl HostResolveAddressStream for Sockets<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let lookup = self.lookups.get_mut(&stream.rep()).ok_or(ErrorCode::InvalidArgument)?;
        let name = Arc::clone(&lookup.name);
        let guard = self.connections.guard();
        loop {
            let stream = Resource::new_borrow(stream.rep());
            let found = match self.inner.resolve_next_address(stream) {
                Ok(found) => found,
                Err(error) => {
                    if !matches!(error.downcast_ref(), Some(ErrorCode::WouldBlock)) {
                        lookup.under_way.permit = None;
                    }
                    return Err(error);
                }
            };
            lookup.under_way.permit = None;
            let Some(found) = found else { return Ok(None) };
            let address = ip_address(&found).to_canonical();
            if name.parse() == Ok(address) {
                return Ok(Some(found));
            }
            let resource = resource::Resource::Found { name: &name, port: None, address };
            let decision = guard.decide(Action::NetworkOutbound, resource);
            if decision.allowed {
                self.connections.remember(&name, address);
                return Ok(Some(found));
            }
            let basis = match decision.basis {
                Basis::NotGranted => {
                    Basis::Never("the name leads to an address that is not public")
                }
                basis => basis,
            };
            guard.refuse(Action::NetworkOutbound, resource, basis);
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
