//! `wasi:sockets/udp`: datagrams. [`Connections`](crate::runtime::wasi::connections::Connections)
//! decides which addresses a socket may use.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    self, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram,
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::{DynPollable, SocketError, UdpSocket};
use wasmtime_wasi_io::poll::subscribe;

use crate::runtime::wasi::placeholder::{Bound, NoneIn, NoneOut, Placeholder, can_be_reached};
use crate::runtime::wasi::settings::settings;
use crate::runtime::wasi::sockets::{MAX_BUFFER_BYTES, Sockets};
use crate::security::action::Action;

/// The most datagrams per call.
pub const MAX_DATAGRAMS: usize = 16;

type Streams = (Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>);

impl udp::Host for Sockets<'_> {}

impl HostUdpSocket for Sockets<'_> {
    async fn start_bind(
        &mut self,
        socket: Resource<UdpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> Result<(), SocketError> {
        if let Some(bound) = self.bind_placeholder(socket.rep(), local) {
            return bound;
        }
        HostUdpSocket::start_bind(&mut self.inner, socket, network, local).await
    }

    fn finish_bind(&mut self, socket: Resource<UdpSocket>) -> Result<(), SocketError> {
        if let Some(placeholder) = self.placeholder(socket.rep()) {
            return placeholder.finish_bind();
        }
        HostUdpSocket::finish_bind(&mut self.inner, socket)
    }

    async fn stream(
        &mut self,
        socket: Resource<UdpSocket>,
        remote: Option<IpSocketAddress>,
    ) -> Result<Streams, SocketError> {
        let Some(placeholder) = self.placeholder(socket.rep()) else {
            return HostUdpSocket::stream(&mut self.inner, socket, remote).await;
        };
        if placeholder.bound != Bound::Yes {
            return Err(ErrorCode::InvalidState.into());
        }
        if let Some(remote) = remote
            && let Some(refused) = self.reach_from_placeholder(socket.rep(), remote)
        {
            return Err(refused);
        }
        let incoming = self.inner.table.push_child(NoneIn, &socket)?;
        let outgoing = self.inner.table.push_child(NoneOut, &socket)?;
        Ok((Resource::new_own(incoming.rep()), Resource::new_own(outgoing.rep())))
    }

    fn local_address(
        &mut self,
        socket: Resource<UdpSocket>,
    ) -> Result<IpSocketAddress, SocketError> {
        if let Some(placeholder) = self.placeholder(socket.rep()) {
            return placeholder.local_address();
        }
        HostUdpSocket::local_address(&mut self.inner, socket)
    }

    fn remote_address(
        &mut self,
        socket: Resource<UdpSocket>,
    ) -> Result<IpSocketAddress, SocketError> {
        if self.placeholder(socket.rep()).is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        HostUdpSocket::remote_address(&mut self.inner, socket)
    }

    fn address_family(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<IpAddressFamily> {
        if let Some(placeholder) = self.placeholder(socket.rep()) {
            return Ok(placeholder.family);
        }
        HostUdpSocket::address_family(&mut self.inner, socket)
    }

    settings! { HostUdpSocket for UdpSocket;
        unicast_hop_limit() -> u8 = 64;
        receive_buffer_size() -> u64 = 64 << 10;
        send_buffer_size() -> u64 = 64 << 10;
        set_unicast_hop_limit(value: u8) -> () = ();
        set_receive_buffer_size(value <= MAX_BUFFER_BYTES: u64) -> () = ();
        set_send_buffer_size(value <= MAX_BUFFER_BYTES: u64) -> () = ();
    }

    fn subscribe(
        &mut self,
        socket: Resource<UdpSocket>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        if self.placeholder(socket.rep()).is_some() {
            return subscribe(self.inner.table, Resource::<Placeholder>::new_borrow(socket.rep()));
        }
        HostUdpSocket::subscribe(&mut self.inner, socket)
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<()> {
        if self.placeholder(socket.rep()).is_some() {
            self.inner.table.delete(Resource::<Placeholder>::new_own(socket.rep()))?;
            return Ok(());
        }
        let number = socket.rep();
        HostUdpSocket::drop(&mut self.inner, socket)?;
        self.held.remove(&number);
        Ok(())
    }
}

impl Sockets<'_> {
    fn is<T: 'static>(&self, number: u32) -> bool {
        self.inner.table.get(&Resource::<T>::new_borrow(number)).is_ok()
    }
}

impl HostIncomingDatagramStream for Sockets<'_> {
    fn receive(
        &mut self,
        stream: Resource<IncomingDatagramStream>,
        most: u64,
    ) -> Result<Vec<IncomingDatagram>, SocketError> {
        if self.is::<NoneIn>(stream.rep()) {
            return Ok(Vec::new());
        }
        self.inner.receive(stream, most)
    }

    fn subscribe(
        &mut self,
        stream: Resource<IncomingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        if self.is::<NoneIn>(stream.rep()) {
            return subscribe(self.inner.table, Resource::<NoneIn>::new_borrow(stream.rep()));
        }
        HostIncomingDatagramStream::subscribe(&mut self.inner, stream)
    }

    fn drop(&mut self, stream: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        if self.is::<NoneIn>(stream.rep()) {
            self.inner.table.delete(Resource::<NoneIn>::new_own(stream.rep()))?;
            return Ok(());
        }
        HostIncomingDatagramStream::drop(&mut self.inner, stream)
    }
}

impl HostOutgoingDatagramStream for Sockets<'_> {
    fn check_send(&mut self, stream: Resource<OutgoingDatagramStream>) -> Result<u64, SocketError> {
        if self.is::<NoneOut>(stream.rep()) {
            return Ok(MAX_DATAGRAMS as u64);
        }
        self.inner.check_send(stream)
    }

    fn send(
        &mut self,
        stream: Resource<OutgoingDatagramStream>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> Result<u64, SocketError> {
        if !self.is::<NoneOut>(stream.rep()) {
            return self.inner.send(stream, datagrams);
        }
        let Some(first) = datagrams.first() else { return Ok(0) };
        match first.remote_address.map(std::net::SocketAddr::from) {
            Some(remote) if can_be_reached(remote) => {
                Err(self.refused(Action::NetworkOutbound, remote))
            }
            _ => Err(ErrorCode::InvalidArgument.into()),
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<OutgoingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        if self.is::<NoneOut>(stream.rep()) {
            return subscribe(self.inner.table, Resource::<NoneOut>::new_borrow(stream.rep()));
        }
        HostOutgoingDatagramStream::subscribe(&mut self.inner, stream)
    }

    async fn drop(&mut self, stream: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        if self.is::<NoneOut>(stream.rep()) {
            self.inner.table.delete(Resource::<NoneOut>::new_own(stream.rep()))?;
            return Ok(());
        }
        HostOutgoingDatagramStream::drop(&mut self.inner, stream).await
    }
}
