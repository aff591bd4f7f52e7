//! Streams over files and connections that fail when the right to them ends.

use bytes::Bytes;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

/// The right to continue.
pub trait Right: Send + 'static {
    /// Fails if the right has ended.
    fn check(&mut self) -> StreamResult<()>;
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
