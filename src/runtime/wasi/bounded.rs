//! WASI functions with lists of unbounded size: checked before they are copied, and processed in
//! pieces that let others run in between.

use std::future::Future;

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Linker, Resource, WasmList};
use wasmtime::{StoreContextMut, Trap};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    ErrorCode as FileError, Filesize, Host as _, HostDescriptor,
};
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode as NetworkError, Host as _, IpSocketAddress,
};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostOutgoingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::{DynOutputStream, DynPollable, StreamError, StreamResult};
use wasmtime_wasi_io::bindings::wasi::io::poll::Host as _;
use wasmtime_wasi_io::bindings::wasi::io::streams::{self, Host as _};

use crate::runtime::call_error::HostCallTooLarge;
use crate::runtime::host::work::work;
use crate::runtime::state::HostState;
use crate::runtime::wasi::ambient::random_numbers;
use crate::runtime::wasi::file_streams::PIECE;
use crate::runtime::wasi::files::MAX_WRITE_BYTES;
use crate::runtime::wasi::udp::MAX_DATAGRAMS;

/// The most pollables in one list; the host keeps state for each while it waits.
const MAX_POLLABLES: usize = 1 << 14;

/// The limit of `blocking-write-and-flush`, as WASI specifies it.
const MAX_BLOCKING_WRITE: usize = 4096;

/// More than a datagram can hold.
const MAX_DATAGRAM_BYTES: usize = 1 << 16;

type Waiting<'a, R> = Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>;
type Store<'a> = StoreContextMut<'a, HostState>;
type Written = (Result<(), streams::StreamError>,);

/// Replaces Wasmtime's versions of these functions.
pub fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:io/poll@0.2.12")?.func_wrap_async("poll", poll)?;
    let mut interface = linker.instance("wasi:io/streams@0.2.12")?;
    interface.func_wrap("[method]output-stream.write", write)?;
    interface.func_wrap_async(
        "[method]output-stream.blocking-write-and-flush",
        blocking_write_and_flush,
    )?;
    let mut interface = linker.instance("wasi:filesystem/types@0.2.12")?;
    interface.func_wrap_async("[method]descriptor.write", write_file)?;
    let mut interface = linker.instance("wasi:sockets/udp@0.2.12")?;
    interface.func_wrap("[method]outgoing-datagram-stream.send", send)?;
    let mut interface = linker.instance("wasi:random/random@0.2.12")?;
    interface.func_wrap_async("get-random-bytes", |store, (length,): (u64,)| {
        let fill = |store: &mut Store<'_>, length| {
            random::Host::get_random_bytes(&mut random_numbers(store.data_mut()), length)
        };
        Box::new(random_bytes(store, length, fill))
    })?;
    let mut interface = linker.instance("wasi:random/insecure@0.2.12")?;
    interface.func_wrap_async("get-insecure-random-bytes", |store, (length,): (u64,)| {
        let fill = |store: &mut Store<'_>, length| {
            insecure::Host::get_insecure_random_bytes(&mut random_numbers(store.data_mut()), length)
        };
        Box::new(random_bytes(store, length, fill))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn poll(
    mut store: Store<'_>,
    (pollables,): (WasmList<Resource<DynPollable>>,),
) -> Waiting<'_, (Vec<u32>,)> {
    Box::new(async move {
        let count = pollables.len();
        hand_over(&mut store, count.saturating_mul(size_of::<u32>()))?;
        if count > MAX_POLLABLES {
            let text = format!("poll of {count} pollables, at most {MAX_POLLABLES} are allowed");
            return Err(wasmtime::Error::msg(text));
        }
        let pollables = pollables.iter(&mut store)?.collect::<wasmtime::Result<Vec<_>>>()?;
        Ok((store.data_mut().wasi().table.poll(pollables).await?,))
    })
}

fn write(
    mut store: Store<'_>,
    (stream, bytes): (Resource<DynOutputStream>, WasmList<u8>),
) -> wasmtime::Result<Written> {
    let bytes = written(&mut store, &bytes, PIECE)?;
    let table = &mut store.data_mut().wasi().table;
    let done = table.get_mut(&stream).map_err(StreamError::from);
    let done = done.and_then(|stream| stream.write(bytes));
    told(store, done)
}

fn blocking_write_and_flush(
    mut store: Store<'_>,
    (stream, bytes): (Resource<DynOutputStream>, WasmList<u8>),
) -> Waiting<'_, Written> {
    Box::new(async move {
        let bytes = written(&mut store, &bytes, MAX_BLOCKING_WRITE)?;
        let table = &mut store.data_mut().wasi().table;
        let done = match table.get_mut(&stream) {
            Ok(stream) => stream.blocking_write_and_flush(bytes).await,
            Err(error) => Err(error.into()),
        };
        told(store, done)
    })
}

