//! `wasi:sockets/tcp`: connections that end with the right to them.
//! [`Connections`](crate::runtime::wasi::connections::Connections) decides which addresses a socket
//! may use.

use std::net::SocketAddr;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{self, HostTcpSocket, ShutdownType};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, SocketError, TcpSocket};
use wasmtime_wasi_io::poll::subscribe;

use crate::runtime::wasi::connections::ConnectionRight;
use crate::runtime::wasi::guarded_streams::{GuardedInput, GuardedOutput};
use crate::runtime::wasi::placeholder::Placeholder;
use crate::runtime::wasi::settings::settings;
use crate::runtime::wasi::sockets::{MAX_BUFFER_BYTES, Sockets};

/// The longest backlog.
const MAX_BACKLOG: u64 = 128;

const SECOND: u64 = 1_000_000_000;

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

impl Sockets<'_> {
    fn guarded(
        &mut self,
        socket: &Resource<TcpSocket>,
        (input, output): Streams,
        right: ConnectionRight,
    ) -> Result<Streams, SocketError> {
        let table = &mut *self.inner.table;
        let inner = table.delete(input)?;
        let input: DynInputStream = Box::new(GuardedInput { inner, right: right.clone() });
        let inner = table.delete(output)?;
        let output: DynOutputStream = Box::new(GuardedOutput { inner, right });
        Ok((table.push_child(input, socket)?, table.push_child(output, socket)?))
    }
}

fn again(socket: &Resource<TcpSocket>) -> Resource<TcpSocket> {
    Resource::new_borrow(socket.rep())
}

impl tcp::Host for Sockets<'_> {}

impl HostTcpSocket for Sockets<'_> {
    fn finish_connect(&mut self, socket: Resource<TcpSocket>) -> Result<Streams, SocketError> {
        if self.placeholder(socket.rep()).is_some() {
            return Err(ErrorCode::NotInProgress.into());
        }
        let streams = HostTcpSocket::finish_connect(&mut self.inner, again(&socket))?;
        let remote = HostTcpSocket::remote_address(&mut self.inner, again(&socket))?;
        let right = self.connections.reached(SocketAddr::from(remote));
        self.guarded(&socket, streams, right)
    }

    fn accept(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> Result<
        (Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>),
        SocketError,
    > {
        if self.placeholder(socket.rep()).is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        let charge = self.charge()?;
        let (accepted, input, output) = HostTcpSocket::accept(&mut self.inner, again(&socket))?;
        self.held.insert(accepted.rep(), charge);
        let local = HostTcpSocket::local_address(&mut self.inner, socket)?;
        let right = self.connections.accepted(SocketAddr::from(local));
        let (input, output) = self.guarded(&accepted, (input, output), right)?;
        Ok((accepted, input, output))
    }

    async fn start_bind(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> Result<(), SocketError> {
        if let Some(bound) = self.bind_placeholder(socket.rep(), local) {
            return bound;
        }
        HostTcpSocket::start_bind(&mut self.inner, socket, network, local).await
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> Result<(), SocketError> {
        if let Some(refused) = self.reach_from_placeholder(socket.rep(), remote) {
            return Err(refused);
        }
        HostTcpSocket::start_connect(&mut self.inner, socket, network, remote)
    }

    async fn start_listen(&mut self, socket: Resource<TcpSocket>) -> Result<(), SocketError> {
        if let Some(refused) = self.listen_placeholder(socket.rep()) {
            return Err(refused);
        }
        HostTcpSocket::start_listen(&mut self.inner, socket).await
    }

    fn shutdown(
        &mut self,
        socket: Resource<TcpSocket>,
        how: ShutdownType,
    ) -> Result<(), SocketError> {
        if self.placeholder(socket.rep()).is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        HostTcpSocket::shutdown(&mut self.inner, socket, how)
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        if self.placeholder(socket.rep()).is_some() {
            self.inner.table.delete(Resource::<Placeholder>::new_own(socket.rep()))?;
            return Ok(());
        }
        let number = socket.rep();
        HostTcpSocket::drop(&mut self.inner, socket)?;
        self.held.remove(&number);
        Ok(())
    }

    fn finish_bind(&mut self, socket: Resource<TcpSocket>) -> Result<(), SocketError> {
        if let Some(placeholder) = self.placeholder(socket.rep()) {
            return placeholder.finish_bind();
        }
        HostTcpSocket::finish_bind(&mut self.inner, socket)
    }

    fn finish_listen(&mut self, socket: Resource<TcpSocket>) -> Result<(), SocketError> {
        if self.placeholder(socket.rep()).is_some() {
            return Err(ErrorCode::NotInProgress.into());
        }
        HostTcpSocket::finish_listen(&mut self.inner, socket)
    }

    fn local_address(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> Result<IpSocketAddress, SocketError> {
        if let Some(placeholder) = self.placeholder(socket.rep()) {
            return placeholder.local_address();
        }
        HostTcpSocket::local_address(&mut self.inner, socket)
    }

    fn remote_address(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> Result<IpSocketAddress, SocketError> {
        if self.placeholder(socket.rep()).is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        HostTcpSocket::remote_address(&mut self.inner, socket)
    }

    fn is_listening(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        if self.placeholder(socket.rep()).is_some() {
            return Ok(false);
        }
        HostTcpSocket::is_listening(&mut self.inner, socket)
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        if let Some(placeholder) = self.placeholder(socket.rep()) {
            return Ok(placeholder.family);
        }
        HostTcpSocket::address_family(&mut self.inner, socket)
    }

    fn subscribe(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        if self.placeholder(socket.rep()).is_some() {
            return subscribe(self.inner.table, Resource::<Placeholder>::new_borrow(socket.rep()));
        }
        HostTcpSocket::subscribe(&mut self.inner, socket)
    }

    settings! { HostTcpSocket for TcpSocket;
        keep_alive_enabled() -> bool = false;
        keep_alive_idle_time() -> u64 = 7200 * SECOND;
        keep_alive_interval() -> u64 = 75 * SECOND;
        keep_alive_count() -> u32 = 9;
        hop_limit() -> u8 = 64;
        receive_buffer_size() -> u64 = 64 << 10;
        send_buffer_size() -> u64 = 64 << 10;
        set_keep_alive_enabled(value: bool) -> () = ();
        set_keep_alive_idle_time(value: u64) -> () = ();
        set_keep_alive_interval(value: u64) -> () = ();
        set_keep_alive_count(value: u32) -> () = ();
        set_hop_limit(value: u8) -> () = ();
        set_listen_backlog_size(value <= MAX_BACKLOG: u64) -> () = ();
        set_receive_buffer_size(value <= MAX_BUFFER_BYTES: u64) -> () = ();
        set_send_buffer_size(value <= MAX_BUFFER_BYTES: u64) -> () = ();
    }
}
