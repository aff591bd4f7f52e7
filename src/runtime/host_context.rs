//! The context of one component's host functions, and what it lets them log.

use std::sync::Arc;

use crate::core::account::Account;
use crate::core::bounds::{MAX_REPEATED_BYTES, REPORTS_PER_SECOND, bounded};
use crate::core::error::{CallError, InHostWords};
use crate::core::log::{HostErrorTexts, LogLevel, LogRecord, LogSink};
use crate::core::message::Timestamp;
use crate::core::ports::{Directory, Identity, Messenger};
use crate::core::wait_graph::WaitNode;
use crate::runtime::call_end::Timers;
use crate::runtime::threads::pool::ThreadPool;
use crate::runtime::wasi::blocking::BlockingJobs;
use crate::security::action::Action;
use crate::security::guard::{Dropped, Guard, LogRoom};
use crate::storage::component_storage::ComponentStorage;

/// What a log record, and each of its pairs, counts besides its text.
const RECORD_BYTES: usize = 64;

/// The context of one component's host functions, shared by its instances.
#[derive(Clone)]
pub struct HostContext {
    /// The component's identity.
    pub identity: Identity,
    /// The account of host memory.
    pub account: Arc<Account>,
    /// The largest payload that the component may send.
    pub max_message_bytes: u64,
    /// The component's rights.
    pub guard: Arc<Guard>,
    /// Sends its messages.
    pub messenger: Arc<dyn Messenger>,
    /// Looks up other components.
    pub directory: Arc<dyn Directory>,
    /// Takes its log records.
    pub log: Arc<dyn LogSink>,
    /// Who sees the error texts of host code.
    pub host_error_texts: HostErrorTexts,
    /// The component's own storage.
    pub storage: ComponentStorage,
    /// The timers it waits on.
    pub timers: Timers,
    /// Runs its blocking system calls.
    pub jobs: Arc<BlockingJobs>,
    /// Runs its host callbacks when no caller's thread does.
    pub threads: ThreadPool,
    /// Its node in the wait-for graph, for waits from its host callbacks.
    pub node: Arc<WaitNode>,
}

impl HostContext {
    /// Returns the context of an instance that runs beside the actor's own: it waits, and is
    /// interrupted, apart from that.
    pub fn beside(&self, timers: Timers) -> Self {
        Self { timers, node: Arc::default(), ..self.clone() }
    }

    /// Writes a record in the component's name if its rights and quota allow. Runs host code if the
    /// log does.
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
        self.say_what_was_dropped(dropped, time);
        self.log_as_it_is(Author::Component, level, message, pairs, time);
    }

    /// Creates a record of the engine's about the component's `error`. Such records count against
    /// the component's quota and have a bound of their own; `None` if this one exceeds it, or no
    /// one wants it. If the component may not write to the log, the record has only the kind of the
    /// error and none of the component's words.
    pub fn report(&self, level: LogLevel, what: &str, error: &CallError) -> Option<Report> {
        self.admit(Author::Component, level, || {
            if self.guard.allows_own(Action::LogWrite) {
                format!("{what}: {}", bounded(error, MAX_REPEATED_BYTES))
            } else {
                format!("{what}: {}", error.code())
            }
        })
    }

    /// Returns the error that the component sees of a failed callback or file. Texts from the host
    /// go to the log, unless the host wants them shown. Runs host code if the log does.
    pub fn told<E: InHostWords>(&self, service: &str, error: E) -> E {
        if self.host_error_texts == HostErrorTexts::Shown {
            return error.shown();
        }
        let (error, text) = error.withheld();
        if let Some(text) = text {
            let report = self.admit(Author::Engine, LogLevel::Warn, || {
                format!("{service} failed for {}: {text}", self.identity.id)
            });
            if let Some(report) = report {
                self.write_report(report);
            }
        }
        error
    }

    fn admit(
        &self,
        author: Author,
        level: LogLevel,
        text: impl FnOnce() -> String,
    ) -> Option<Report> {
        if !self.log.enabled(level) || !self.guard.takes_report() {
            return None;
        }
        let text = text();
        let room = self.guard.take_log(RECORD_BYTES + text.len());
        let LogRoom::Free { dropped } = room else { return None };
        Some(Report { author, level, text, dropped, time: Timestamp::now() })
    }

    /// Writes an admitted record. Runs host code if the log does.
    pub fn write_report(&self, report: Report) {
        let Report { author, level, text, dropped, time } = report;
        self.say_what_was_dropped(dropped, time);
        self.log_as_it_is(author, level, &text, &[], time);
    }

    fn say_what_was_dropped(&self, dropped: Dropped, time: Timestamp) {
        let say = |count: u64, why: &str| {
            if count > 0 {
                let text = format!("{count} log record(s) dropped: {why}");
                self.log_as_it_is(Author::Component, LogLevel::Warn, &text, &[], time);
            }
        };
        let quota = self.guard.quotas().log_bytes_per_second.unwrap_or_default();
        say(dropped.by_quota, &format!("log-bytes-per-second {quota}"));
        say(dropped.reports, &format!("more than {REPORTS_PER_SECOND} engine reports per second"));
    }

    fn log_as_it_is(
        &self,
        author: Author,
        level: LogLevel,
        message: &str,
        context: &[(String, String)],
        time: Timestamp,
    ) {
        let component = match author {
            Author::Component => Some(&*self.identity.id),
            Author::Engine => None,
        };
        self.log.write(&LogRecord { level, component, message, context, time });
    }
}

/// The author of a record.
#[derive(Clone, Copy)]
enum Author {
    Component,
    Engine,
}

/// A record of the engine's, admitted within all bounds.
pub struct Report {
    author: Author,
    level: LogLevel,
    text: String,
    dropped: Dropped,
    time: Timestamp,
}
