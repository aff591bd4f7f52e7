//! Streams over files, one piece per job.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::core::account::{Account, Charge};
use crate::runtime::threads::job::{NotRun, Running};
use crate::runtime::wasi::blocking::{BlockingJobs, Slot, Waits};
use crate::runtime::wasi::desk::now;

/// The most bytes per read or write, so that an abandoned job ends soon.
pub const PIECE: usize = 64 << 10;

/// Runs the jobs of streams and charges for their buffers.
#[derive(Clone)]
pub struct Means {
    /// Runs the jobs.
    pub jobs: Arc<BlockingJobs>,
    /// The account to charge.
    pub account: Arc<Account>,
}

// A job holds the charge for its bytes until it ends, even if abandoned.
type Read = (DynInputStream, StreamResult<Bytes>, Charge);
type Written = (DynOutputStream, StreamResult<()>);

/// An input stream over a file.
pub struct FileInput {
    means: Means,
    state: Input,
}

enum Input {
    Idle(DynInputStream),
    Reading(Running<Read>),
    Available(DynInputStream, Bytes, Charge),
    Failed(StreamError),
    Closed,
}

impl FileInput {
    /// Creates a stream. `inner` reads on its caller's thread.
    pub fn new(inner: DynInputStream, means: Means) -> Self {
        Self { means, state: Input::Idle(inner) }
    }

    fn start(&mut self, slot: Slot, size: usize) {
        let Input::Idle(mut inner) = std::mem::replace(&mut self.state, Input::Closed) else {
            return;
        };
        let size = size.min(PIECE);
        self.state = match self.means.account.charge(size as u64) {
            Ok(charge) => {
                let job = move || {
                    let read = now(inner.blocking_read(size));
                    (inner, read, charge)
                };
                match slot.run(job) {
                    Ok(running) => Input::Reading(running),
                    Err(no_thread) => Input::Failed(failed(no_thread)),
                }
            }
            Err(exceeded) => Input::Failed(StreamError::Trap(exceeded.into())),
        };
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Input::Reading(running) = &mut self.state else { return Poll::Ready(()) };
        let Poll::Ready(read) = Pin::new(running).poll(cx) else { return Poll::Pending };
        self.state = match read {
            Ok((inner, Ok(bytes), charge)) => Input::Available(inner, bytes, charge),
            Ok((_, Err(StreamError::Closed), _)) => Input::Closed,
            Ok((_, Err(error), _)) => Input::Failed(error),
            Err(no_thread) => Input::Failed(failed(no_thread)),
        };
        Poll::Ready(())
    }

    async fn settle(&mut self, size: usize) {
        if matches!(self.state, Input::Idle(_)) {
            match self.means.jobs.slot(Waits::Files).await {
                Ok(slot) => self.start(slot, size),
                Err(no_thread) => self.state = Input::Failed(failed(no_thread)),
            }
        }
        std::future::poll_fn(|cx| self.poll_read(cx)).await;
    }

    fn take(&mut self, size: usize) -> StreamResult<Bytes> {
        match std::mem::replace(&mut self.state, Input::Closed) {
            Input::Available(inner, mut bytes, charge) => {
                let taken = bytes.split_to(bytes.len().min(size));
                self.state = match bytes.is_empty() {
                    true => Input::Idle(inner),
                    false => Input::Available(inner, bytes, charge),
                };
                Ok(taken)
            }
            Input::Failed(error) => Err(error),
            Input::Closed => Err(StreamError::Closed),
            waiting => {
                self.state = waiting;
                Ok(Bytes::new())
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {
        self.settle(PIECE).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        if matches!(self.state, Input::Idle(_))
            && let Some(slot) = self.means.jobs.try_slot(Waits::Files)
        {
            self.start(slot, size);
        }
        _ = self.poll_read(&mut Context::from_waker(Waker::noop()));
        self.take(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size > 0 {
            self.settle(size).await;
        }
        self.read(size)
    }
}

/// An output stream over a file.
pub struct FileOutput {
    means: Means,
    state: Output,
}

enum Output {
    Ready(DynOutputStream),
    /// Waiting for a permit for a job.
    Waiting(DynOutputStream, Bytes, Charge),
    Writing(Running<Written>),
    Failed(StreamError),
    Closed,
}

impl FileOutput {
    /// Creates a stream. `inner` writes on its caller's thread.
    pub fn new(inner: DynOutputStream, means: Means) -> Self {
        Self { means, state: Output::Ready(inner) }
    }

    fn start(&mut self, slot: Slot) {
        let (mut inner, bytes, charge) = match std::mem::replace(&mut self.state, Output::Closed) {
            Output::Waiting(inner, bytes, charge) => (inner, bytes, charge),
            other => return self.state = other,
        };
        let job = move || {
            let written = now(inner.blocking_write_and_flush(bytes));
            drop(charge);
            (inner, written)
        };
        self.state = match slot.run(job) {
            Ok(running) => Output::Writing(running),
            Err(no_thread) => Output::Failed(failed(no_thread)),
        };
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Output::Writing(running) = &mut self.state else { return Poll::Ready(()) };
        let Poll::Ready(written) = Pin::new(running).poll(cx) else { return Poll::Pending };
        self.state = match written {
            Ok((inner, Ok(()))) => Output::Ready(inner),
            Ok((_, Err(error))) => Output::Failed(error),
            Err(no_thread) => Output::Failed(failed(no_thread)),
        };
        Poll::Ready(())
    }

    fn go_on(&mut self) {
        if matches!(self.state, Output::Waiting(..))
            && let Some(slot) = self.means.jobs.try_slot(Waits::Files)
        {
            self.start(slot);
        }
        _ = self.poll_written(&mut Context::from_waker(Waker::noop()));
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {
        if matches!(self.state, Output::Waiting(..)) {
            match self.means.jobs.slot(Waits::Files).await {
                Ok(slot) => self.start(slot),
                Err(no_thread) => self.state = Output::Failed(failed(no_thread)),
            }
        }
        std::future::poll_fn(|cx| self.poll_written(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let inner = match std::mem::replace(&mut self.state, Output::Closed) {
            Output::Ready(inner) if bytes.len() <= PIECE => inner,
            Output::Closed => return Err(StreamError::Closed),
            _ => return Err(StreamError::trap("more was written than is permitted")),
        };
        let charge = self.means.account.charge(bytes.len() as u64);
        let charge = charge.map_err(|exceeded| StreamError::Trap(exceeded.into()))?;
        self.state = Output::Waiting(inner, bytes, charge);
        self.go_on();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.go_on();
        match std::mem::replace(&mut self.state, Output::Closed) {
            Output::Closed => Err(StreamError::Closed),
            Output::Failed(error) => Err(error),
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.flush()?;
        Ok(if matches!(self.state, Output::Ready(_)) { PIECE } else { 0 })
    }

    async fn cancel(&mut self) {
        // Accepted bytes are written.
        self.ready().await;
    }
}

fn failed(no_thread: NotRun) -> StreamError {
    StreamError::LastOperationFailed(std::io::Error::other(no_thread).into())
}
