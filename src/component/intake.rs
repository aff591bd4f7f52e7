//! Mail for a guest that works it off in one call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::component::status::Status;
use crate::component::stopwatch::Stopwatch;
use crate::core::error::WasmError;
use crate::core::id::ComponentId;
use crate::core::message::Message;
use crate::messaging::mailbox::{Mail, Mailbox};
use crate::runtime::driver::mail::{Coming, HandlerKind, Id, MailSource, Record};
use crate::runtime::driver::small::{self, SmallMessage};

/// The longest payload that is worth one more copy of it.
const MAX_PAYLOAD: usize = 4096;

/// The longest content type that is.
const MAX_CONTENT_TYPE: usize = 256;

/// What a handler answered.
pub type Answer = Result<Option<Vec<u8>>, WasmError>;

/// Mail that was not handled to its end.
pub struct Unfinished {
    /// The mail.
    pub mail: Mail,
    /// Since when.
    pub watch: Stopwatch,
    /// What the handler answered, if it came to that.
    pub answer: Answer,
}

/// What a component's guest is given, a message at a time.
pub struct Intake {
    mailbox: Arc<Mailbox>,
    status: Arc<Status>,
    host: Arc<ComponentId>,
    turn: Mutex<Turn>,
}

struct Turn {
    /// Comes first.
    first: Option<Mail>,
    current: Option<(Mail, Stopwatch)>,
    answer: Answer,
    /// How many may be handled without a pause, and how many have been.
    most: usize,
    handled: usize,
    /// The sender of the last message: many are of the same.
    sender: Option<(Arc<ComponentId>, Id)>,
    payload: Arc<Vec<u8>>,
}

/// A call of the guest that works mail off. Mail that it leaves is lost with it, and answers for itself.
pub struct Call<'a>(&'a Intake);

impl Intake {
    /// For the guest whose mailbox it is.
    pub fn new(mailbox: Arc<Mailbox>, status: Arc<Status>, host: Arc<ComponentId>) -> Self {
        let turn = Turn {
            first: None,
            current: None,
            answer: Ok(None),
            most: 0,
            handled: 0,
            sender: None,
            payload: Arc::default(),
        };
        Self { mailbox, status, host, turn: Mutex::new(turn) }
    }

    /// Whether mail goes this way.
    pub fn takes(mail: &Mail) -> bool {
        match mail {
            Mail::Message(message, _) | Mail::Callback(message) => {
                message.payload.len() <= MAX_PAYLOAD
                    && message.content_type.as_ref().is_none_or(|it| it.len() <= MAX_CONTENT_TYPE)
            }
            Mail::Health(_) | Mail::Shutdown(_) => false,
        }
    }

    /// Begins a call with `first`, and with up to `most` messages without a pause.
    pub fn begin(&self, first: Mail, most: usize) -> Call<'_> {
        let mut turn = self.lock();
        turn.first = Some(first);
        turn.answer = Ok(None);
        (turn.most, turn.handled) = (most, 0);
        Call(self)
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The message that is being handled.
    fn message(&self) -> Option<&Message> {
        match &self.current {
            Some((Mail::Message(message, _) | Mail::Callback(message), _)) => Some(message),
            _ => None,
        }
    }
}

impl Call<'_> {
    /// How many messages were handled since the last pause, and what was not.
    pub fn end(self) -> (usize, Option<Unfinished>) {
        let mut turn = self.0.lock();
        let answer = std::mem::replace(&mut turn.answer, Ok(None));
        let first = turn.first.take().map(|mail| (mail, Stopwatch::start()));
        let unfinished = turn.current.take().or(first);
        let unfinished = unfinished.map(|(mail, watch)| Unfinished { mail, watch, answer });
        (turn.handled, unfinished)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut turn = self.0.lock();
        let lost = (turn.first.take(), turn.current.take());
        drop(turn);
        drop(lost);
    }
}

impl MailSource for Intake {
    fn answer(&self, answer: Result<Option<&[u8]>, WasmError>) {
        let mut turn = self.lock();
        let wanted =
            matches!(&turn.current, Some((Mail::Message(_, reply), _)) if !reply.is_nobody());
        turn.answer = answer.map(|reply| reply.filter(|_| wanted).map(<[u8]>::to_vec));
    }

    fn handled(&self, fuel: u64, memory_bytes: u64) {
        let mut turn = self.lock();
        if turn.answer.is_err() {
            return;
        }
        let Some((mail, watch)) = turn.current.take() else { return };
        let answer = std::mem::replace(&mut turn.answer, Ok(None)).unwrap_or_default();
        turn.handled += 1;
        drop(turn);
        let status = &self.status;
        status.count_handled(true);
        status.count_fuel(fuel);
        status.set_memory(memory_bytes);
        status.count_time(watch.nanos());
        if let Mail::Message(_, mut reply) = mail
            && !reply.is_nobody()
        {
            self.mailbox.nearly_done();
            reply.take().answer(Ok(answer));
        }
    }

    fn poll_next(&self) -> Poll<Option<Coming>> {
        let mut turn = self.lock();
        if turn.answer.is_err() {
            return Poll::Ready(None);
        }
        let mail = match turn.first.take() {
            Some(mail) => mail,
            None if turn.handled >= turn.most => return Poll::Ready(None),
            None => match self.mailbox.poll_kept(Self::takes) {
                Poll::Ready(Some(mail)) => mail,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    turn.handled = 0;
                    return Poll::Pending;
                }
            },
        };
        let watch = Stopwatch::start();
        let (handler, message) = match &mail {
            Mail::Message(message, _) => (HandlerKind::Message, message),
            Mail::Callback(message) => (HandlerKind::Callback, message),
            Mail::Health(_) | Mail::Shutdown(_) => return Poll::Ready(None),
        };
        let coming = Coming { handler, small: small::fits(&message.view(&self.host)) };
        turn.current = Some((mail, watch));
        Poll::Ready(Some(coming))
    }

    fn take_small(&self) -> Option<SmallMessage> {
        small::small(&self.lock().message()?.view(&self.host))
    }

    fn take(&self) -> Option<Record> {
        let Turn { current, sender, payload, .. } = &mut *self.lock();
        let (Mail::Message(message, _) | Mail::Callback(message), _) = current.as_ref()? else {
            return None;
        };
        let from = message.sender.as_ref().unwrap_or(&self.host);
        let id = match sender {
            Some((known, parts)) if Arc::ptr_eq(known, from) => parts.clone(),
            _ => {
                let parts = (from.namespace().into(), from.name().into(), from.instance().into());
                sender.insert((Arc::clone(from), parts)).1.clone()
            }
        };
        // The one before was copied into the guest.
        let bytes = Arc::make_mut(payload);
        bytes.clear();
        bytes.extend_from_slice(&message.payload);
        let correlation = message.correlation.map(|id| id.text().as_str().to_owned());
        let reply_to = message.wants_reply.then(|| id.clone());
        let time = (message.accepted.seconds, message.accepted.nanoseconds);
        let metadata = (correlation, reply_to, time, message.content_type.clone());
        Some((id, Arc::clone(payload), metadata))
    }
}
