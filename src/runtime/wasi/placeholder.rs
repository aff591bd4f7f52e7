//! Sockets of components without any right to the network. They take no descriptor of the host;
//! every attempt to connect is refused and recorded.

use std::net::SocketAddr;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::{Pollable, SocketError};

use crate::runtime::wasi::sockets::Sockets;
use crate::security::action::Action;

/// A placeholder for a socket.
pub struct Placeholder {
    /// The family that the guest asked for.
    pub family: IpAddressFamily,
    /// The progress of binding to an address of the system's choice.
    pub bound: Bound,
}

/// The progress of a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    No,
    Begun,
    Yes,
}

/// A datagram input without datagrams.
pub struct NoneIn;

/// A datagram output that refuses all datagrams.
pub struct NoneOut;

#[wasmtime_wasi::async_trait]
impl Pollable for Placeholder {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl Pollable for NoneIn {
    async fn ready(&mut self) {
        std::future::pending().await
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for NoneOut {
    async fn ready(&mut self) {}
}

impl Placeholder {
    /// Creates an unbound placeholder.
    pub fn new(family: IpAddressFamily) -> Self {
        Self { family, bound: Bound::No }
    }

    fn is_of_family(&self, address: SocketAddr) -> bool {
        match (self.family, address) {
            (IpAddressFamily::Ipv4, SocketAddr::V4(_)) => true,
            (IpAddressFamily::Ipv6, SocketAddr::V6(v6)) => v6.ip().to_ipv4_mapped().is_none(),
            _ => false,
        }
    }

    /// Returns the address that it is bound to.
    pub fn local_address(&self) -> Result<IpSocketAddress, SocketError> {
        if self.bound != Bound::Yes {
            return Err(ErrorCode::InvalidState.into());
        }
        Ok(any_address(self.family).into())
    }

    /// Completes a bind.
    pub fn finish_bind(&mut self) -> Result<(), SocketError> {
        if self.bound != Bound::Begun {
            return Err(ErrorCode::NotInProgress.into());
        }
        self.bound = Bound::Yes;
        Ok(())
    }
}

fn any_address(family: IpAddressFamily) -> SocketAddr {
    match family {
        IpAddressFamily::Ipv4 => ([0; 4], 0).into(),
        IpAddressFamily::Ipv6 => ([0_u16; 8], 0).into(),
    }
}

impl Sockets<'_> {
    /// Returns the placeholder of a socket, if it is one.
    pub(super) fn placeholder(&mut self, socket: u32) -> Option<&mut Placeholder> {
        self.inner.table.get_mut(&Resource::new_borrow(socket)).ok()
    }

    /// Binds a placeholder, if the socket is one. Only a bind through which nothing can come in is
    /// allowed.
    pub(super) fn bind_placeholder(
        &mut self,
        socket: u32,
        local: IpSocketAddress,
    ) -> Option<Result<(), SocketError>> {
        let (placeholder, local) = (self.placeholder(socket)?, SocketAddr::from(local));
        let refused = match placeholder.bound {
            Bound::Begun => ErrorCode::ConcurrencyConflict.into(),
            Bound::Yes => ErrorCode::InvalidState.into(),
            Bound::No if !placeholder.is_of_family(local) => ErrorCode::InvalidArgument.into(),
            // Libraries do this before they connect.
            Bound::No if local.ip().is_unspecified() && local.port() == 0 => {
                placeholder.bound = Bound::Begun;
                return Some(Ok(()));
            }
            Bound::No => self.refused(Action::NetworkInbound, local),
        };
        Some(Err(refused))
    }

    /// Refuses to let a placeholder listen, if the socket is one.
    pub(super) fn listen_placeholder(&mut self, socket: u32) -> Option<SocketError> {
        let placeholder = self.placeholder(socket)?;
        let (bound, local) = (placeholder.bound, any_address(placeholder.family));
        Some(match bound {
            Bound::Yes => self.refused(Action::NetworkInbound, local),
            _ => ErrorCode::InvalidState.into(),
        })
    }

    /// Refuses to reach an address from a placeholder, if the socket is one.
    pub(super) fn reach_from_placeholder(
        &mut self,
        socket: u32,
        remote: IpSocketAddress,
    ) -> Option<SocketError> {
        let (placeholder, remote) = (self.placeholder(socket)?, SocketAddr::from(remote));
        let possible = placeholder.is_of_family(remote) && can_be_reached(remote);
        Some(match possible {
            true => self.refused(Action::NetworkOutbound, remote),
            false => ErrorCode::InvalidArgument.into(),
        })
    }

    /// Records a refusal. Rights granted since the socket was created apply to the next socket.
    pub(super) fn refused(&self, action: Action, address: SocketAddr) -> SocketError {
        match self.connections.check(action, address) {
            false => ErrorCode::AccessDenied.into(),
            true => ErrorCode::InvalidState.into(),
        }
    }
}

/// Returns whether an address can be a remote one.
pub fn can_be_reached(remote: SocketAddr) -> bool {
    !remote.ip().to_canonical().is_unspecified() && remote.port() != 0
}
