//! Replies with results of the standard library and of WASI.

use std::collections::BTreeMap;
use std::io;

use guest_kit::{Render, Reply, outcome, text};
use wasip2::filesystem::types::ErrorCode as FileError;
use wasip2::io::streams::StreamError;
use wasip2::sockets::network::ErrorCode as NetworkError;

/// The text of a standard library error, or the name of a WASI case.
pub struct Failure(String);

impl Render for Failure {
    fn render(&self) -> String {
        self.0.clone()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self(error.name().into())
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        Self(error.name().into())
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self(match error {
            StreamError::LastOperationFailed(error) => {
                format!("last-operation-failed({})", error.to_debug_string())
            }
            StreamError::Closed => "closed".into(),
        })
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

pub fn show<T, E: Into<Failure>>(result: Result<T, E>, show: impl FnOnce(T) -> String) -> Reply {
    outcome(result.map_err(Into::into), show)
}

pub fn done<E: Into<Failure>>(result: Result<(), E>) -> Reply {
    show(result, |()| "ok".into())
}

/// Calls `make` up to `count` times until the first error and keeps the results. Returns their
/// number and the error.
pub fn keep<T, E: Into<Failure>>(
    kept: &mut Vec<T>,
    count: usize,
    make: impl Fn() -> Result<T, E>,
) -> Reply {
    for made in 0..count {
        match make() {
            Ok(item) => kept.push(item),
            Err(error) => return text(format!("{made} error: {}", error.into().render())),
        }
    }
    text(count.to_string())
}

/// Counts of results.
#[derive(Default)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub fn count<E: Into<Failure>>(&mut self, result: Result<String, E>) {
        let key = result.unwrap_or_else(|error| format!("error: {}", error.into().render()));
        *self.0.entry(key).or_default() += 1;
    }

    /// One line per result: its count and the result.
    pub fn reply(self) -> Reply {
        let lines: Vec<_> = self.0.iter().map(|(result, n)| format!("{n} {result}")).collect();
        text(lines.join("\n"))
    }
}
