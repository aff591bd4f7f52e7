//! Streams over files and connections that fail when the right to them ends.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::runtime::wasi::descriptor_table::Place;
use crate::runtime::wasi::file_rights::check_real_path;
use crate::security::action::Action;
use crate::security::guard::{AllowedUntil, Guard};

/// The right to continue.
pub trait Right: Send + 'static {
    /// Fails if the right has ended.
    fn check(&mut self) -> StreamResult<()>;
}

/// The right to read or write one file, checked again when rights change.
pub struct FileRight {
    guard: Arc<Guard>,
    place: Arc<Place>,
    handle: Arc<File>,
    action: Action,
    /// The version for which it was decided, and how long that holds.
    known: Option<(u64, AllowedUntil)>,
}

impl FileRight {
    /// Creates a right that is still undecided.
    pub fn new(guard: Arc<Guard>, place: Arc<Place>, handle: Arc<File>, action: Action) -> Self {
        Self { guard, place, handle, action, known: None }
    }
}

impl Right for FileRight {
    fn check(&mut self) -> StreamResult<()> {
        let version = self.guard.version();
        if self.known.is_some_and(|(known, allowed)| known == version && allowed.holds()) {
            return Ok(());
        }
        let denied = |_| denied();
        let allowed = self.guard.check_once(self.action, self.place.resource()).map_err(denied)?;
        check_real_path(&self.guard, self.action, &self.handle, &self.place).map_err(denied)?;
        self.known = Some((version, allowed));
        Ok(())
    }
}

/// Returns the error of a stream whose right has ended.
pub fn denied() -> StreamError {
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    StreamError::LastOperationFailed(denied.into())
}

/// A guarded input stream.
pub struct GuardedInput<R> {
    /// The stream.
    pub inner: DynInputStream,
    /// The right to read.
    pub right: R,
}

#[wasmtime_wasi::async_trait]
impl<R: Right> Pollable for GuardedInput<R> {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl<R: Right> InputStream for GuardedInput<R> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.right.check()?;
        self.inner.read(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.right.check()?;
        let read = self.inner.blocking_read(size).await?;
        // The right may have ended during the read.
        self.right.check()?;
        Ok(read)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// A guarded output stream.
pub struct GuardedOutput<R> {
    /// The stream.
    pub inner: DynOutputStream,
    /// The right to write.
    pub right: R,
}

#[wasmtime_wasi::async_trait]
impl<R: Right> Pollable for GuardedOutput<R> {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl<R: Right> OutputStream for GuardedOutput<R> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.right.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.right.check()?;
        self.inner.check_write()
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
