//! Sockets of components without any right to the network: they take no descriptor of the host, and where
//! they are to lead is refused and recorded.

use std::net::SocketAddr;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::{Pollable, SocketError};

use crate::runtime::wasi::sockets::Sockets;
use crate::security::action::Action;

/// Stands for a socket.
pub struct Placeholder {
    /// As the guest asked for it.
    pub family: IpAddressFamily,
    /// Whether it is bound to what the system would choose.
    pub bound: Bound,
}

/// How far a bind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    No,
    Begun,
    Yes,
}

/// Stands for datagrams that come in: none do.
pub struct NoneIn;

/// Stands for datagrams that go out: all are refused.
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
    /// A new one.
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

    /// Where it is bound, once it is.
    pub fn local_address(&self) -> Result<IpSocketAddress, SocketError> {
        if self.bound != Bound::Yes {
            return Err(ErrorCode::InvalidState.into());
        }
        Ok(any_address(self.family).into())
    }

    /// Ends a bind.
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
    /// What stands for a socket, if it is none.
    pub(super) fn placeholder(&mut self, socket: u32) -> Option<&mut Placeholder> {
        self.inner.table.get_mut(&Resource::new_borrow(socket)).ok()
    }

    /// Binds what stands for a socket, if it is none and nothing can come in there.
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
            // What libraries do before they connect.
            Bound::No if local.ip().is_unspecified() && local.port() == 0 => {
                placeholder.bound = Bound::Begun;
                return Some(Ok(()));
            }
            Bound::No => self.refused(Action::NetworkInbound, local),
        };
        Some(Err(refused))
    }

    /// Refuses that what stands for a socket, if it is none, listens.
    pub(super) fn listen_placeholder(&mut self, socket: u32) -> Option<SocketError> {
        let placeholder = self.placeholder(socket)?;
        let (bound, local) = (placeholder.bound, any_address(placeholder.family));
        Some(match bound {
            Bound::Yes => self.refused(Action::NetworkInbound, local),
            _ => ErrorCode::InvalidState.into(),
        })
    }

    /// Refuses to reach an address from what stands for a socket, if it is none.
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

    /// Records what was refused. Rights that came after the socket are for the next one.
    pub(super) fn refused(&self, action: Action, address: SocketAddr) -> SocketError {
        match self.connections.check(action, address) {
            false => ErrorCode::AccessDenied.into(),
            true => ErrorCode::InvalidState.into(),
        }
    }
}

/// Whether an address can be that of another end.
pub fn can_be_reached(remote: SocketAddr) -> bool {
    !remote.ip().to_canonical().is_unspecified() && remote.port() != 0
}
