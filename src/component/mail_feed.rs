//! The mail feed: hands a guest's loop message after message within one call.

use std::sync::Arc;
use std::task::{Poll, ready};

use crate::component::busy_time::BusyTime;
use crate::component::status::Status;
use crate::core::error::{CallError, Unfit, WasmError};
use crate::core::id::ComponentId;
use crate::core::message::{Message, MessageView, Outcome, Timestamp};
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::Mailbox;
use crate::runtime::driver::small::{self, Shape, SmallMessage, TinyMessage};
use crate::runtime::driver::source::{Coming, HandlerKind, Id, MailSource, Record, Usage};
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
    pub watch: BusyTime,
    /// The handler's outcome, if it got that far.
    pub answer: Outcome,
}

/// How long a guest may run before it yields.
pub struct TurnLimit {
    /// The most messages.
    pub most: usize,
    /// The pace of the component.
    pub pace: Arc<Pace>,
    /// The clock.
    pub ticks: Ticks,
}

impl TurnLimit {
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
    current: Current,
    turn: TurnLimit,
    /// Messages handled since the last pause.
    handled: usize,
    /// The sender of the last message, cached: successive messages often share it.
    sender: Option<(Arc<ComponentId>, Id)>,
    payload: Arc<Vec<u8>>,
}

/// The message in progress.
enum Current {
    /// None yet; this one is handed out first.
    First(Mail),
    /// None: the last one has its outcome.
    Between,
    /// The guest handles it. `reply` is set once the handler has returned one.
    Handling { mail: Mail, watch: BusyTime, reply: Option<Vec<u8>> },
    /// Its handler failed, which ends the call.
    Failed { mail: Mail, watch: BusyTime, error: CallError },
}

impl Current {
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Between)
    }
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
        turn: TurnLimit,
    ) -> Self {
        Self {
            mailbox,
            status,
            host,
            guard,
            current: Current::First(first),
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
                && message.invocation.is_none()
                && message.content_type.as_ref().is_none_or(|it| it.len() <= MAX_CONTENT_TYPE)
        })
    }

    /// Ends the feed; returns the number of messages handled since the last pause, and the
    /// unfinished mail.
    pub fn end(self) -> (usize, Option<Unfinished>) {
        let unfinished = match self.current {
            Current::First(mail) => Some(Unfinished {
                mail,
                watch: BusyTime::start(&self.turn.ticks),
                answer: Ok(None),
            }),
            Current::Between => None,
            Current::Handling { mail, watch, reply } => {
                Some(Unfinished { mail, watch, answer: Ok(reply) })
            }
            Current::Failed { mail, watch, error } => {
                Some(Unfinished { mail, watch, answer: Err(error) })
            }
        };
        (self.handled, unfinished)
    }

    /// Returns the message in progress, as the guest may see it.
    fn message(&self) -> Option<MessageView<'_>> {
        let Current::Handling { mail, .. } = &self.current else { return None };
        Some(self.view(mail.message()?))
    }

    fn view<'a>(&'a self, message: &'a Message) -> MessageView<'a> {
        let mut view = message.view(&self.host);
        if !self.guard.shows_time() {
            view.accepted = Timestamp::HIDDEN;
        }
        view
    }

    /// Delivers the outcome of the message in progress, unless it failed.
    fn finish(&mut self, usage: Usage) {
        let (mail, watch, reply) = match self.current.take() {
            Current::Handling { mail, watch, reply } => (mail, watch, reply),
            other => {
                self.current = other;
                return;
            }
        };
        self.handled += 1;
        let status = &self.status;
        status.count_handled(true);
        status.count_fuel(usage.fuel);
        status.set_memory(usage.memory_bytes);
        if let Some(due) = status.due() {
            // Refused only by a mailbox that is about to be stopped or closed.
            let _ = self.mailbox.deliver(due);
        }
        status.count_time(watch.nanos(&self.turn.ticks));
        if let Mail::Message(_, to) = mail
            && !to.is_nobody()
        {
            self.mailbox.nearly_done();
            to.answer(Ok(reply));
        }
    }

    /// Returns the next mail, or `None` to end the call.
    fn poll_mail(&mut self) -> Poll<Option<Mail>> {
        match self.current.take() {
            Current::First(mail) => return Poll::Ready(Some(mail)),
            Current::Between => {}
            failed => {
                self.current = failed;
                return Poll::Ready(None);
            }
        }
        if self.turn.is_over(self.handled) && self.mailbox.load() > 1 {
            return Poll::Ready(None);
        }
        let polled = self.mailbox.poll_kept(Self::takes);
        if polled.is_pending() {
            self.handled = 0;
        }
        polled
    }
}

impl MailSource for MailFeed {
    fn answer(&mut self, answer: Result<Option<&[u8]>, WasmError>) {
        let Current::Handling { mail, reply, .. } = &mut self.current else { return };
        let wanted = matches!(mail, Mail::Message(_, to) if !to.is_nobody());
        let limit = self.mailbox.options().bounds.max_message;
        let error = match answer {
            Ok(Some(bytes)) if bytes.len() as u64 > limit => {
                CallError::DoesNotFit(Unfit::Reply { bytes: bytes.len() as u64, limit })
            }
            Ok(bytes) => {
                *reply = bytes.filter(|_| wanted).map(<[u8]>::to_vec);
                return;
            }
            Err(error) => CallError::Guest(error),
        };
        if let Current::Handling { mail, watch, .. } = self.current.take() {
            self.current = Current::Failed { mail, watch, error };
        }
    }

    fn exchange(&mut self, previous: Option<Usage>) -> Poll<Option<Coming>> {
        if let Some(usage) = previous {
            self.finish(usage);
        }
        let Some(mail) = ready!(self.poll_mail()) else { return Poll::Ready(None) };
        let Some(message) = mail.message() else {
            // Such mail goes another way, see `takes`.
            self.current = Current::First(mail);
            return Poll::Ready(None);
        };
        let handler = match &mail {
            Mail::Callback(_) => HandlerKind::Callback,
            _ => HandlerKind::Message,
        };
        let shape = Shape::of(&self.view(message));
        let watch = BusyTime::start(&self.turn.ticks);
        self.current = Current::Handling { mail, watch, reply: None };
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
        let Current::Handling { mail, .. } = current else { return None };
        let message = mail.message()?;
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
