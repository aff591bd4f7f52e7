//! Log records of components and of the engine.

use crate::core::id::ComponentId;
use crate::core::message::Timestamp;

/// Severity, in the order of the WIT enum `log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// Returns the lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One record for a [`LogSink`].
#[derive(Clone, Debug)]
pub struct LogRecord<'a> {
    /// The severity.
    pub level: LogLevel,
    /// The component that wrote it; `None` for the engine.
    pub component: Option<&'a ComponentId>,
    /// The text.
    pub message: &'a str,
    /// Key-value pairs.
    pub context: &'a [(String, String)],
    /// The time of writing.
    pub time: Timestamp,
}

/// Who sees the error texts of host code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostErrorTexts {
    /// The host's log. The guest only learns that the host failed.
    #[default]
    Logged,
    /// The guest that made the call.
    Shown,
}

/// A destination of log records.
pub trait LogSink: Send + Sync {
    /// Returns whether records of this level are wanted; others are not even built.
    fn enabled(&self, level: LogLevel) -> bool;

    /// Writes one record. Called from several threads at once.
    fn write(&self, record: &LogRecord<'_>);

    /// Returns whether [`LogSink::write`] runs host code, which needs a native stack.
    fn runs_host_code(&self) -> bool;
}
