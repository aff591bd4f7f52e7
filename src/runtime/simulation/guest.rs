//! Tasks that behave like components: they handle mail, compute in slices, wait, and wake each
//! other.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::core::interrupts::Seen;
use crate::runtime::pace::{CallTime, Pace, SHORT_WORK_FUEL};
use crate::runtime::simulation::world::World;

/// The maximum number of ticks that a guest computes for one message.
const TICKS: u64 = 40;

/// The maximum number of messages that two guests exchange.
const ROUNDS: u64 = 200;

/// On a rough system, one turn in this many is held up.
const ONE_HELD_UP_IN: u64 = 20;

pub enum Mail {
    Work,
    /// To be sent back this many times.
    Back(Arc<Guest>, u64),
}

#[derive(Default)]
pub struct Guest {
    pub number: usize,
    pub pace: Arc<Pace>,
    pub mail: Mutex<VecDeque<Mail>>,
    /// Set while the guest waits for mail.
    pub waiting: Mutex<Option<Waker>>,
    /// Set while the guest sleeps.
    pub sleeping: Mutex<Option<Waker>>,
    pub interrupted: AtomicBool,
}

#[derive(PartialEq, Eq)]
enum Handled {
    GoesOn,
    IsDone,
}

impl Guest {
    pub fn new(number: usize) -> Self {
        Self { number, ..Self::default() }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.swap(false, Ordering::Relaxed)
    }
}

/// The life of a guest.
pub fn run(world: Arc<World>, guest: Arc<Guest>) -> impl Future<Output = ()> + Send {
    let owned = Owned { world: Arc::clone(&world), number: guest.number };
    let watched = (Arc::clone(&world), guest.number);
    let work = async move {
        let _owned = owned;
        loop {
            let mail = world.mail(&guest).await;
            if world.handle(&guest, mail).await == Handled::IsDone {
                return;
            }
            if guest.pace.turn_is_over(&world.machine.ticks) {
                world.give_way(&guest).await;
            }
        }
    };
    Watched { work, world: watched.0, number: watched.1 }
}

/// Tells the model when the task is dropped.
struct Owned {
    world: Arc<World>,
    number: usize,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.world.model.dropped(self.number);
    }
}

pin_project! {
    /// Reports each turn to the model.
    struct Watched<F> {
        #[pin]
        work: F,
        world: Arc<World>,
        number: usize,
    }
}

/// Ends the turn, even after a panic.
struct Turn<'a>(&'a World, usize, Poll<()>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.model.ends(self.1, self.2.is_ready());
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.world.model.begins(*this.number);
        let mut turn = Turn(this.world, *this.number, Poll::Ready(()));
        turn.2 = this.work.poll(cx);
        turn.2
    }
}

impl World {
    async fn mail(&self, guest: &Guest) -> Mail {
        poll_fn(|cx| {
            if let Some(mail) = guest.mail.lock().unwrap().pop_front() {
                return Poll::Ready(mail);
            }
            *guest.waiting.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    async fn handle(self: &Arc<Self>, guest: &Arc<Guest>, mail: Mail) -> Handled {
        let random = &self.machine.random;
        self.machine.pass(Duration::from_micros(1 + random.below(30)));
        if let Mail::Back(to, left) = mail {
            if left > 0 && !self.model.has_ended(to.number) {
                self.send(&to, Mail::Back(Arc::clone(guest), left - 1));
            }
            return Handled::GoesOn;
        }
        if self.is_rough && random.one_in(ONE_HELD_UP_IN) {
            self.machine.pass(Duration::from_millis(random.below(30)));
        }
        for _ in 0..random.below(3) {
            match random.below(24) {
                0..=5 => self.send_to_any(Mail::Work),
                6 => (0..2 + random.below(3)).for_each(|_| self.send_to_any(Mail::Work)),
                7 => self.send_to_any(Mail::Back(Arc::clone(guest), random.below(ROUNDS))),
                8 | 9 => self.compute(guest, random.below(3)).await,
                10..=14 => self.compute(guest, random.below(TICKS)).await,
                15 | 16 => self.sleep(guest).await,
                17 | 18 => self.give_way(guest).await,
                19 => self.add_guest(),
                20 if self.has_defects && random.one_in(2) => resume_unwind(Box::new("a defect")),
                21 if random.one_in(8) => return Handled::IsDone,
                _ => self.machine.step(),
            }
        }
        Handled::GoesOn
    }

    pub fn send_to_any(&self, mail: Mail) {
        if let Some(to) = self.any_guest() {
            self.send(&to, mail);
        }
    }

    /// Computes for `ticks` ticks, or until the guest is interrupted or its deadline passes.
    async fn compute(self: &Arc<Self>, guest: &Arc<Guest>, ticks: u64) {
        let (machine, pace) = (&self.machine, &guest.pace);
        let limit = machine.random.pick(&[0, 3, 20, 1000]);
        let due = machine.now() + Duration::from_millis(limit);
        let mut long_slice = None;
        for _ in 0..ticks {
            let is_over = match long_slice {
                None => pace.turn_is_over(&machine.ticks),
                Some(began) => machine.ticks.long_slice_is_over(began),
            };
            if is_over {
                self.note_work(guest);
                if !pace.is_in_call() {
                    pace.begin_call(CallTime { deadline: machine.instant(due), seen: Seen(0) });
                    self.model.begin_call(guest.number);
                    self.expedite_at(due, guest).await;
                }
                self.give_way(guest).await;
                if guest.is_interrupted() || machine.now() >= due {
                    break;
                }
                long_slice = Some(machine.ticks.now());
            }
            machine.pass_a_tick();
            self.note_work(guest);
        }
        if pace.is_in_call() {
            self.forget_deadline(guest.number);
            pace.end_call();
            self.model.end_call(guest.number);
        }
    }

    fn note_work(&self, guest: &Guest) {
        guest.pace.note_work(SHORT_WORK_FUEL);
        self.model.worked(guest.number);
    }

    async fn give_way(&self, guest: &Guest) {
        let mut given = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut given, true) {
                return Poll::Ready(());
            }
            self.model.woken(guest.number);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Sleeps until a time or an interrupt.
    async fn sleep(&self, guest: &Arc<Guest>) {
        let until = self.machine.now() + self.moment();
        poll_fn(|cx| {
            if self.machine.now() >= until || guest.is_interrupted() {
                return Poll::Ready(());
            }
            *guest.sleeping.lock().unwrap() = Some(cx.waker().clone());
            self.wake_at(until, guest, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
