//! The interface `host-messaging`.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::runtime::contract::{self, ComponentId, ComponentIdOwned, MessagingError};
use crate::runtime::state::HostState;

type Answer<T> = wasmtime::Result<(Result<T, MessagingError>,)>;

/// Adds the interface to a linker.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(contract::MESSAGING)?;
    interface.func_wrap("send", send)?;
    interface.func_wrap("request", request)?;
    interface.func_wrap("cancel-request", cancel_request)?;
    interface.func_wrap("broadcast", broadcast)?;
    interface.func_wrap("self-id", self_id)?;
    Ok(())
}

fn send(
    store: StoreContextMut<'_, HostState>,
    (target, payload): (ComponentId, Vec<u8>),
) -> Answer<()> {
    let context = &store.data().context;
    let sent = context.messenger.send(&context.identity, target.into(), payload);
    Ok((sent.map_err(Into::into),))
}

fn request(
    store: StoreContextMut<'_, HostState>,
    (target, payload, timeout_ms): (ComponentId, Vec<u8>, u64),
) -> Answer<String> {
    let context = &store.data().context;
    let timeout = Duration::from_millis(timeout_ms);
    let accepted = context.messenger.request(&context.identity, target.into(), payload, timeout);
    Ok((accepted.map(|id| id.to_string()).map_err(Into::into),))
}

fn cancel_request(store: StoreContextMut<'_, HostState>, (id,): (String,)) -> Answer<()> {
    let context = &store.data().context;
    let cancelled = context.messenger.cancel_request(&context.identity, &id);
    Ok((cancelled.map_err(Into::into),))
}

fn broadcast(
    store: StoreContextMut<'_, HostState>,
    (targets, payload): (Vec<ComponentId>, Vec<u8>),
) -> Answer<()> {
    let context = &store.data().context;
    let targets = targets.into_iter().map(Into::into).collect();
    let sent = context.messenger.broadcast(&context.identity, targets, payload);
    Ok((sent.map_err(Into::into),))
}

fn self_id(store: StoreContextMut<'_, HostState>, (): ()) -> wasmtime::Result<(ComponentIdOwned,)> {
    Ok(((&*store.data().context.identity.id).into(),))
}
