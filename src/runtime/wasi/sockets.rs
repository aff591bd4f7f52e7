//! `wasi:sockets`: creating sockets and looking up names. [`Connections`] decides which addresses a
//! socket may use.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, HostResolveAddressStream, IpAddress, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{
    instance_network, tcp_create_socket, udp_create_socket,
};
use wasmtime_wasi::p2::{DynPollable, SocketError, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;
use wasmtime_wasi_io::poll::subscribe;

use crate::core::account::Charge;
use crate::runtime::wasi::connections::Connections;
use crate::runtime::wasi::file_streams::Means;
use crate::runtime::wasi::lookups::Lookup;
use crate::runtime::wasi::placeholder::Placeholder;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::host_pattern::{Endpoint, Host, parse_host};
use crate::security::resource;

/// The longest name looked up (RFC 1035), as text.
pub const MAX_NAME_BYTES: usize = 255;

/// Host memory held per socket: one piece in each direction.
const SOCKET_BYTES: u64 = 128 << 10;

/// The largest system buffer that a guest can ask for.
pub(super) const MAX_BUFFER_BYTES: u64 = 1 << 20;

/// The charges for an instance's sockets, by resource number.
pub type Held = HashMap<u32, Charge>;

/// An instance's view of sockets and names.
pub struct Sockets<'a> {
    /// Performs the allowed operations.
    pub inner: WasiSocketsCtxView<'a>,
    /// Decides which addresses are allowed.
    pub connections: &'a Arc<Connections>,
    /// The charges for its sockets.
    pub held: &'a mut Held,
    /// Runs blocking system calls and charges for what the host holds.
    pub means: &'a Means,
}

/// The linker's key for [`Sockets`].
pub struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = Sockets<'a>;
}

impl Sockets<'_> {
    /// Returns whether it may have real sockets: each takes a descriptor of the host.
    fn may_have_any(&self) -> bool {
        let guard = self.connections.guard();
        let any = [Action::NetworkOutbound, Action::NetworkInbound];
        any.into_iter().any(|action| guard.grants_any(action))
    }

    /// Charges for a socket.
    pub(super) fn charge(&self) -> Result<Charge, SocketError> {
        self.means.account.charge(SOCKET_BYTES).map_err(SocketError::trap)
    }

    fn stand_in(&mut self, family: IpAddressFamily) -> Result<u32, SocketError> {
        Ok(self.inner.table.push(Placeholder::new(family))?.rep())
    }
}

impl tcp_create_socket::Host for Sockets<'_> {
    fn create_tcp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<TcpSocket>, SocketError> {
        if !self.may_have_any() {
            return self.stand_in(family).map(Resource::new_own);
        }
        let charge = self.charge()?;
        let socket = self.inner.create_tcp_socket(family)?;
        self.held.insert(socket.rep(), charge);
        Ok(socket)
    }
}

impl udp_create_socket::Host for Sockets<'_> {
    async fn create_udp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> Result<Resource<UdpSocket>, SocketError> {
        if !self.may_have_any() {
            return self.stand_in(family).map(Resource::new_own);
        }
        let charge = self.charge()?;
        let socket = udp_create_socket::Host::create_udp_socket(&mut self.inner, family).await?;
        self.held.insert(socket.rep(), charge);
        Ok(socket)
    }
}

impl instance_network::Host for Sockets<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        self.inner.instance_network()
    }
}

impl ip_name_lookup::Host for Sockets<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        self.inner.table.get(&network)?;
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
        let jobs = Arc::clone(&self.means.jobs);
        let lookup = match &host {
            Host::Name(name) => {
                let permit =
                    guard.take_lookup(endpoint).map_err(|_| ErrorCode::TemporaryResolverFailure)?;
                Lookup::of_name(name.as_str().into(), permit, jobs)
            }
            Host::Address(address) => {
                Lookup::of_address(address.to_string().into(), *address, jobs)
            }
        };
        let lookup = self.inner.table.push(lookup)?;
        Ok(Resource::new_own(lookup.rep()))
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

fn lookup(stream: &Resource<ResolveAddressStream>) -> Resource<Lookup> {
    Resource::new_borrow(stream.rep())
}

impl HostResolveAddressStream for Sockets<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let lookup = self.inner.table.get_mut(&lookup(&stream))?;
        let guard = self.connections.guard();
        while let Some(address) = lookup.next()? {
            let name = lookup.name();
            if name.parse() == Ok(address) {
                return Ok(Some(address.into()));
            }
            let resource = resource::Resource::Found { name, port: None, address };
            let decision = guard.decide(Action::NetworkOutbound, resource);
            if decision.allowed {
                self.connections.remember(name, address);
                return Ok(Some(address.into()));
            }
            let basis = match decision.basis {
                Basis::NotGranted => {
                    Basis::Never("the name leads to an address that is not public")
                }
                basis => basis,
            };
            guard.refuse(Action::NetworkOutbound, resource, basis);
        }
        Ok(None)
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.inner.table, lookup(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.inner.table.delete(Resource::<Lookup>::new_own(stream.rep()))?;
        Ok(())
    }
}
