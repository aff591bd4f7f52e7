//! The mailbox between senders, direct callers and its receiver's task.
//!
//! Loom reports a thread that waits in vain as a deadlock.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, Weak};

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::model;
use loom::sync::mpsc::{Receiver as Done, Sender, channel};
use loom::thread::{self, JoinHandle};

use airssys_wasm_models::bounded_model;
use airssys_wasm_models::core::account::Account;
use airssys_wasm_models::core::error::CallError;
use airssys_wasm_models::core::id::{ComponentHandle, ComponentId};
use airssys_wasm_models::core::limits::{MailboxBounds, WhenFull};
use airssys_wasm_models::core::message::Message;
use airssys_wasm_models::core::payload::Payload;
use airssys_wasm_models::core::ports::DeadLetters;
use airssys_wasm_models::messaging::mail::{Mail, Refusal};
use airssys_wasm_models::messaging::mailbox::{Acquire, Mailbox, MailboxOptions, MailHandler};
use airssys_wasm_models::messaging::reply::Reply;

/// A message: who sent it, and its number.
type Mark = (u8, u8);

const SHUTDOWN: Mark = (u8::MAX, 0);

fn message((sender, number): Mark) -> Mail {
    Mail::Message(Message::new(None, Payload::copy_of(&[sender, number])), Reply::nobody())
}

fn mark(mail: &Mail) -> Mark {
    match mail.message() {
        Some(message) => (message.payload[0], message.payload[1]),
        None => SHUTDOWN,
    }
}

/// The instance that whoever holds the right to run may use.
struct Guest {
    /// Loom objects to a use that does not come after the one before.
    memory: Mutex<UnsafeCell<()>>,
    handled: Mutex<Vec<Mark>>,
    done: Sender<()>,
}

impl Guest {
    fn handle(&self, mark: Mark) {
        self.memory.lock().unwrap().with_mut(|_| ());
        self.handled.lock().unwrap().push(mark);
        self.done.send(()).unwrap();
    }

    fn handled(&self) -> Vec<Mark> {
        self.handled.lock().unwrap().clone()
    }
}

/// How the task takes mail.
#[derive(Clone, Copy)]
enum Task {
    /// Each with `next`.
    Plain,
    /// Further messages with `poll_kept`, as a guest with a loop does.
    Parks,
}

struct Actor {
    mailbox: Arc<Mailbox>,
    guest: Guest,
    task: Task,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Receives a `()` for each piece of mail that was handled.
    done: Mutex<Done<()>>,
}

impl MailHandler for Actor {
    fn start(self: Arc<Self>) {
        let actor = Arc::clone(&self);
        let thread = thread::spawn(move || block_on(actor.run()));
        let earlier = self.thread.lock().unwrap().replace(thread);
        assert!(earlier.is_none(), "the task was started twice");
    }
}

struct Nowhere;

impl DeadLetters for Nowhere {
    fn take(&self, _: &Arc<ComponentId>, _: Message, _: &CallError) {}
}

impl Actor {
    /// Creates an actor whose creator holds the right to run.
    fn held(task: Task, options: MailboxOptions, max_host_bytes: u64) -> Arc<Self> {
        let owner = Arc::new(ComponentId::new("models", "actor", "0").unwrap());
        let account = Account::new(max_host_bytes, Arc::default());
        let (node, handle) = (Arc::default(), ComponentHandle(1));
        let mailbox = Mailbox::new(handle, owner, node, options, Arc::new(Nowhere), account);
        let (sender, done) = channel();
        let (memory, handled) = (Mutex::new(UnsafeCell::new(())), Mutex::default());
        let guest = Guest { memory, handled, done: sender };
        let (thread, done) = (Mutex::default(), Mutex::new(done));
        let actor = Arc::new(Self { mailbox, guest, task, thread, done });
        let receiver: Weak<Self> = Arc::downgrade(&actor);
        actor.mailbox.connect(receiver);
        actor
    }

    fn idle(task: Task) -> Arc<Self> {
        let actor = Self::held(task, MailboxOptions::default(), u64::MAX);
        actor.mailbox.release();
        actor
    }

