//! The host's side of the loop in a guest.

use std::any::Any;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::component::{Linker, WasmList};
use wasmtime::error::Context as _;
use wasmtime::{StoreContextMut, bail};

use crate::core::error::WasmError;
use crate::runtime::contract::ErrorText;
use crate::runtime::drive::Progress;
use crate::runtime::driver::attach::{ANSWER, NEXT, TAKE, TAKE_SMALL, TAKE_TINY};
use crate::runtime::driver::small::{Form, Shape, SmallMessage, TinyMessage};
use crate::runtime::instance::make_ready;
use crate::runtime::state::HostState;
use crate::runtime::ticker::{Moment, Ticks};
use crate::runtime::timers::Interrupted;

/// The source of a guest's messages, and the destination of their outcomes.
pub trait MailSource: Any + Send {
    /// Takes the handler's reply or error. Not called for a handler without either.
    fn answer(&mut self, answer: Result<Option<&[u8]>, WasmError>);

    /// Ends the previous message, if there was one, with the fuel that it used and the guest's
    /// memory size.
    fn handled(&mut self, fuel: u64, memory_bytes: u64);

    /// Returns the next message's handler and shape, or `None` to end the call. While it is
    /// pending, the guest keeps its stack.
    fn poll_next(&mut self) -> Poll<Option<Coming>>;

    /// Takes that message.
    fn take(&mut self) -> Option<Record>;

    /// Takes that message if it is small.
    fn take_small(&mut self) -> Option<SmallMessage>;

    /// Takes that message if it is tiny.
    fn take_tiny(&mut self) -> Option<TinyMessage>;
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
    fn word(self) -> u64 {
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

/// A handler's result: its reply, or the case and the text of an error.
type HandlerResult = Result<Option<WasmList<u8>>, (u32, ErrorText)>;

const NO_LOOP: &str = "no loop runs in this guest";

/// Links the imports of the loop.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut root = linker.root();
    root.func_wrap_async(NEXT, |store, (): ()| Box::new(next(store)))?;
    root.func_wrap(TAKE, |store, (): ()| take(store, MailSource::take))?;
    root.func_wrap(TAKE_SMALL, |store, (): ()| take(store, MailSource::take_small))?;
    root.func_wrap(TAKE_TINY, |store, (): ()| take(store, MailSource::take_tiny))?;
    root.func_wrap(ANSWER, answer)
}

async fn next(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<(u64,)> {
    let left = store.get_fuel()?;
    let state = store.data_mut();
    let memory_bytes = state.limiter.memory_bytes();
    let Driven { source, fuel, limit, ticks, began, .. } = driven(state)?;
    if ticks.have_passed(*began, *limit) {
        return Err(Interrupted::DeadlinePassed.into());
    }
    let fuel = *fuel;
    let used = fuel.saturating_sub(left);
    source.handled(used, memory_bytes);
    store.data().context.timers.pace().note_work(used);
    // The mailbox wakes the task that polls this call, so no waker is registered here.
    let coming = poll_fn(|_| {
        let Ok(Driven { source, progress, .. }) = driven(store.data_mut()) else {
            return Poll::Ready(None);
        };
        let polled = source.poll_next();
        progress.set_waiting(polled.is_pending());
        polled
    });
    let coming = coming.await;
    let seen = store.data().context.timers.interrupts().seen();
    let driven = driven(store.data_mut())?;
    driven.progress.renew(seen);
    driven.began = driven.ticks.now();
    make_ready(&mut store, fuel);
    Ok((coming.map_or(0, Coming::word),))
}

fn take<T>(
    mut store: StoreContextMut<'_, HostState>,
    form: fn(&mut (dyn MailSource + 'static)) -> Option<T>,
) -> wasmtime::Result<(T,)> {
    let message = form(&mut *driven(store.data_mut())?.source);
    message.map(|message| (message,)).context("no such message is there")
}

fn answer(
    mut store: StoreContextMut<'_, HostState>,
    (outcome,): (HandlerResult,),
) -> wasmtime::Result<()> {
    let (reply, failure) = match outcome {
        Ok(reply) => (reply, None),
        Err((case, text)) => (None, Some(error(case, text.into())?)),
    };
    // Taken out, so that it can read the guest's memory.
    let mut driven = store.data_mut().driven.take().context(NO_LOOP)?;
    let reply = reply.as_ref().map(|reply| reply.as_le_slice(&store));
    driven.source.answer(failure.map_or(Ok(reply), Err));
    store.data_mut().driven = Some(driven);
    Ok(())
}

fn driven(state: &mut HostState) -> wasmtime::Result<&mut Driven> {
    state.driven.as_mut().context(NO_LOOP)
}

/// Returns the case of `wasm-error` with this number.
fn error(case: u32, text: String) -> wasmtime::Result<WasmError> {
    Ok(match case {
        0 => WasmError::ComponentNotFound(text),
        1 => WasmError::InstantiationFailed(text),
        2 => WasmError::ExportNotFound(text),
        3 => WasmError::Timeout,
        4 => WasmError::ResourceLimitExceeded(text),
        5 => WasmError::InvalidComponent(text),
        6 => WasmError::RuntimeError(text),
        _ => bail!("wasm-error has no case {case}"),
    })
}
