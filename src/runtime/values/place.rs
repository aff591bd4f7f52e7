//! The place of a value among the arguments of a call, for errors.

use std::fmt;

/// A place, as a list from the inside out.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// All arguments together.
    Arguments,
    /// The result of a host function.
    Answer,
    /// An element of a list or tuple, or an argument.
    Index(&'a Place<'a>, usize),
    /// A field of a record, or the payload of a case.
    Name(&'a Place<'a>, &'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments => f.write_str("args"),
            Self::Answer => f.write_str("result"),
            Self::Index(within, index) => write!(f, "{within}[{index}]"),
            Self::Name(within, name) => write!(f, "{within}.{name}"),
        }
    }
}
