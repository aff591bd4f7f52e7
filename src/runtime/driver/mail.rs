//! What the loop in a guest asks the host for.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use wasmtime::component::{Linker, WasmList, WasmStr};
use wasmtime::error::Context as _;
use wasmtime::{StoreContextMut, bail};

use crate::core::error::WasmError;
use crate::runtime::driver::attach::{ANSWER, NEXT, TAKE, TAKE_SMALL};
use crate::runtime::driver::small::SmallMessage;
use crate::runtime::instance::make_ready;
use crate::runtime::state::HostState;

/// Where a guest's messages come from, and where their outcomes go.
pub trait MailSource: Send + Sync {
    /// What the handler answered, if not nothing.
    fn answer(&self, answer: Result<Option<&[u8]>, WasmError>);

    /// The handler is done with the message before, if there was one: the fuel that took, and the
    /// memory the guest has.
    fn handled(&self, fuel: u64, memory_bytes: u64);

    /// Which handler the next message is for; `None`: the call is to end. A guest that waits keeps
    /// its stack.
    fn poll_next(&self) -> Poll<Option<Coming>>;

    /// That message.
    fn take(&self) -> Option<Record>;

    /// That message, if it is a small one.
    fn take_small(&self) -> Option<SmallMessage>;
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coming {
    /// Which handler it is for.
    pub handler: HandlerKind,
    /// Whether it is a small one.
    pub small: bool,
}

/// Which handler a message is for, as `driver.wat` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerKind {
    /// `handle-message`.
    Message = 1,
    /// `handle-callback`.
    Callback = 2,
}

/// A component id that the lowering of a result can own: namespace, name, instance.
pub type Id = (Arc<str>, Arc<str>, Arc<str>);

/// A `component-message`, as nested tuples: sender, payload, metadata; of that the correlation id,
/// whom to reply to, the time, and the content type.
pub type Record = (Id, Arc<Vec<u8>>, (Option<String>, Option<Id>, Timestamp, Option<Arc<str>>));
type Timestamp = (u64, u32);

/// The call of a loop that is under way.
pub struct Driven {
    /// What it asks.
    pub source: Arc<dyn MailSource>,
    /// How much fuel each message has.
    pub fuel: u64,
}

/// As `driver.wat` has it.
const WHOLE: u32 = 4;

type Answer = (Result<Option<WasmList<u8>>, (u32, WasmStr)>,);

/// Links what the loop imports.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut root = linker.root();
    root.func_wrap_async(NEXT, |store, (): ()| Box::new(next(store)))?;
    root.func_wrap(TAKE, |store, (): ()| take(&store))?;
    root.func_wrap(TAKE_SMALL, |store, (): ()| take_small(&store))?;
    root.func_wrap(ANSWER, |store, (outcome,): Answer| answer(&store, &outcome))
}

async fn next(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<(u32,)> {
    let Some(driven) = &store.data().driven else { bail!("no loop runs in this guest") };
    let (source, fuel) = (Arc::clone(&driven.source), driven.fuel);
    let used = fuel - store.get_fuel()?.min(fuel);
    source.handled(used, store.data().limiter.memory_bytes());
    let progress = Arc::clone(&store.data().progress);
    // Woken as the task is that polls the call, whose mailbox it is.
    let coming = poll_fn(|_| {
        let polled = source.poll_next();
        progress.set_waiting(polled.is_pending());
        polled
    });
    let coming = coming.await;
    progress.renew();
    make_ready(&mut store, fuel);
    Ok((coming.map_or(0, |coming| coming.handler as u32 | if coming.small { 0 } else { WHOLE }),))
}

fn take(store: &StoreContextMut<'_, HostState>) -> wasmtime::Result<(Record,)> {
    let record = store.data().driven.as_ref().and_then(|driven| driven.source.take());
    record.map(|record| (record,)).context("there is no message")
}

fn take_small(store: &StoreContextMut<'_, HostState>) -> wasmtime::Result<(SmallMessage,)> {
    let small = store.data().driven.as_ref().and_then(|driven| driven.source.take_small());
    small.map(|small| (small,)).context("there is no small message")
}

fn answer(
    store: &StoreContextMut<'_, HostState>,
    outcome: &Result<Option<WasmList<u8>>, (u32, WasmStr)>,
) -> wasmtime::Result<()> {
    let Some(driven) = &store.data().driven else { bail!("no loop runs in this guest") };
    let answer = match outcome {
        Ok(reply) => Ok(reply.as_ref().map(|reply| reply.as_le_slice(store))),
        Err((case, text)) => Err(error(*case, text.to_str(store)?.into_owned())?),
    };
    driven.source.answer(answer);
    Ok(())
}

/// The case of `wasm-error` with that number.
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
