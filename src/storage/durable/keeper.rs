//! The thread of a store: syncs in intervals, and compacts.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The stack size of the thread.
const STACK_BYTES: usize = 1 << 20;

/// What the thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Make commits durable.
    Sync,
    /// Compact the file.
    Compact,
}

/// The thread, ended on drop.
pub struct Keeper {
    /// Asks for a compaction. `None` once ended.
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. It syncs after each `interval`, if given.
    pub fn start(
        interval: Option<Duration>,
        work: impl Fn(Chore) + Send + 'static,
    ) -> io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let thread = thread::Builder::new().name("airssys-storage".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || keep(&asked, interval, work))?;
        Ok(Self { ask: Some(ask), thread: Some(thread) })
    }

    /// Asks for a compaction, unless one is asked for already.
    pub fn compact(&self) {
        if let Some(ask) = &self.ask {
            _ = ask.try_send(());
        }
    }
}

fn keep(asked: &Receiver<()>, interval: Option<Duration>, work: impl Fn(Chore)) {
    loop {
        let next = match interval {
            Some(interval) => asked.recv_timeout(interval),
            None => asked.recv().map_err(RecvTimeoutError::from),
        };
        match next {
            Ok(()) => work(Chore::Compact),
            Err(RecvTimeoutError::Timeout) => work(Chore::Sync),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            _ = thread.join();
        }
    }
}
