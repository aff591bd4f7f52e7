//! The source of the messages that the loop in a guest handles.

use std::any::Any;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::core::error::WasmError;
use crate::runtime::driver::small::{Form, Shape, SmallMessage, TinyMessage};
use crate::runtime::guest_call::Progress;
use crate::runtime::ticker::{Moment, Ticks};

/// The source of a guest's messages, and the destination of their outcomes.
pub trait MailSource: Any + Send {
    /// Takes the handler's reply or error. Not called for a handler without either.
    fn answer(&mut self, answer: Result<Option<&[u8]>, WasmError>);

    /// Ends the previous message, given what it used, and returns the next one's handler and shape,
    /// or `None` to end the call. While it is pending, the guest keeps its stack; the next poll then
    /// gives no usage.
    fn exchange(&mut self, previous: Option<Usage>) -> Poll<Option<Coming>>;

    /// Takes that message.
    fn take(&mut self) -> Option<Record>;

    /// Takes that message if it is small.
    fn take_small(&mut self) -> Option<SmallMessage>;

    /// Takes that message if it is tiny.
    fn take_tiny(&mut self) -> Option<TinyMessage>;
}

/// What a message used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The fuel.
    pub fuel: u64,
    /// The guest's memory size afterwards.
    pub memory_bytes: u64,
}

/// The next message, as announced to the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coming {
    /// The handler for it.
    pub handler: HandlerKind,
    /// Its shape.
    pub shape: Shape,
}

impl Coming {
    /// Encodes it for `driver.wat`.
    pub(super) fn word(self) -> u64 {
        let Shape { form, lengths: [a, b, c, d, e], wants_reply } = self.shape;
        let form = match form {
            Form::Whole => 0,
            Form::Small => 4,
            Form::Tiny => 8,
        };
        u64::from_le_bytes([self.handler as u8 | form, a, b, c, d, e, wants_reply.into(), 0])
    }
}

/// The handler for a message, in the encoding of `driver.wat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerKind {
    /// `handle-message`.
    Message = 1,
    /// `handle-callback`.
    Callback = 2,
}

/// A component id that the lowering of a result can own: namespace, name, instance.
pub type Id = (Arc<str>, Arc<str>, Arc<str>);

/// A `component-message` as nested tuples: sender, payload, metadata. The metadata are correlation
/// id, reply-to, time, and content type.
pub type Record = (Id, Arc<Vec<u8>>, (Option<String>, Option<Id>, Timestamp, Option<Arc<str>>));
type Timestamp = (u64, u32);

/// A call of the loop in progress.
pub struct Driven {
    /// The source of its messages.
    pub source: Box<dyn MailSource>,
    /// The fuel of each message.
    pub fuel: u64,
    /// The progress of the call.
    pub progress: Arc<Progress>,
    /// The time limit of each message.
    pub limit: Duration,
    /// The clock.
    pub ticks: Ticks,
    /// When the message in progress started.
    pub began: Moment,
}
