//! The host functions of the loop in a guest.

use std::future::poll_fn;
use std::task::Poll;

use wasmtime::component::{Linker, WasmList};
use wasmtime::error::Context as _;
use wasmtime::{StoreContextMut, bail};

use crate::core::error::WasmError;
use crate::runtime::call_end::Interrupted;
use crate::runtime::contract::ErrorText;
use crate::runtime::driver::attach::{ANSWER, NEXT, TAKE, TAKE_SMALL, TAKE_TINY};
use crate::runtime::driver::source::{Coming, Driven, MailSource, Usage};
use crate::runtime::state::{HostState, make_ready};

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

/// Returns whether an import is one of the loop.
pub fn is_added(import: &str) -> bool {
    [NEXT, TAKE, TAKE_SMALL, TAKE_TINY, ANSWER].contains(&import)
}

async fn next(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<(u64,)> {
    let left = store.get_fuel()?;
    let state = store.data_mut();
    let memory_bytes = state.limiter.memory_bytes();
    let Driven { fuel, limit, ticks, began, .. } = driven(state)?;
    if ticks.have_passed(*began, *limit) {
        return Err(Interrupted::DeadlinePassed.into());
    }
    let fuel = *fuel;
    let used = fuel.saturating_sub(left);
    let mut previous = Some(Usage { fuel: used, memory_bytes });
    store.data().context.timers.pace().note_work(used);
    // The mailbox wakes the task that polls this call, so no waker is registered here.
    let coming = poll_fn(|_| {
        let Ok(Driven { source, progress, .. }) = driven(store.data_mut()) else {
            return Poll::Ready(None);
        };
        let polled = source.exchange(previous.take());
        progress.set_waiting(polled.is_pending());
        polled
    });
    let coming = coming.await;
    let seen = store.data().context.timers.interrupts().seen();
    let driven = driven(store.data_mut())?;
    driven.began = driven.ticks.now();
    driven.progress.renew(driven.began, seen);
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
