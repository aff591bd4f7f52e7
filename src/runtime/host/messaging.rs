//! The interface `host-messaging`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::core::error;
use crate::core::id::shorten;
use crate::core::ports::RawId;
use crate::runtime::contract::{self, ComponentId, ComponentIdOwned, MessagingError};
use crate::runtime::state::HostState;

/// After how many targets of a broadcast the guest's time limit is looked at.
const TARGETS_A_TURN: usize = 64;

/// How many failed targets an error lists.
const LISTED_FAILURES: usize = 100;

type BroadcastArguments = (Vec<ComponentId>, Vec<u8>);
type Answer<T> = wasmtime::Result<(Result<T, MessagingError>,)>;

/// Adds the interface to a linker.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(contract::MESSAGING)?;
    interface.func_wrap("send", send)?;
    interface.func_wrap("request", request)?;
    interface.func_wrap("cancel-request", cancel_request)?;
    interface.func_wrap_async("broadcast", |store, arguments: BroadcastArguments| {
        Box::new(broadcast(store, arguments))
    })?;
    interface.func_wrap("self-id", self_id)?;
    Ok(())
}

fn send(
    store: StoreContextMut<'_, HostState>,
    (target, payload): (ComponentId, Vec<u8>),
) -> Answer<()> {
    let context = &store.data().context;
    let sent = context.messenger.send(&context.identity, &target.into(), Arc::new(payload));
    Ok((sent.map_err(Into::into),))
}

fn request(
    store: StoreContextMut<'_, HostState>,
    (target, payload, timeout_ms): (ComponentId, Vec<u8>, u64),
) -> Answer<String> {
    let context = &store.data().context;
    let timeout = Duration::from_millis(timeout_ms);
    let accepted =
        context.messenger.request(&context.identity, &target.into(), Arc::new(payload), timeout);
    Ok((accepted.map(|id| id.to_string()).map_err(Into::into),))
}

fn cancel_request(store: StoreContextMut<'_, HostState>, (id,): (String,)) -> Answer<()> {
    let context = &store.data().context;
    let cancelled = context.messenger.cancel_request(&context.identity, &id);
    Ok((cancelled.map_err(Into::into),))
}

/// Tries all targets, a few a turn: a guest may name any number of them.
async fn broadcast(
    store: StoreContextMut<'_, HostState>,
    (targets, payload): BroadcastArguments,
) -> Answer<()> {
    let context = Arc::clone(&store.data().context);
    let payload = Arc::new(payload);
    let (mut failed, mut listed) = (0, Vec::new());
    for (index, target) in targets.into_iter().enumerate() {
        if index % TARGETS_A_TURN == TARGETS_A_TURN - 1 {
            // The driver looks at limits, and others run.
            tokio::task::yield_now().await;
        }
        let target: RawId = target.into();
        let sent = context.messenger.send(&context.identity, &target, Arc::clone(&payload));
        if let Err(error) = sent {
            failed += 1;
            if listed.len() < LISTED_FAILURES {
                listed.push(format!("{}: {error}", shorten(&target.join("/"))));
            }
        }
    }
    if failed == 0 {
        return Ok((Ok(()),));
    }
    if failed > listed.len() {
        listed.push(format!("and {} more", failed - listed.len()));
    }
    Ok((Err(error::MessagingError::DeliveryFailed(listed.join("; ")).into()),))
}

fn self_id(store: StoreContextMut<'_, HostState>, (): ()) -> wasmtime::Result<(ComponentIdOwned,)> {
    Ok(((&*store.data().context.identity.id).into(),))
}