/// Copies what is written to a stream; more than any stream permits is a trap, as WASI specifies.
fn written(store: &mut Store<'_>, bytes: &WasmList<u8>, most: usize) -> wasmtime::Result<Bytes> {
    let length = bytes.len();
    if length > most {
        let text = format!("{length} bytes written where {most} are permitted");
        return Err(wasmtime::Error::msg(text));
    }
    hand_over(store, length)?;
    Ok(Bytes::copy_from_slice(bytes.as_le_slice(&*store)))
}

fn told(mut store: Store<'_>, done: StreamResult<()>) -> wasmtime::Result<Written> {
    let table = &mut store.data_mut().wasi().table;
    Ok((match done {
        Ok(()) => Ok(()),
        Err(error) => Err(table.convert_stream_error(error)?),
    },))
}

type FileWrite = (Result<Filesize, FileError>,);

fn write_file(
    mut store: Store<'_>,
    (file, bytes, offset): (
        Resource<wasmtime_wasi::filesystem::Descriptor>,
        WasmList<u8>,
        Filesize,
    ),
) -> Waiting<'_, FileWrite> {
    Box::new(async move {
        // A short write is allowed.
        let length = bytes.len().min(MAX_WRITE_BYTES);
        hand_over(&mut store, length)?;
        let bytes = bytes.as_le_slice(&store)[..length].to_vec();
        let mut files = store.data_mut().wasi().files();
        Ok((match files.write(file, bytes, offset).await {
            Ok(count) => Ok(count),
            Err(error) => Err(files.convert_error_code(error)?),
        },))
    })
}

/// An outgoing datagram as in WASI, still in the guest's memory.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Datagram {
    data: WasmList<u8>,
    #[component(name = "remote-address")]
    remote_address: Option<IpSocketAddress>,
}

fn send(
    mut store: Store<'_>,
    (stream, datagrams): (Resource<OutgoingDatagramStream>, WasmList<Datagram>),
) -> wasmtime::Result<(Result<u64, NetworkError>,)> {
    let count = datagrams.len();
    if count > MAX_DATAGRAMS {
        let text = format!("{count} datagrams sent where {MAX_DATAGRAMS} are permitted");
        return Err(wasmtime::Error::msg(text));
    }
    let mut copied = Vec::with_capacity(count);
    let mut too_large = false;
    for index in 0..count {
        let Some(datagram) = datagrams.get(&mut store, index).transpose()? else { break };
        if datagram.data.len() > MAX_DATAGRAM_BYTES {
            // The datagrams before it are sent.
            too_large = true;
            break;
        }
        hand_over(&mut store, datagram.data.len())?;
        let data = datagram.data.as_le_slice(&store).to_vec();
        copied.push(OutgoingDatagram { data, remote_address: datagram.remote_address });
    }
    let mut sockets = store.data_mut().sockets();
    if too_large && copied.is_empty() {
        return Ok((Err(NetworkError::DatagramTooLarge),));
    }
    Ok((match sockets.send(stream, copied) {
        Ok(count) => Ok(count),
        Err(error) => Err(sockets.convert_error_code(error)?),
    },))
}

/// Returns random bytes, generated one piece per turn.
async fn random_bytes<F>(mut store: Store<'_>, length: u64, fill: F) -> wasmtime::Result<(Vec<u8>,)>
where
    F: for<'a> Fn(&mut Store<'a>, u64) -> wasmtime::Result<Vec<u8>>,
{
    // Checks right and quota even for zero bytes.
    random_numbers(store.data_mut()).take_random(length)?;
    store.data_mut().answer = None;
    let charge = store.data().context.account.charge(length)?;
    let mut bytes = Vec::new();
    let wanted = usize::try_from(length)?;
    if bytes.try_reserve_exact(wanted).is_err() {
        return Err(HostCallTooLarge.into());
    }
    while bytes.len() < wanted {
        let piece = PIECE.min(wanted - bytes.len());
        burn(&mut store, piece)?;
        bytes.extend(fill(&mut store, piece as u64)?);
        if bytes.len() < wanted {
            tokio::task::yield_now().await;
        }
    }
    store.data_mut().answer = Some(charge);
    Ok((bytes,))
}

/// Counts passed bytes against the guest's quota, and takes fuel for the copy.
fn hand_over(store: &mut Store<'_>, bytes: usize) -> wasmtime::Result<()> {
    if bytes as u64 > store.data().context.guard.quotas().host_call_bytes {
        return Err(HostCallTooLarge.into());
    }
    work(store, bytes as u64)
}

/// Takes the fuel for random bytes, one unit per byte.
fn burn(store: &mut Store<'_>, bytes: usize) -> wasmtime::Result<()> {
    let left = store.get_fuel()?.checked_sub(bytes as u64);
    store.set_fuel(left.unwrap_or(0))?;
    left.map(drop).ok_or_else(|| Trap::OutOfFuel.into())
}
