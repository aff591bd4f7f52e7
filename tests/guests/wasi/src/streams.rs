//! Direct calls of `wasi:io` beyond what it permits: too many bytes, too many pollables. `out` is
//! standard output; a number is a file that `raw-open` opened.

use std::cell::RefCell;

use guest_kit::{Args, Reply, WasmError, text};
use wasip2::cli::{stdin, stdout};
use wasip2::filesystem::types::Descriptor;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::descriptors::{self, pick};
use crate::failure::{Failure, done, keep, show};

pub const COMMANDS: &[&str] = &[
    "zeroes",
    "zeroes-blocking",
    "write-unasked",
    "splice",
    "pull",
    "skip",
    "stdin-pull",
    "read-ahead",
];

thread_local! {
    static AHEAD: RefCell<Vec<InputStream>> = const { RefCell::new(Vec::new()) };
}

pub fn handle(command: &str, args: Args<'_>) -> Reply {
    descriptors::with_open(|open| act(command, args, open))
}

fn act(command: &str, mut args: Args<'_>, open: &[Descriptor]) -> Reply {
    match command {
        "zeroes" => {
            let (stream, count) = (output(open, &mut args)?, args.number()?);
            done(stream.and_then(|stream| Ok(stream.write_zeroes(count)?)))
        }
        "zeroes-blocking" => {
            let (stream, count) = (output(open, &mut args)?, args.number()?);
            done(stream.and_then(|stream| Ok(stream.blocking_write_zeroes_and_flush(count)?)))
        }
        "write-unasked" => {
            let (stream, count) = (output(open, &mut args)?, args.number()?);
            done(stream.and_then(|stream| Ok(stream.write(&vec![b'x'; count])?)))
        }
        "splice" => {
            let (from, to, count) =
                (input(open, &mut args)?, output(open, &mut args)?, args.number()?);
            let moved = from.and_then(|from| Ok(to?.blocking_splice(&from, count)?));
            show(moved, |moved| moved.to_string())
        }
        "pull" => {
            let (stream, count) = (input(open, &mut args)?, args.number()?);
            show(stream.and_then(|stream| pulled(&stream, count)), |size| size)
        }
        "skip" => {
            let (stream, count) = (input(open, &mut args)?, args.number()?);
            let skipped = stream.and_then(|stream| Ok(stream.blocking_skip(count)?));
            show(skipped, |skipped| skipped.to_string())
        }
        "read-ahead" => {
            let (file, count) = (pick(open, &mut args)?, args.number()?);
            // Most of the available data is left unread.
            let begin = || {
                let stream = file.read_via_stream(0)?;
                stream.subscribe().block();
                stream.read(1)?;
                Ok::<_, Failure>(stream)
            };
            AHEAD.with_borrow_mut(|ahead| keep(ahead, count, begin))
        }
        "stdin-pull" => match stdin::get_stdin().blocking_read(args.number()?) {
            Err(StreamError::Closed) => text("closed"),
            other => show(other, |bytes| bytes.len().to_string()),
        },
        other => Args::unknown(other),
    }
}

fn pulled(stream: &InputStream, count: u64) -> Result<String, Failure> {
    Ok(stream.blocking_read(count)?.len().to_string())
}

type Opened<T> = Result<Result<T, Failure>, WasmError>;

fn output(open: &[Descriptor], args: &mut Args<'_>) -> Opened<OutputStream> {
    match args.word()? {
        "out" => Ok(Ok(stdout::get_stdout())),
        number => {
            let file = pick(open, &mut Args::new(number.as_bytes()))?;
            Ok(file.write_via_stream(0).map_err(Into::into))
        }
    }
}

fn input(open: &[Descriptor], args: &mut Args<'_>) -> Opened<InputStream> {
    Ok(pick(open, args)?.read_via_stream(0).map_err(Into::into))
}
