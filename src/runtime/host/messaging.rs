//! The interface `host-messaging`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::core::error;
use crate::core::id::{RawId, shorten};
use crate::core::ports::{Handover, Messenger};
use crate::runtime::contract::{self, ComponentId, ComponentIdOwned, MessagingError};
use crate::runtime::engine::MAX_HOST_CALL_BYTES;
use crate::runtime::state::HostState;
use crate::runtime::trap::HostCallTooLarge;

/// After how many targets of a broadcast the guest's time limit is looked at.
const TARGETS_A_TURN: usize = 64;

/// How many failed targets an error lists.
const LISTED_FAILURES: usize = 100;

type SendArguments = (ComponentId, WasmList<u8>);
type RequestArguments = (ComponentId, WasmList<u8>, u64);
type BroadcastArguments = (Vec<ComponentId>, WasmList<u8>);
type Answer<T> = wasmtime::Result<(Result<T, MessagingError>,)>;

/// Adds the interface to a linker.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(contract::MESSAGING)?;
    interface.func_wrap_async("send", |store, arguments: SendArguments| {
        Box::new(send(store, arguments))
    })?;
    interface.func_wrap_async("request", |store, arguments: RequestArguments| {
        Box::new(request(store, arguments))
    })?;
    interface.func_wrap("cancel-request", cancel_request)?;
    interface.func_wrap_async("broadcast", |store, arguments: BroadcastArguments| {
        Box::new(broadcast(store, arguments))
    })?;
    interface.func_wrap("self-id", self_id)?;
    Ok(())
}

async fn send(
    mut store: StoreContextMut<'_, HostState>,
    (target, payload): SendArguments,
) -> Answer<()> {
    let payload = copied(&store, &payload)?;
    let sent = hand_over(&mut store, &target, |messenger, id| messenger.send(id, &payload)).await?;
    Ok((sent.map_err(Into::into),))
}

async fn request(
    mut store: StoreContextMut<'_, HostState>,
    (target, payload, timeout_ms): RequestArguments,
) -> Answer<String> {
    let payload = copied(&store, &payload)?;
    let timeout = Duration::from_millis(timeout_ms);
    let accepted =
        hand_over(&mut store, &target, |messenger, id| messenger.request(id, &payload, timeout))
            .await?;
    Ok((accepted.map(|id| id.to_string()).map_err(Into::into),))
}

fn cancel_request(store: StoreContextMut<'_, HostState>, (id,): (String,)) -> Answer<()> {
    let cancelled = store.data().context.messenger.cancel_request(&id);
    Ok((cancelled.map_err(Into::into),))
}

/// Tries all targets, a few a turn: a guest may name any number of them.
async fn broadcast(
    mut store: StoreContextMut<'_, HostState>,
    (targets, payload): BroadcastArguments,
) -> Answer<()> {
    let payload = copied(&store, &payload)?;
    let (mut failed, mut listed) = (0, Vec::new());
    for (index, target) in targets.iter().enumerate() {
        if index % TARGETS_A_TURN == TARGETS_A_TURN - 1 {
            // The driver looks at limits, and others run.
            tokio::task::yield_now().await;
        }
        let sent =
            hand_over(&mut store, target, |messenger, id| messenger.send(id, &payload)).await?;
        if let Err(error) = sent {
            failed += 1;
            if listed.len() < LISTED_FAILURES {
                let id = target.read(&store, |id| shorten(&id.to_string()))?;
                listed.push(format!("{id}: {error}"));
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

/// A payload's one copy, out of the guest's memory.
fn copied(
    store: &StoreContextMut<'_, HostState>,
    payload: &WasmList<u8>,
) -> wasmtime::Result<Bytes> {
    if payload.len() > MAX_HOST_CALL_BYTES {
        return Err(HostCallTooLarge.into());
    }
    Ok(Bytes::copy_from_slice(payload.as_le_slice(store)))
}

/// Hands a message over to its end: waits for room, asks the host.
async fn hand_over<T: Send + 'static>(
    store: &mut StoreContextMut<'_, HostState>,
    target: &ComponentId,
    attempt: impl Fn(&dyn Messenger, RawId<'_>) -> Handover<T>,
) -> wasmtime::Result<Result<T, error::MessagingError>> {
    let context = Arc::clone(&store.data().context);
    loop {
        match target.read(store, |id| attempt(&*context.messenger, id))? {
            Handover::Done(result) => return Ok(result),
            Handover::Wait(room) => room.await,
            Handover::AskHost(job) => {
                let off_fiber = store.data().off_fiber.clone();
                return Ok(off_fiber.run(job).await);
            }
        }
    }
}
