//! The interface `host-messaging`.

use std::future::{poll_fn, ready};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::core::account::Charge;
use crate::core::bounds::MAX_BROADCAST_TARGETS;
use crate::core::deadline::deadline_in;
use crate::core::error::{self, LimitBreach};
use crate::core::id::{CorrelationId, CorrelationText, InvalidId, RawId, shorten};
use crate::core::payload::Payload;
use crate::core::ports::{Handover, Messenger, Sending};
use crate::runtime::call_error::HostCallTooLarge;
use crate::runtime::contract::{self, ComponentId, ComponentIdOwned, MessagingError};
use crate::runtime::host::interface::{Immediate, Interface, Waiting};
use crate::runtime::host::work::work;
use crate::runtime::lifting::{ArgumentText, NotText};
use crate::runtime::state::HostState;

/// The number of broadcast targets between two checks of the guest's time limit.
const TARGETS_A_TURN: usize = 64;

/// A payload of at least this size is charged to its sender too during delivery.
const CHARGED_BYTES: usize = 64 << 10;

/// The most failed targets listed in an error.
const LISTED_FAILURES: usize = 100;

type SendArguments = (ComponentId, WasmList<u8>);
type RequestArguments = (ComponentId, WasmList<u8>, u64);
type BroadcastArguments = (WasmList<ComponentId>, WasmList<u8>);
type RequestId = ArgumentText<{ size_of::<CorrelationText>() * 4 }>;
type Boxed<'a, T> = Waiting<'a, (Result<T, MessagingError>,)>;
type MessagingResult<T> = wasmtime::Result<(Result<T, MessagingError>,)>;

/// Adds the interface to a linker.
pub fn link(linker: &mut Linker<HostState>, immediate: &mut Immediate) -> wasmtime::Result<()> {
    let mut interface = Interface::new(contract::MESSAGING, linker, immediate)?;
    interface.waiting("send", send)?;
    interface.waiting("request", request)?;
    interface.immediate("cancel-request", cancel_request)?;
    interface.waiting("broadcast", |store, arguments: BroadcastArguments| {
        Box::new(broadcast(store, arguments))
    })?;
    interface.immediate("self-id", self_id)
}

fn send(store: StoreContextMut<'_, HostState>, (target, payload): SendArguments) -> Boxed<'_, ()> {
    let attempt = |messenger: &dyn Messenger, id: RawId<'_>, payload| {
        messenger.send(id, payload, Sending::Single)
    };
    hand_over("send", store, target, payload, Ok, attempt, |answer| match answer {
        // Zero-sized, so boxing it does not allocate.
        Ok((Ok(()),)) => Box::new(poll_fn(|_| Poll::Ready(Ok((Ok(()),))))),
        answer => Box::new(ready(answer)),
    })
}

fn request(
    store: StoreContextMut<'_, HostState>,
    (target, payload, timeout_ms): RequestArguments,
) -> Boxed<'_, String> {
    // One deadline for the request and for the wait for room.
    let deadline = deadline_in(Duration::from_millis(timeout_ms));
    hand_over(
        "request",
        store,
        target,
        payload,
        |id: CorrelationId| Ok(id.to_string()),
        move |messenger, id, payload| messenger.request(id, payload, deadline),
        |answer| Box::new(ready(answer)),
    )
}

fn cancel_request(
    store: StoreContextMut<'_, HostState>,
    (id,): (RequestId,),
) -> MessagingResult<()> {
    let cancelled = store.data().context.messenger.cancel_request(&id.read("request-id")?);
    Ok((cancelled.map_err(Into::into),))
}