    /// Creates an actor with room for one message, whose creator holds the right to run.
    fn narrow(max_host_bytes: u64) -> Arc<Self> {
        let bounds = MailboxBounds { messages: 1, ..MailboxBounds::default() };
        let when_full = WhenFull::Block;
        let options = MailboxOptions { bounds, when_full, ..MailboxOptions::default() };
        Self::held(Task::Plain, options, max_host_bytes)
    }

    async fn run(&self) {
        while let Some(mail) = self.mailbox.next().await {
            self.guest.handle(mark(&mail));
            if matches!(self.task, Task::Parks) {
                let takes = |mail: &Mail| mail.message().is_some();
                while let Some(mail) = poll_fn(|_| self.mailbox.poll_kept(takes)).await {
                    self.guest.handle(mark(&mail));
                }
            }
        }
    }

    fn send(&self, mark: Mark) {
        assert!(self.mailbox.deliver(message(mark)).is_ok(), "{mark:?} was refused");
    }

    /// Sends if the mailbox is open.
    fn try_send(&self, mark: Mark) -> bool {
        match self.mailbox.deliver(message(mark)) {
            Ok(_) => true,
            Err((refusal, _)) => {
                assert_eq!(refusal, Refusal::Closed);
                false
            }
        }
    }

    /// Sends once there is room, if the mailbox is open.
    fn send_blocking(&self, mark: Mark) -> bool {
        let mut mail = message(mark);
        loop {
            match self.mailbox.deliver(mail) {
                Ok(_) => return true,
                Err((Refusal::Full(_), refused)) => {
                    block_on(self.mailbox.room(refused.size()));
                    mail = refused;
                }
                Err((refusal, _)) => {
                    assert_eq!(refusal, Refusal::Closed);
                    return false;
                }
            }
        }
    }

    /// Runs the guest on this thread if nobody else does, as a call from C does.
    fn call(&self, mark: Mark) {
        match self.mailbox.try_acquire(&[], false).unwrap() {
            Acquire::Acquired(_) => {
                self.guest.handle(mark);
                self.mailbox.release();
            }
            Acquire::Busy => self.send(mark),
            Acquire::Closed => panic!("{mark:?} found a closed mailbox"),
        }
    }

    /// Waits until this much mail is handled, without help by the last mail.
    fn wait_for(&self, count: usize) {
        let done = self.done.lock().unwrap();
        (0..count).for_each(|_| done.recv().unwrap());
    }

    fn close(&self, keep: bool) -> Vec<Mark> {
        let removed = self.mailbox.close(Mail::Shutdown(Reply::nobody()), keep);
        removed.expect("it is closed once").iter().map(mark).collect()
    }

    /// Waits for the end of the task of a closed mailbox; returns what was handled before the
    /// shutdown.
    fn end(&self) -> Vec<Mark> {
        let thread = self.thread.lock().unwrap().take();
        thread.expect("the last mail starts the task").join().unwrap();
        let mut handled = self.guest.handled();
        assert_eq!(handled.pop(), Some(SHUTDOWN), "it is the last mail");
        assert_eq!(self.mailbox.depth(), (0, 0));
        assert!(self.mailbox.is_idle() && self.mailbox.waiting() == 0);
        handled
    }
}

fn on_thread<R: 'static>(
    actor: &Arc<Actor>,
    run: impl FnOnce(&Actor) -> R + 'static,
) -> JoinHandle<R> {
    let actor = Arc::clone(actor);
    thread::spawn(move || run(&actor))
}

fn of(sender: u8, handled: &[Mark]) -> Vec<u8> {
    handled.iter().filter(|mark| mark.0 == sender).map(|mark| mark.1).collect()
}

#[test]
fn mail_of_two_senders_is_handled_once_and_in_order() {
    bounded_model(4, || {
        let actor = Actor::idle(Task::Plain);
        let sender = on_thread(&actor, |actor| {
            actor.send((0, 0));
            actor.send((0, 1));
        });
        actor.send((1, 0));
        actor.send((1, 1));
        sender.join().unwrap();
        actor.wait_for(4);
        actor.close(true);
        let handled = actor.end();
        assert_eq!(of(0, &handled), [0, 1]);
        assert_eq!(of(1, &handled), [0, 1]);
        assert_eq!(handled.len(), 4);
    });
}

