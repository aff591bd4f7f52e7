//! What a component's store holds, and what its host functions work with.

use std::sync::Arc;

use wasmtime::UpdateDeadline;
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::core::account::{Account, Charge};
use crate::core::log::{LogLevel, LogRecord, LogSink};
use crate::core::message::Timestamp;
use crate::core::ports::{Directory, Identity, Messenger};
use crate::core::waiting::WaitNode;
use crate::runtime::drive::Deadline;
use crate::runtime::driver::mail::Driven;
use crate::runtime::limiter::Limiter;
use crate::runtime::off_fiber::OffFiber;
use crate::runtime::timers::Timers;
use crate::runtime::wasi::blocking::BlockingJobs;
use crate::runtime::wasi::context::Wasi;
use crate::security::action::Action;
use crate::security::guard::{Guard, LogRoom};
use crate::storage::namespaced::NamespacedStorage;

/// What a log record, and each of its pairs, counts beyond its text.
const RECORD_BYTES: usize = 64;

/// What the host functions of one component reach; the same for all its instances.
pub struct HostContext {
    /// Who the component is.
    pub identity: Identity,
    /// What the host holds for it.
    pub account: Arc<Account>,
    /// The largest payload that it may hand over.
    pub max_message_bytes: u64,
    /// What it may do.
    pub guard: Arc<Guard>,
    /// What WASI calls its environment: what the load named, nothing of the host's.
    pub env: Arc<[(String, String)]>,
    /// Where its messages go.
    pub messenger: Arc<dyn Messenger>,
    /// How it looks at others.
    pub directory: Arc<dyn Directory>,
    /// Where its records go.
    pub log: Arc<dyn LogSink>,
    /// Its own storage.
    pub storage: NamespacedStorage,
    /// Where it waits.
    pub timers: Timers,
    /// Where it waits for the system.
    pub jobs: Arc<BlockingJobs>,
    /// Whom it waits for while a host callback of its own runs.
    pub node: Arc<WaitNode>,
}

impl HostContext {
    /// Writes a record in the component's name, if it may and is within its quota. Runs code of the
    /// host if the log is.
    pub fn write_record(
        &self,
        level: LogLevel,
        message: &str,
        pairs: &[(String, String)],
        time: Timestamp,
    ) {
        if !self.log.enabled(level) {
            return;
        }
        let pair = |(key, value): &(String, String)| RECORD_BYTES + key.len() + value.len();
        let bytes = RECORD_BYTES + message.len() + pairs.iter().map(pair).sum::<usize>();
        let LogRoom::Free { dropped } = self.guard.take_log(bytes) else { return };
        if self.guard.check_own(Action::LogWrite, None).is_err() {
            return;
        }
        if dropped > 0 {
            let quota = self.guard.quotas().log_bytes_per_second.unwrap_or_default();
            let text = format!("{dropped} log record(s) dropped: log-bytes-per-second {quota}");
            self.log_as_it_is(LogLevel::Warn, &text, &[], time);
        }
        self.log_as_it_is(level, message, pairs, time);
    }

    fn log_as_it_is(
        &self,
        level: LogLevel,
        message: &str,
        context: &[(String, String)],
        time: Timestamp,
    ) {
        let component = Some(&*self.identity.id);
        self.log.write(&LogRecord { level, component, message, context, time });
    }
}

/// The data of one store.
pub struct HostState {
    /// See [`HostContext`].
    pub context: Arc<HostContext>,
    /// The store's resource limits.
    pub limiter: Limiter,
    /// Jobs for the driver of the store's calls.
    pub off_fiber: OffFiber,
    /// When the time of a call on its caller's own stack is over; `None`: guests run on fibers.
    pub on_caller: Option<Deadline>,
    /// What an answer costs that Wasmtime is copying into the guest.
    pub answer: Option<Charge>,
    /// The call of the loop in the guest that is under way.
    pub driven: Option<Driven>,
    /// Made at the first use of WASI; most components import none.
    wasi: Option<Box<Wasi>>,
}

impl HostState {
    /// The data of a new store.
    pub fn new(context: Arc<HostContext>, limiter: Limiter) -> Self {
        let off_fiber = OffFiber::new(Arc::clone(&context.node));
        Self {
            context,
            limiter,
            off_fiber,
            on_caller: None,
            answer: None,
            driven: None,
            wasi: None,
        }
    }
}

impl HostState {
    /// What becomes of a guest whose turn is over: it gives way, or goes on where only its own
    /// caller waits for it.
    pub fn end_turn(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let Some(deadline) = &mut self.on_caller else { return Ok(UpdateDeadline::Yield(1)) };
        self.context.timers.check(deadline.get())?;
        Ok(UpdateDeadline::Continue(1))
    }

    /// WASI for the instance.
    pub fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(&self.context, &self.off_fiber)))
    }

    /// Leaves what the guest has begun to print for the driver to log.
    pub fn finish_output(&self) {
        if let Some(wasi) = &self.wasi {
            wasi.outputs.finish();
        }
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}