/// Tries all targets, a few per turn: a guest may name any number of them.
async fn broadcast(
    mut store: StoreContextMut<'_, HostState>,
    (targets, payload): BroadcastArguments,
) -> MessagingResult<()> {
    if targets.len() > MAX_BROADCAST_TARGETS {
        let count = targets.len();
        let text = format!("{count} targets, at most {MAX_BROADCAST_TARGETS} are allowed");
        return Ok((Err(error::MessagingError::InvalidMessage(text).into()),));
    }
    let (payload, _charge) = match held(&mut store, &payload)? {
        Ok(held) => held,
        Err(refused) => return Ok((Err(refused.into()),)),
    };
    let (mut failed, mut listed) = (0, Vec::new());
    let mut left = store.data().context.guard.quotas().host_call_bytes;
    for index in 0..targets.len() {
        // Read one by one: the list takes more memory here than in the guest.
        let Some(target) = targets.get(&mut store, index).transpose()? else { break };
        left = left.checked_sub(target.bytes()).ok_or(HostCallTooLarge)?;
        if index % TARGETS_A_TURN == TARGETS_A_TURN - 1 {
            // Lets the guest call check limits, and others run.
            tokio::task::yield_now().await;
        }
        let attempt = |messenger: &dyn Messenger, id: RawId<'_>| {
            messenger.send(id, payload.clone(), Sending::Broadcast)
        };
        let first = target.read(&store, |id| attempt(&*store.data().context.messenger, id));
        let first = first.map_err(|error| NotText::named(error, "broadcast"))?;
        let sent = match first.unwrap_or_else(invalid) {
            Handover::Done(sent) => sent,
            other => settle(&mut store, &target, other, attempt).await?,
        };
        if let Err(error) = sent {
            failed += 1;
            if listed.len() < LISTED_FAILURES {
                let id = target.read(&store, |id| shorten(&id.to_string()))?;
                listed.push(match id {
                    Ok(id) => format!("{id}: {error}"),
                    Err(_) => error.to_string(),
                });
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

/// Copies a payload out of the guest's memory, once; fails if it is too large.
fn copied(
    store: &mut StoreContextMut<'_, HostState>,
    payload: &WasmList<u8>,
) -> wasmtime::Result<Result<Payload, error::MessagingError>> {
    let limit = store.data().context.max_message_bytes;
    let bytes = payload.len() as u64;
    if bytes > limit {
        let breach = LimitBreach::MessageBytes { limit, bytes };
        return Ok(Err(error::MessagingError::InvalidMessage(breach.to_string())));
    }
    work(store, bytes)?;
    let copy = Payload::try_copy_of(payload.as_le_slice(&*store));
    Ok(copy.map_err(|error| {
        let text = format!("the host has no memory for {bytes} bytes: {error}");
        error::MessagingError::DeliveryFailed(text)
    }))
}

/// Copies a payload and charges the sender until the receiver has it.
fn held(
    store: &mut StoreContextMut<'_, HostState>,
    payload: &WasmList<u8>,
) -> wasmtime::Result<Result<(Payload, Option<Charge>), error::MessagingError>> {
    if payload.len() < CHARGED_BYTES {
        return Ok(copied(store, payload)?.map(|payload| (payload, None)));
    }
    let charge = match store.data().context.account.charge(payload.len() as u64) {
        Ok(charge) => charge,
        Err(exceeded) => {
            return Ok(Err(error::MessagingError::DeliveryFailed(exceeded.to_string())));
        }
    };
    Ok(copied(store, payload)?.map(|payload| (payload, Some(charge))))
}

/// Returns the result for an id with a part that is too long.
fn invalid<T>(id: InvalidId) -> Handover<T> {
    Handover::Done(Err(error::MessagingError::InvalidMessage(id.to_string())))
}

/// Delivers a message. Nearly always that completes at once, and the future is that of `at_once`.
fn hand_over<'a, T: Send + 'static, R: Send + 'static>(
    function: &'static str,
    mut store: StoreContextMut<'a, HostState>,
    target: ComponentId,
    payload: WasmList<u8>,
    answer: impl Fn(T) -> Result<R, error::MessagingError> + Send + 'a,
    attempt: impl Fn(&dyn Messenger, RawId<'_>, Payload) -> Handover<T> + Send + Sync + 'a,
    at_once: impl FnOnce(MessagingResult<R>) -> Boxed<'a, R>,
) -> Boxed<'a, R> {
    let first = held(&mut store, &payload).and_then(|held| match held {
        Ok((payload, _charge)) => {
            let attempt = |id: RawId<'_>| attempt(&*store.data().context.messenger, id, payload);
            target.read(&store, attempt).map(|attempted| attempted.unwrap_or_else(invalid))
        }
        Err(refused) => Ok(Handover::Done(Err(refused))),
    });
    let answered = move |result: Result<T, _>| (result.and_then(answer).map_err(Into::into),);
    match first {
        Err(error) => at_once(Err(NotText::named(error, function))),
        Ok(Handover::Done(result)) => at_once(Ok(answered(result))),
        Ok(other) => Box::new(async move {
            let (payload, _charge) = match held(&mut store, &payload)? {
                Ok(held) => held,
                Err(refused) => return Ok(answered(Err(refused))),
            };
            let attempt =
                |messenger: &dyn Messenger, id: RawId<'_>| attempt(messenger, id, payload.clone());
            Ok(answered(settle(&mut store, &target, other, attempt).await?))
        }),
    }
}

/// Completes a delivery that has to wait for room or for the host.
async fn settle<T: Send + 'static>(
    store: &mut StoreContextMut<'_, HostState>,
    target: &ComponentId,
    mut last: Handover<T>,
    attempt: impl Fn(&dyn Messenger, RawId<'_>) -> Handover<T>,
) -> wasmtime::Result<Result<T, error::MessagingError>> {
    let context = Arc::clone(&store.data().context);
    loop {
        match last {
            Handover::Done(result) => return Ok(result),
            Handover::Wait(room) => {
                room.await;
                // Lets the guest call check the time limit, even if others keep taking the room.
                tokio::task::yield_now().await;
            }
            Handover::AskHost(job) => {
                let off_fiber = store.data().off_fiber.clone();
                let job = move || job().map_err(|error| context.told("router", error));
                return Ok(off_fiber.run(job).await);
            }
        }
        let attempted = target.read(store, |id| attempt(&*context.messenger, id))?;
        last = attempted.unwrap_or_else(invalid);
    }
}