fn a_direct_caller_and_a_sender(task: Task) {
    let actor = Actor::idle(task);
    let sender = on_thread(&actor, |actor| {
        actor.send((0, 0));
        actor.send((0, 1));
    });
    actor.call((1, 0));
    sender.join().unwrap();
    actor.wait_for(3);
    actor.close(true);
    let handled = actor.end();
    assert_eq!(of(0, &handled), [0, 1]);
    assert_eq!(of(1, &handled), [0]);
    assert_eq!(handled.len(), 3);
}

#[test]
fn a_direct_caller_and_the_task_take_turns() {
    bounded_model(5, || a_direct_caller_and_a_sender(Task::Plain));
}

#[test]
fn a_direct_caller_and_a_parked_task_take_turns() {
    bounded_model(5, || a_direct_caller_and_a_sender(Task::Parks));
}

#[test]
fn a_parked_task_handles_mail_of_two_senders() {
    model(|| {
        let actor = Actor::idle(Task::Parks);
        let sender = on_thread(&actor, |actor| actor.send((0, 0)));
        actor.send((1, 0));
        sender.join().unwrap();
        actor.wait_for(2);
        actor.close(true);
        let mut handled = actor.end();
        handled.sort();
        assert_eq!(handled, [(0, 0), (1, 0)]);
    });
}

/// Closes while another thread sends.
fn close_against_a_sender(task: Task, keep: bool) {
    let actor = Actor::idle(task);
    let sender = on_thread(&actor, |actor| {
        let first = actor.try_send((0, 0));
        let second = actor.try_send((0, 1));
        assert!(first || !second, "a closed mailbox opened again");
        usize::from(first) + usize::from(second)
    });
    let removed = actor.close(keep);
    let accepted = sender.join().unwrap();
    let handled = actor.end();
    assert!(!keep || removed.is_empty());
    let fates = [handled, removed].concat();
    assert_eq!(fates, [(0, 0), (0, 1)][..accepted], "accepted mail is handled or removed");
}

#[test]
fn a_close_that_keeps_mail_against_a_sender() {
    model(|| close_against_a_sender(Task::Plain, true));
}

#[test]
fn a_close_that_removes_mail_against_a_sender() {
    model(|| close_against_a_sender(Task::Plain, false));
}

#[test]
fn a_close_wakes_a_parked_task() {
    model(|| close_against_a_sender(Task::Parks, true));
}

fn senders_wait_for_room(max_host_bytes: u64) {
    let actor = Actor::narrow(max_host_bytes);
    actor.mailbox.release();
    let sender = on_thread(&actor, |actor| assert!(actor.send_blocking((0, 0))));
    assert!(actor.send_blocking((1, 0)));
    sender.join().unwrap();
    actor.wait_for(2);
    actor.close(true);
    let mut handled = actor.end();
    handled.sort();
    assert_eq!(handled, [(0, 0), (1, 0)]);
}

#[test]
fn senders_get_room_when_mail_is_taken() {
    bounded_model(4, || senders_wait_for_room(u64::MAX));
}

#[test]
fn senders_get_room_when_mail_is_handled() {
    // The message in progress fills the account.
    bounded_model(4, || senders_wait_for_room(message((0, 0)).size()));
}

#[test]
fn a_close_wakes_a_sender_that_waits_for_room() {
    for keep in [true, false] {
        model(move || {
            let actor = Actor::narrow(u64::MAX);
            actor.send((0, 0));
            let sender = on_thread(&actor, |actor| actor.send_blocking((1, 0)));
            let removed = actor.close(keep);
            // Before the mailbox is released: only the close can have woken the sender.
            assert!(!sender.join().unwrap(), "there was no room");
            actor.mailbox.release();
            let fates = [actor.end(), removed].concat();
            assert_eq!(fates, [(0, 0)]);
        });
    }
}

#[test]
fn a_drain_wakes_a_sender_that_waits_for_room() {
    model(|| {
        let actor = Actor::narrow(u64::MAX);
        actor.send((0, 0));
        let sender = on_thread(&actor, |actor| actor.send_blocking((1, 0)));
        let removed: Vec<Mark> = actor.mailbox.drain().iter().map(mark).collect();
        assert!(!sender.join().unwrap(), "there was no room");
        assert_eq!(removed, [(0, 0)]);
        assert_eq!(actor.mailbox.depth(), (0, 0));
    });
}
