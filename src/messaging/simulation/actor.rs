//! An actor like `component::actor` with a random guest.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::core::error::{CallError, WasmError};
use crate::core::id::{CorrelationId, RawId};
use crate::core::message::Message;
use crate::core::payload::Payload;
use crate::core::ports::{Handover, Messenger as _, Sending};
use crate::messaging::mail::Mail;
use crate::messaging::mailbox::{MailHandler, Mailbox};
use crate::messaging::messenger::ComponentMessenger;
use crate::messaging::queue::{Intake, Runner};
use crate::messaging::reply::{Reply, Waiter};
use crate::messaging::simulation::executor::{give_way, within};
use crate::messaging::simulation::model::{Ended, Requester, number, payload, sender};
use crate::messaging::simulation::world::World;

/// The maximum number of messages handled in one turn.
const BATCH: u64 = 6;

pub struct Actor {
    pub number: usize,
    pub mailbox: Arc<Mailbox>,
    pub is_closed: AtomicBool,
    /// It was stopped once: outcomes of its requests may have been dropped.
    pub was_stopped: AtomicBool,
    /// The actor gets no more mail.
    is_over: AtomicBool,
    world: Weak<World>,
    messenger: ComponentMessenger,
    /// Its requests, open and closed.
    requests: Mutex<Vec<CorrelationId>>,
}

impl MailHandler for Actor {
    fn start(self: Arc<Self>) {
        let Some(world) = self.world.upgrade() else { return };
        world.executor.spawn("actor", async move { self.work().await });
    }
}

