//! The interface `host-services`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::core;
use crate::core::bounds::{MAX_LOG_PAIR_BYTES, MAX_LOG_PAIRS, MAX_LOG_TEXT_BYTES};
use crate::core::error;
use crate::core::id::{InvalidId, RawId};
use crate::core::message;
use crate::core::ports;
use crate::runtime::contract::{
    self, ComponentError, ComponentId, ComponentIdOwned, ComponentInfo, LogLevel, Timestamp,
};
use crate::runtime::host::interface::{Immediate, Interface};
use crate::runtime::host_context::HostContext;
use crate::runtime::lifting::{ArgumentText, NotText};
use crate::runtime::state::HostState;
use crate::security::action::Action;

type LogArguments =
    (LogLevel, ArgumentText<MAX_LOG_TEXT_BYTES>, Option<WasmList<(PairText, PairText)>>);
type PairText = ArgumentText<MAX_LOG_PAIR_BYTES>;
type Pairs = Vec<(String, String)>;

/// The number of listed components examined per turn.
const LOOKED_AT_A_TURN: usize = 64;

/// Adds the interface to a linker.
pub fn link(
    linker: &mut Linker<HostState>,
    immediate: &mut Immediate,
    log_runs_host_code: bool,
) -> wasmtime::Result<()> {
    let mut interface = Interface::new(contract::SERVICES, linker, immediate)?;
    if log_runs_host_code {
        interface.waiting("log", |store, arguments: LogArguments| {
            Box::new(log_off_fiber(store, arguments))
        })?;
    } else {
        interface.immediate("log", |mut store, (level, text, list): LogArguments| {
            let text = text.read("message")?;
            if store.data().context.log.enabled(level.into()) {
                let pairs = pairs(&mut store, list)?;
                let (context, now) = (&store.data().context, message::Timestamp::now());
                context.write_record(level.into(), &text, &pairs, now);
            }
            Ok(())
        })?;
    }
    interface.immediate("current-time", current_time)?;
    interface.immediate("current-time-millis", current_time_millis)?;
    interface.waiting("sleep-millis", |store, (duration_ms,): (u64,)| {
        Box::new(sleep(store, Duration::from_millis(duration_ms)))
    })?;
    interface.waiting("list-components", |store, (): ()| Box::new(list_components(store)))?;
    interface.immediate("get-component-metadata", get_component_metadata)
}

async fn log_off_fiber(
    mut store: StoreContextMut<'_, HostState>,
    (level, text, list): LogArguments,
) -> wasmtime::Result<()> {
    let (context, level) = (Arc::clone(&store.data().context), level.into());
    let text = text.read("message").map_err(|error| NotText::named(error, "log"))?;
    if context.log.enabled(level) {
        let pairs = pairs(&mut store, list).map_err(|error| NotText::named(error, "log"))?;
        let off_fiber = store.data().off_fiber.clone();
        let job = move || context.write_record(level, &text, &pairs, message::Timestamp::now());
        off_fiber.run(job).await;
    }
    Ok(())
}

/// Returns the first pairs of a record, and a last one with the number of omitted pairs.
fn pairs(
    store: &mut StoreContextMut<'_, HostState>,
    list: Option<WasmList<(PairText, PairText)>>,
) -> wasmtime::Result<Pairs> {
    let Some(list) = list else { return Ok(Pairs::new()) };
    let mut pairs = Pairs::with_capacity(list.len().min(MAX_LOG_PAIRS + 1));
    for pair in list.iter(&mut *store)?.take(MAX_LOG_PAIRS) {
        let (key, value) = pair?;
        pairs.push((key.read("context")?, value.read("context")?));
    }
    if let Some(more @ 1..) = list.len().checked_sub(MAX_LOG_PAIRS) {
        pairs.push(("…".into(), format!("{more} more pairs")));
    }
    Ok(pairs)
}

fn current_time(store: StoreContextMut<'_, HostState>, (): ()) -> wasmtime::Result<(Timestamp,)> {
    Ok((now(&store)?.into(),))
}

fn current_time_millis(store: StoreContextMut<'_, HostState>, (): ()) -> wasmtime::Result<(u64,)> {
    let now = now(&store)?;
    Ok((now.seconds() * 1000 + u64::from(now.nanoseconds() / 1_000_000),))
}

/// Returns the time if the component may know it. Trapping is the only way to refuse.
fn now(store: &StoreContextMut<'_, HostState>) -> wasmtime::Result<message::Timestamp> {
    store.data().context.guard.check_own(Action::ClockRead, None)?;
    Ok(message::Timestamp::now())
}

async fn sleep(store: StoreContextMut<'_, HostState>, duration: Duration) -> wasmtime::Result<()> {
    let end = Instant::now().checked_add(duration);
    match end.and_then(|end| store.data().context.timers.sleep_until(end)) {
        Some(timer) => timer.await,
        // Beyond the clock's range, or the engine stops: the guest call ends.
        None => std::future::pending().await,
    }
    Ok(())
}

/// Lists the visible components, examining a few per turn: there may be any number of them and of
/// rules about them. The duration must not reveal how many others there are.
async fn list_components(
    mut store: StoreContextMut<'_, HostState>,
) -> wasmtime::Result<(Vec<ComponentIdOwned>,)> {
    let context = Arc::clone(&store.data().context);
    context.guard.record_list();
    store.data_mut().answer = None;
    let (mut seen, mut charge) = (Vec::new(), context.account.charge(0)?);
    for range in context.guard.visible() {
        let mut after: Option<Arc<core::id::ComponentId>> = None;
        loop {
            let page = context.directory.page(&range, after.as_deref(), LOOKED_AT_A_TURN);
            for id in page.iter().filter(|id| context.guard.sees(id)) {
                charge.grow((size_of::<ComponentIdOwned>() + id.as_str().len()) as u64)?;
                seen.push(ComponentIdOwned::from(&**id));
            }
            after = page.last().cloned();
            if page.len() < LOOKED_AT_A_TURN {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    store.data_mut().answer = Some(charge);
    Ok((seen,))
}

fn get_component_metadata(
    store: StoreContextMut<'_, HostState>,
    (id,): (ComponentId,),
) -> wasmtime::Result<(Result<ComponentInfo, ComponentError>,)> {
    let context = &store.data().context;
    let invalid = |error: InvalidId| error::ComponentError::InvalidState(error.to_string());
    let info = id.read(&store, |id| describe(context, id))?;
    let info = info.map_err(invalid).flatten();
    let info = info.map(|info| ComponentInfo {
        id: (&*info.id).into(),
        name: info.name,
        version: info.version,
        health: info.health.to_owned(),
    });
    Ok((info.map_err(Into::into),))
}

/// Describes a component that the guest may see. The right is checked first.
fn describe(
    context: &HostContext,
    id: RawId<'_>,
) -> Result<ports::ComponentInfo, error::ComponentError> {
    let invalid = |reason: String| error::ComponentError::InvalidState(reason);
    let id = id.checked().map_err(|error| invalid(error.to_string()))?;
    let seen = context.guard.check(Action::DirectoryList, id.as_str());
    seen.map_err(|refused| invalid(refused.to_string()))?;
    context.directory.info(&id)
}
