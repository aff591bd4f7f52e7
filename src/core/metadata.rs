//! A component's description of itself.

use thiserror::Error;

use crate::core::bounds::MAX_OPERATIONS;

/// The WIT record `component-metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentMetadata {
    /// The component's name.
    pub name: String,
    /// The version, in any notation.
    pub version: String,
    /// What the component does.
    pub description: String,
    /// The author.
    pub author: String,
    /// The licence.
    pub license: String,
    /// The operations that it supports.
    pub supported_operations: Vec<String>,
    /// Whether it keeps state between messages.
    pub stateful: bool,
}

/// Metadata that exceeds a bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Oversized {
    /// A text is too long.
    #[error("a text of {name} has {bytes} bytes, at most {limit} are allowed")]
    Text {
        /// The field.
        name: &'static str,
        /// The length in bytes.
        bytes: usize,
        /// The longest length allowed.
        limit: usize,
    },
    /// There are too many operations.
    #[error("supported-operations has {count} entries, at most {MAX_OPERATIONS} are allowed")]
    Operations {
        /// The number of operations.
        count: usize,
    },
}

impl ComponentMetadata {
    /// Returns the memory occupied by the texts.
    pub fn bytes(&self) -> u64 {
        let Self { name, version, description, author, license, supported_operations, .. } = self;
        let texts = [name, version, description, author, license].into_iter();
        let texts =
            texts.chain(supported_operations).map(|text| text.capacity() + size_of::<String>());
        texts.sum::<usize>() as u64
    }
}
