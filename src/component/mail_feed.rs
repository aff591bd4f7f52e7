//! The mail feed: hands a guest's loop message after message within one call.

use std::sync::Arc;
use std::task::Poll;

use crate::component::status::Status;
use crate::component::stopwatch::Stopwatch;
use crate::core::error::{CallError, Unfit, WasmError};
use crate::core::id::ComponentId;
use crate::core::message::{Message, MessageView, Outcome, Timestamp};
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::Mailbox;
use crate::runtime::driver::mail::{Coming, HandlerKind, Id, MailSource, Record};
use crate::runtime::driver::small::{self, Shape, SmallMessage, TinyMessage};
use crate::runtime::pace::Pace;
use crate::runtime::ticker::Ticks;
use crate::security::guard::Guard;

/// The longest payload worth an extra copy.
const MAX_PAYLOAD: usize = 4096;

/// The longest content type worth an extra copy.
const MAX_CONTENT_TYPE: usize = 256;

/// Mail whose handling did not finish.
pub struct Unfinished {
    /// The mail.
    pub mail: Mail,
    /// Running since the handler started.
    pub watch: Stopwatch,
    /// The handler's outcome, if it got that far.
    pub answer: Outcome,
}

/// How long a guest may run before it yields.
pub struct Turn {
    /// The most messages.
    pub most: usize,
    /// The pace of the component.
    pub pace: Arc<Pace>,
    /// The clock.
    pub ticks: Ticks,
}

impl Turn {
    /// Returns whether further mail has to wait for the next turn.
    fn is_over(&self, handled: usize) -> bool {
        handled >= self.most || handled > 0 && self.pace.turn_is_over(&self.ticks)
    }
}

/// The mail feed of one call of a guest's loop. Mail lost with it answers for itself.
pub struct MailFeed {
    mailbox: Arc<Mailbox>,
    status: Arc<Status>,
    host: Arc<ComponentId>,
    guard: Arc<Guard>,
    /// Handed out first.
    first: Option<Mail>,
    current: Option<(Mail, Stopwatch)>,
    answer: Outcome,
    turn: Turn,
    /// Messages handled since the last pause.
    handled: usize,
    /// The sender of the last message, cached: successive messages often share it.
    sender: Option<(Arc<ComponentId>, Id)>,
    payload: Arc<Vec<u8>>,
}

impl MailFeed {
    /// Creates a feed that hands out `first` and then the mailbox's mail, for one uninterrupted
    /// turn.
    pub fn new(
        mailbox: Arc<Mailbox>,
        status: Arc<Status>,
        host: Arc<ComponentId>,
        guard: Arc<Guard>,
        first: Mail,
        turn: Turn,
    ) -> Self {
        Self {
            mailbox,
            status,
            host,
            guard,
            first: Some(first),
            current: None,
            answer: Ok(None),
            turn,
            handled: 0,
            sender: None,
            payload: Arc::default(),
        }
    }

    /// Returns whether this mail goes through the feed.
    pub fn takes(mail: &Mail) -> bool {
        mail.message().is_some_and(|message| {
            message.payload.len() <= MAX_PAYLOAD
                && message.content_type.as_ref().is_none_or(|it| it.len() <= MAX_CONTENT_TYPE)
        })
    }

    /// Ends the feed; returns the number of messages handled since the last pause, and the
    /// unfinished mail.
    pub fn end(self) -> (usize, Option<Unfinished>) {
        let first = self.first.map(|mail| (mail, Stopwatch::start(&self.turn.ticks)));
        let unfinished = self.current.or(first);
        let answer = self.answer;
        let unfinished = unfinished.map(|(mail, watch)| Unfinished { mail, watch, answer });
        (self.handled, unfinished)
    }

