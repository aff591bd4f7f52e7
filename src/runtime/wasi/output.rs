//! Turns standard output and standard error into log records, or keeps them for a program's run.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::core::account::HostBytesExceeded;
use crate::core::log::LogLevel;
use crate::core::message::Timestamp;
use crate::runtime::host_context::HostContext;
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::program::{Captured, Program};
use crate::runtime::wasi::last_words::LastWords;

/// The longest record made from guest output; a longer line is split.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// The output streams of one instance.
pub struct Outputs {
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}

impl Outputs {
    /// Creates the output streams of a new instance: the log's, or those of a program's run.
    pub fn new(
        context: &Arc<HostContext>,
        off_fiber: &OffFiber,
        program: Option<&Program>,
    ) -> Self {
        let lines = |level| {
            Destination::Log(Lines {
                level,
                context: Arc::clone(context),
                off_fiber: off_fiber.clone(),
                partial: Mutex::default(),
            })
        };
        let captured = |captured: &Arc<Captured>| Destination::Captured(Arc::clone(captured));
        let (stdout, stderr) = match program {
            None => (lines(LogLevel::Info), lines(LogLevel::Warn)),
            Some(program) => (captured(&program.stdout), captured(&program.stderr)),
        };
        let last_words = Some(LastWords::new(&context.account));
        Self {
            stdout: Output(Arc::new(Stream { destination: stdout, last_words: None })),
            stderr: Output(Arc::new(Stream { destination: stderr, last_words })),
        }
    }

    /// Leaves the unfinished last lines for the guest call to log.
    pub fn finish(&self) {
        for Output(stream) in [&self.stdout, &self.stderr] {
            let Destination::Log(lines) = &stream.destination else { continue };
            let rest = std::mem::take(&mut *lines.lock());
            if !rest.is_empty() {
                lines.emit(&rest);
            }
        }
    }

    /// Returns the end of what was written to standard error.
    pub fn last_words(&self) -> String {
        self.stderr.0.last_words.as_ref().map(LastWords::text).unwrap_or_default()
    }
}

/// A stream, whoever has handles of it.
struct Stream {
    destination: Destination,
    /// Kept even if no one wants the log.
    last_words: Option<LastWords>,
}

enum Destination {
    Log(Lines),
    Captured(Arc<Captured>),
}

impl Stream {
    fn take(&self, bytes: &[u8]) -> Result<(), HostBytesExceeded> {
        if let Some(last_words) = &self.last_words {
            last_words.add(bytes);
        }
        match &self.destination {
            Destination::Log(lines) => {
                lines.take(bytes);
                Ok(())
            }
            Destination::Captured(captured) => captured.add(bytes),
        }
    }

    /// Returns whether records wait for the host.
    fn is_behind(&self) -> bool {
        match &self.destination {
            Destination::Log(lines) => lines.off_fiber.has_jobs(),
            Destination::Captured(_) => false,
        }
    }

    async fn settle(&self) {
        if let Destination::Log(lines) = &self.destination {
            lines.off_fiber.settle().await;
        }
    }
}

/// Collects bytes into lines, and lines into log records.
struct Lines {
    level: LogLevel,
    context: Arc<HostContext>,
    off_fiber: OffFiber,
    partial: Mutex<Vec<u8>>,
}

impl Lines {
    fn take(&self, bytes: &[u8]) {
        if !self.context.log.enabled(self.level) {
            return;
        }
        let mut partial = self.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(piece);
            let whole = partial.pop_if(|last| *last == b'\n').is_some();
            while partial.len() > MAX_LINE_BYTES {
                let cut = end_of_last_char(&partial[..MAX_LINE_BYTES]);
                let rest = partial.split_off(cut);
                self.emit(&std::mem::replace(&mut *partial, rest));
            }
            if whole {
                self.emit(&std::mem::take(&mut *partial));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a record of a line, unless that is blank.
    fn emit(&self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(line).into_owned();
        if self.context.log.runs_host_code() {
            let (level, context, time) = (self.level, Arc::clone(&self.context), Timestamp::now());
            self.off_fiber.defer(move || write(level, &context, &line, time));
        } else {
            write(self.level, &self.context, &line, Timestamp::now());
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Lines that `Outputs::finish` did not see, because the engine stops. Runs on a native
        // stack.
        let rest = std::mem::take(self.partial.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !rest.is_empty() {
            self.emit(&rest);
            self.off_fiber.run_jobs();
        }
    }
}

/// Returns where to cut without splitting a character; the end, if the bytes are not UTF-8.
fn end_of_last_char(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn write(level: LogLevel, context: &HostContext, line: &str, time: Timestamp) {
    context.write_record(level, line.trim_end_matches('\r'), &[], time);
}

/// One output stream of the guest.
#[derive(Clone)]
pub struct Output(Arc<Stream>);

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = self.0.take(bytes).map_err(io::Error::other);
        Poll::Ready(taken.map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // WASI specifies that a write beyond the permit traps, and leaves the trap to the stream.
        let permit = self.check_write()?;
        if bytes.len() > permit {
            let text = format!("{} bytes written where {permit} are permitted", bytes.len());
            return Err(StreamError::Trap(wasmtime::Error::msg(text)));
        }
        self.0.take(&bytes).map_err(|exceeded| StreamError::Trap(exceeded.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // No permit while records wait for the host, so that a guest cannot pile them up.
        Ok(if self.0.is_behind() { 0 } else { MAX_LINE_BYTES })
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.0.settle().await;
    }
}