impl Actor {
    pub fn new(
        world: &Arc<World>,
        number: usize,
        mailbox: Arc<Mailbox>,
        messenger: ComponentMessenger,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            mailbox,
            is_closed: AtomicBool::new(false),
            was_stopped: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            world: Arc::downgrade(world),
            messenger,
            requests: Mutex::default(),
        })
    }

    pub fn open(self: &Arc<Self>) {
        let receiver: Weak<Self> = Arc::downgrade(self);
        self.mailbox.connect(receiver);
        self.mailbox.release();
    }

    fn world(&self) -> Arc<World> {
        self.world.upgrade().expect("it runs this")
    }

    async fn work(&self) {
        let random = Arc::clone(&self.world().random);
        loop {
            let mut left = 1 + random.below(BATCH);
            while left > 0 {
                let Some(mut mail) = self.mailbox.next().await else { return };
                left -= 1;
                // A guest with a loop keeps the right to run between messages.
                let asks = random.one_in(2);
                loop {
                    self.handle(mail).await;
                    if !asks || left == 0 {
                        break;
                    }
                    let takes =
                        |mail: &Mail| mail.payload_bytes() < 300 && mail.message().is_some();
                    let Some(next) = poll_fn(|_| self.mailbox.poll_kept(takes)).await else {
                        break;
                    };
                    (mail, left) = (next, left - 1);
                }
            }
            give_way().await;
        }
    }

    async fn handle(&self, mail: Mail) {
        assert!(!self.is_over.load(Ordering::Relaxed), "mail after the end");
        self.is_over.store(matches!(mail, Mail::Shutdown(_)), Ordering::Relaxed);
        match mail {
            Mail::Message(message, reply) => {
                let number = self.begin(&message);
                let how = self.act().await;
                self.end_message(number, reply, how);
            }
            Mail::Callback(callback) => {
                self.world().model.called_back(self.number, &callback);
                self.act().await;
            }
            Mail::Start(reply) => {
                self.mailbox.reopen();
                reply.answer(Ok(None));
            }
            Mail::Recovery(at) => {
                let world = self.world();
                self.mailbox.rest(Runner::Resting, world.executor.sleep_until(at)).await;
            }
            Mail::Regroup(_)
            | Mail::Probe
            | Mail::Passivate
            | Mail::Recycle
            | Mail::Save
            | Mail::Judge => {}
            Mail::Health(reply)
            | Mail::Restart(reply)
            | Mail::Replace(reply)
            | Mail::Stop(reply)
            | Mail::Shutdown(reply) => reply.answer(Ok(None)),
        }
    }

    fn begin(&self, message: &Message) -> u64 {
        let number = number(message);
        self.world().model.begun(self.number, sender(message), number);
        number
    }

    /// Handles a message that bypasses the queue. The caller holds the right to run.
    pub async fn handle_directly(&self, sender: usize, number: u64) -> Ended {
        let model = Arc::clone(&self.world().model);
        model.begun(self.number, sender, number);
        let how = self.act().await;
        model.ended(number, how);
        self.mailbox.release();
        how
    }

    fn end_message(&self, number: u64, reply: Reply, how: Ended) {
        self.world().model.ended(number, how);
        if reply.is_nobody() {
            return;
        }
        self.mailbox.nearly_done();
        match how {
            Ended::Replied(0) => reply.answer(Ok(None)),
            Ended::Replied(bytes) => reply.answer(Ok(Some(vec![0; bytes]))),
            Ended::Failed => {
                let error = WasmError::RuntimeError("it would not".into());
                reply.answer(Err(CallError::Guest(error)));
            }
            Ended::Lost => drop(reply),
        }
    }

    /// Handles a message. Boxed, because handling can recurse.
    fn act(&self) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>> {
        Box::pin(async move {
            let world = self.world();
            for _ in 0..world.random.below(3) {
                match world.random.below(12) {
                    0..=2 => world.executor.sleep(world.moment()).await,
                    3 => give_way().await,
                    4..=6 => self.send().await,
                    7..=9 => self.request().await,
                    10 => self.cancel(),
                    _ => {
                        let node = Some(self.mailbox.node());
                        crate::messaging::simulation::host::call(&world, self.number, node).await;
                    }
                }
            }
            match world.random.below(24) {
                20 => {
                    let at = world.executor.now() + world.moment();
                    let _ = self.mailbox.deliver(Mail::Recovery(at));
                    Ended::Failed
                }
                21 if world.random.one_in(4) => {
                    self.fail().await;
                    Ended::Failed
                }
                0 => Ended::Lost,
                1 | 2 => Ended::Failed,
                3 => Ended::Replied(0),
                4 => Ended::Replied(4000),
                _ => Ended::Replied(1 + world.random.index(900)),
            }
        })
    }

    async fn send(&self) {
        let world = self.world();
        let send = |id: RawId<'_>, payload| self.messenger.send(id, payload, Sending::Single);
        let number = world.model.offer(self.number);
        let sent = self.hand_over(&world, number, send).await;
        if sent.is_some() {
            world.model.accepted(number);
        } else {
            world.model.refused(number);
        }
    }

    async fn request(&self) {
        let world = self.world();
        let far = world.executor.now() + Duration::from_secs(600);
        let deadline = world.patience().unwrap_or(far);
        let request = |id: RawId<'_>, payload| self.messenger.request(id, payload, deadline);
        let number = world.model.offer(self.number);
        match self.hand_over(&world, number, request).await {
            Some(id) => {
                world.model.accepted(number);
                let of = Requester::Component(self.number);
                world.model.opened(of, number, Some(deadline), id);
                self.requests.lock().unwrap().push(id);
            }
            None => world.model.refused(number),
        }
    }

    /// Retries until the message is accepted or refused, or the guest's time is over.
    async fn hand_over<T>(
        &self,
        world: &Arc<World>,
        number: u64,
        attempt: impl Fn(RawId<'_>, Payload) -> Handover<T>,
    ) -> Option<T> {
        let (id, limit) = (world.any_id(), world.patience());
        let bytes = payload(number, self.number, world.random.index(500));
        let (namespace, name, instance) = (id.namespace(), id.name(), id.instance());
        loop {
            let raw = RawId { namespace, name, instance };
            match attempt(raw, Payload::copy_of(&bytes)) {
                Handover::Done(result) => return result.ok(),
                Handover::Wait(room) => {
                    world.model.trace("waits for room, sent by", number, self.number as u64);
                    within(world.over(limit), room).await?;
                    give_way().await;
                }
                Handover::AskHost(_) => unreachable!("there is no router"),
            }
        }
    }

    fn cancel(&self) {
        let world = self.world();
        let mut requests = self.requests.lock().unwrap();
        if requests.is_empty() {
            return;
        }
        let at = world.random.index(requests.len());
        let id = requests.swap_remove(at);
        drop(requests);
        if self.messenger.cancel_request(&id.to_string()).is_ok() {
            world.model.cancelled(id);
        }
    }

    /// Stops the actor, as an engine does, and starts it again after a while.
    pub async fn stop_and_start(&self, hurried: bool) {
        let world = self.world();
        self.was_stopped.store(true, Ordering::Relaxed);
        if let Err(stop) = self.mailbox.stop(Mail::Stop(Reply::nobody())) {
            return stop.withdraw();
        }
        world.model.trace("stopped", self.number as u64, u64::from(hurried));
        world.executor.sleep(world.moment()).await;
        if hurried {
            self.mailbox.dead_letter(self.mailbox.hurry(), &CallError::Stopped);
            world.executor.sleep(world.moment()).await;
        }
        let _ = self.mailbox.start(Mail::Start(Reply::nobody()));
    }

    /// Fails the actor: all its mail is answered. It is started again after a while.
    async fn fail(&self) {
        let world = self.world();
        let Some(removed) = self.mailbox.shut(Intake::Failed) else { return };
        self.was_stopped.store(true, Ordering::Relaxed);
        world.model.trace("failed", self.number as u64, 0);
        self.mailbox.dead_letter(removed, &CallError::Failed);
        let mailbox = Arc::clone(&self.mailbox);
        world.executor.spawn("starter", {
            let world = Arc::clone(&world);
            async move {
                world.executor.sleep(world.moment()).await;
                let _ = mailbox.start(Mail::Start(Reply::nobody()));
            }
        });
    }

    /// Closes the actor and waits for its end.
    pub async fn end(&self, gracefully: bool) {
        let world = self.world();
        self.is_closed.store(true, Ordering::Relaxed);
        if !gracefully && self.mailbox.close_idle() {
            return;
        }
        let (waiter, reply) = Waiter::with_reply();
        let Some(removed) = self.mailbox.close(Mail::Shutdown(reply), gracefully) else { return };
        self.mailbox.dead_letter(removed, &CallError::Unloaded);
        let ended = move || match waiter.wait(Some(Duration::ZERO)) {
            Err(CallError::CallerTimeout { .. }) => None,
            _ => Some(()),
        };
        world.executor.until(ended).await;
    }
}