    /// Returns the message in progress, as the guest may see it.
    fn message(&self) -> Option<MessageView<'_>> {
        Some(self.view(self.current.as_ref()?.0.message()?))
    }

    fn view<'a>(&'a self, message: &'a Message) -> MessageView<'a> {
        let mut view = message.view(&self.host);
        if !self.guard.shows_time() {
            view.accepted = Timestamp::HIDDEN;
        }
        view
    }
}

impl MailSource for MailFeed {
    fn answer(&mut self, answer: Result<Option<&[u8]>, WasmError>) {
        let wanted =
            matches!(&self.current, Some((Mail::Message(_, reply), _)) if !reply.is_nobody());
        let limit = self.mailbox.options().bounds.max_message;
        self.answer = match answer {
            Ok(Some(reply)) if reply.len() as u64 > limit => {
                Err(CallError::DoesNotFit(Unfit::Reply { bytes: reply.len() as u64, limit }))
            }
            Ok(reply) => Ok(reply.filter(|_| wanted).map(<[u8]>::to_vec)),
            Err(error) => Err(CallError::Guest(error)),
        };
    }

    fn handled(&mut self, fuel: u64, memory_bytes: u64) {
        if self.answer.is_err() {
            return;
        }
        let Some((mail, watch)) = self.current.take() else { return };
        let answer = std::mem::replace(&mut self.answer, Ok(None)).unwrap_or_default();
        self.handled += 1;
        let status = &self.status;
        status.count_handled(true);
        status.count_fuel(fuel);
        status.set_memory(memory_bytes);
        status.count_time(watch.nanos(&self.turn.ticks));
        if let Mail::Message(_, reply) = mail
            && !reply.is_nobody()
        {
            self.mailbox.nearly_done();
            reply.answer(Ok(answer));
        }
    }

    fn poll_next(&mut self) -> Poll<Option<Coming>> {
        if self.answer.is_err() {
            return Poll::Ready(None);
        }
        let mail = match self.first.take() {
            Some(mail) => mail,
            None if self.turn.is_over(self.handled) && self.mailbox.load() > 1 => {
                return Poll::Ready(None);
            }
            None => match self.mailbox.poll_kept(Self::takes) {
                Poll::Ready(Some(mail)) => mail,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    self.handled = 0;
                    return Poll::Pending;
                }
            },
        };
        self.current = Some((mail, Stopwatch::start(&self.turn.ticks)));
        let (handler, message) = match &self.current {
            Some((Mail::Message(message, _), _)) => (HandlerKind::Message, message),
            Some((Mail::Callback(message), _)) => (HandlerKind::Callback, message),
            _ => return Poll::Ready(None),
        };
        let shape = Shape::of(&self.view(message));
        Poll::Ready(Some(Coming { handler, shape }))
    }

    fn take_small(&mut self) -> Option<SmallMessage> {
        small::small(&self.message()?)
    }

    fn take_tiny(&mut self) -> Option<TinyMessage> {
        small::tiny(&self.message()?)
    }

    fn take(&mut self) -> Option<Record> {
        let Self { current, sender, payload, host, guard, .. } = self;
        let message = current.as_ref()?.0.message()?;
        let from = message.sender.as_ref().unwrap_or(host);
        let id = match sender {
            Some((known, parts)) if Arc::ptr_eq(known, from) => parts.clone(),
            _ => {
                let parts = (from.namespace().into(), from.name().into(), from.instance().into());
                sender.insert((Arc::clone(from), parts)).1.clone()
            }
        };
        // The previous message was copied into the guest.
        let bytes = Arc::make_mut(payload);
        bytes.clear();
        bytes.extend_from_slice(&message.payload);
        let correlation = message.correlation.map(|id| id.text().as_str().to_owned());
        let reply_to = message.wants_reply.then(|| id.clone());
        let accepted = if guard.shows_time() { message.accepted } else { Timestamp::HIDDEN };
        let time = (accepted.seconds(), accepted.nanoseconds());
        let metadata = (correlation, reply_to, time, message.content_type.clone());
        Some((id, Arc::clone(payload), metadata))
    }
}
