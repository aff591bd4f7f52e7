//! Name look-ups, each on a thread that blocks on the system's resolver.

use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::runtime::threads::job::Running;
use crate::runtime::wasi::blocking::{BlockingJobs, Slot, Waits};
use crate::security::quota::Permit;

/// The most addresses read for one name.
const ADDRESSES: usize = 256;

/// A look-up.
pub struct Lookup {
    name: Arc<str>,
    jobs: Arc<BlockingJobs>,
    state: State,
}

type Addresses = std::vec::IntoIter<IpAddr>;

enum State {
    /// Waiting for a job slot. The job holds the permit and returns it when it ends.
    Waiting(Permit),
    Running(Running<io::Result<Addresses>>),
    Done(Result<Addresses, ErrorCode>),
}

impl Lookup {
    /// Looks up a name.
    pub fn of_name(name: Arc<str>, permit: Permit, jobs: Arc<BlockingJobs>) -> Self {
        let mut lookup = Self { name, jobs, state: State::Waiting(permit) };
        lookup.go_on();
        lookup
    }

    /// Resolves an address to itself.
    pub fn of_address(name: Arc<str>, address: IpAddr, jobs: Arc<BlockingJobs>) -> Self {
        Self { name, jobs, state: State::Done(Ok(vec![address].into_iter())) }
    }

    /// Returns the name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the next address.
    pub fn next(&mut self) -> Result<Option<IpAddr>, ErrorCode> {
        self.go_on();
        match &mut self.state {
            State::Done(Ok(addresses)) => Ok(addresses.next()),
            State::Done(Err(error)) => Err(*error),
            _ => Err(ErrorCode::WouldBlock),
        }
    }

    fn go_on(&mut self) {
        if matches!(self.state, State::Waiting(_))
            && let Some(slot) = self.jobs.try_slot(Waits::Names)
        {
            self.start(slot);
        }
        _ = self.poll_done(&mut Context::from_waker(Waker::noop()));
    }

    fn start(&mut self, slot: Slot) {
        let failed = State::Done(Err(ErrorCode::TemporaryResolverFailure));
        let permit = match std::mem::replace(&mut self.state, failed) {
            State::Waiting(permit) => permit,
            other => return self.state = other,
        };
        let name = Arc::clone(&self.name);
        let job = move || {
            let found = addresses_of(&name);
            drop(permit);
            found
        };
        if let Ok(running) = slot.run(job) {
            self.state = State::Running(running);
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Running(running) = &mut self.state else { return Poll::Ready(()) };
        let Poll::Ready(found) = Pin::new(running).poll(cx) else { return Poll::Pending };
        self.state = State::Done(match found {
            Ok(found) => found.map_err(|_| ErrorCode::NameUnresolvable),
            Err(_) => Err(ErrorCode::TemporaryResolverFailure),
        });
        Poll::Ready(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if matches!(self.state, State::Waiting(_)) {
            match self.jobs.slot(Waits::Names).await {
                Ok(slot) => self.start(slot),
                Err(_) => self.state = State::Done(Err(ErrorCode::TemporaryResolverFailure)),
            }
        }
        std::future::poll_fn(|cx| self.poll_done(cx)).await;
    }
}

fn addresses_of(name: &str) -> io::Result<Addresses> {
    let found = (name, 0).to_socket_addrs()?;
    let found: Vec<_> = found.map(|address| address.ip().to_canonical()).take(ADDRESSES).collect();
    Ok(found.into_iter())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::runtime::block_on::block_on;
    use crate::runtime::wasi::blocking::BlockingThreads;
    use crate::security::quota::Count;

    #[test]
    fn a_look_up_counts_until_it_is_done() {
        let jobs = Arc::new(BlockingJobs::new(Arc::new(BlockingThreads::default())));
        let count = Count::new("lookups", 1);
        let mut lookup =
            Lookup::of_name("localhost".into(), count.take().unwrap(), Arc::clone(&jobs));
        block_on(None, pin!(lookup.ready()));
        let address = lookup.next().unwrap().expect("an address");
        assert!(address.is_loopback(), "{address}");
        let permit = count.take().expect("the one is back");
        // If all threads are busy, it waits for one.
        let busy: Vec<_> = std::iter::from_fn(|| jobs.try_slot(Waits::Names)).collect();
        let mut lookup = Lookup::of_name("localhost".into(), permit, Arc::clone(&jobs));
        assert_eq!(lookup.next().unwrap_err(), ErrorCode::WouldBlock);
        assert!(count.take().is_err());
        drop(busy);
        block_on(None, pin!(lookup.ready()));
        assert!(lookup.next().unwrap().is_some());
    }
}
