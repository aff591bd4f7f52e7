//! `wasi:sockets/tcp`: connections that end with the right to them. Which addresses a socket may use is
//! for [`Connections`](crate::runtime::wasi::connections::Connections).

use std::net::SocketAddr;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::{self, HostTcpSocket, ShutdownType};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, SocketError, TcpSocket};

use crate::runtime::wasi::connections::ConnectionRight;
use crate::runtime::wasi::guarded_streams::{GuardedInput, GuardedOutput};
use crate::runtime::wasi::sockets::Sockets;

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
        let (accepted, input, output) = HostTcpSocket::accept(&mut self.inner, again(&socket))?;
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
        HostTcpSocket::start_bind(&mut self.inner, socket, network, local).await
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> Result<(), SocketError> {
        HostTcpSocket::start_connect(&mut self.inner, socket, network, remote)
    }

    async fn start_listen(&mut self, socket: Resource<TcpSocket>) -> Result<(), SocketError> {
        HostTcpSocket::start_listen(&mut self.inner, socket).await
    }

    fn shutdown(
        &mut self,
        socket: Resource<TcpSocket>,
        how: ShutdownType,
    ) -> Result<(), SocketError> {
        HostTcpSocket::shutdown(&mut self.inner, socket, how)
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        HostTcpSocket::drop(&mut self.inner, socket)
    }

    fn finish_bind(&mut self, socket: Resource<TcpSocket>) -> Result<(), SocketError> {
        HostTcpSocket::finish_bind(&mut self.inner, socket)
    }

    fn finish_listen(&mut self, socket: Resource<TcpSocket>) -> Result<(), SocketError> {
        HostTcpSocket::finish_listen(&mut self.inner, socket)
    }

    fn local_address(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> Result<IpSocketAddress, SocketError> {
        HostTcpSocket::local_address(&mut self.inner, socket)
    }

    fn remote_address(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> Result<IpSocketAddress, SocketError> {
        HostTcpSocket::remote_address(&mut self.inner, socket)
    }

    fn is_listening(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        HostTcpSocket::is_listening(&mut self.inner, socket)
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        HostTcpSocket::address_family(&mut self.inner, socket)
    }

    fn keep_alive_enabled(&mut self, socket: Resource<TcpSocket>) -> Result<bool, SocketError> {
        HostTcpSocket::keep_alive_enabled(&mut self.inner, socket)
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>) -> Result<u64, SocketError> {
        HostTcpSocket::keep_alive_idle_time(&mut self.inner, socket)
    }

    fn keep_alive_interval(&mut self, socket: Resource<TcpSocket>) -> Result<u64, SocketError> {
        HostTcpSocket::keep_alive_interval(&mut self.inner, socket)
    }

    fn keep_alive_count(&mut self, socket: Resource<TcpSocket>) -> Result<u32, SocketError> {
        HostTcpSocket::keep_alive_count(&mut self.inner, socket)
    }

    fn hop_limit(&mut self, socket: Resource<TcpSocket>) -> Result<u8, SocketError> {
        HostTcpSocket::hop_limit(&mut self.inner, socket)
    }

    fn receive_buffer_size(&mut self, socket: Resource<TcpSocket>) -> Result<u64, SocketError> {
        HostTcpSocket::receive_buffer_size(&mut self.inner, socket)
    }

    fn send_buffer_size(&mut self, socket: Resource<TcpSocket>) -> Result<u64, SocketError> {
        HostTcpSocket::send_buffer_size(&mut self.inner, socket)
    }

    fn subscribe(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        HostTcpSocket::subscribe(&mut self.inner, socket)
    }

    fn set_listen_backlog_size(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> Result<(), SocketError> {
        HostTcpSocket::set_listen_backlog_size(&mut self.inner, socket, value)
    }

    fn set_keep_alive_enabled(
        &mut self,
        socket: Resource<TcpSocket>,
        value: bool,
    ) -> Result<(), SocketError> {
        HostTcpSocket::set_keep_alive_enabled(&mut self.inner, socket, value)
    }

    fn set_keep_alive_idle_time(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> Result<(), SocketError> {
        HostTcpSocket::set_keep_alive_idle_time(&mut self.inner, socket, value)
    }

    fn set_keep_alive_interval(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> Result<(), SocketError> {
        HostTcpSocket::set_keep_alive_interval(&mut self.inner, socket, value)
    }

    fn set_keep_alive_count(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u32,
    ) -> Result<(), SocketError> {
        HostTcpSocket::set_keep_alive_count(&mut self.inner, socket, value)
    }

    fn set_hop_limit(&mut self, socket: Resource<TcpSocket>, value: u8) -> Result<(), SocketError> {
        HostTcpSocket::set_hop_limit(&mut self.inner, socket, value)
    }

    fn set_receive_buffer_size(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> Result<(), SocketError> {
        HostTcpSocket::set_receive_buffer_size(&mut self.inner, socket, value)
    }

    fn set_send_buffer_size(
        &mut self,
        socket: Resource<TcpSocket>,
        value: u64,
    ) -> Result<(), SocketError> {
        HostTcpSocket::set_send_buffer_size(&mut self.inner, socket, value)
    }
}
