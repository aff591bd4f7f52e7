//! What a component says of itself.

use thiserror::Error;

use crate::core::bounds::MAX_OPERATIONS;

/// The WIT record `component-metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentMetadata {
    /// What it is called.
    pub name: String,
    /// Its version, in whatever notation.
    pub version: String,
    /// What it does.
    pub description: String,
    /// Who made it.
    pub author: String,
    /// Under what terms.
    pub license: String,
    /// What it can be asked to do.
    pub supported_operations: Vec<String>,
    /// Whether it keeps state between messages.
    pub stateful: bool,
}

/// Metadata beyond the bounds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TooMuch {
    /// A text is too long.
    #[error("a text of {name} has {bytes} bytes, at most {limit} are allowed")]
    Text {
        /// The field.
        name: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// There are too many operations.
    #[error("supported-operations has {count} entries, at most {MAX_OPERATIONS} are allowed")]
    Operations {
        /// How many there are.
        count: usize,
    },
}

impl ComponentMetadata {
    /// How much memory it takes.
    pub fn bytes(&self) -> u64 {
        let Self { name, version, description, author, license, supported_operations, .. } = self;
        let texts = [name, version, description, author, license].into_iter();
        let texts =
            texts.chain(supported_operations).map(|text| text.capacity() + size_of::<String>());
        texts.sum::<usize>() as u64
    }
}
