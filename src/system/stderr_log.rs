//! Where records go when the host has no logger: warnings and errors to stderr.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::core::log::{LogLevel, LogRecord, LogSink};

/// Writes one line a record.
pub struct StderrLog;

impl LogSink for StderrLog {
    fn enabled(&self, level: LogLevel) -> bool {
        level >= LogLevel::Warn
    }

    fn write(&self, record: &LogRecord<'_>) {
        let mut line = format!("airssys {} ", record.level.name());
        // Writing to a string does not fail.
        if let Some(component) = record.component {
            let _ = write!(line, "{}: ", component.as_str().escape_debug());
        }
        // A guest must not be able to forge a second line, or to talk to the terminal.
        let _ = write!(line, "{}", record.message.escape_debug());
        for (key, value) in record.context {
            let _ = write!(line, " {}={value:?}", key.escape_debug());
        }
        line.push('\n');
        // A host that closed its stderr does not want the record.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn runs_host_code(&self) -> bool {
        false
    }
}
