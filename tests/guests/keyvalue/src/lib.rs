//! Keeps its data with `wasi:keyvalue`, and with nothing of `airssys:core/storage`.

mod draft;

use std::cell::RefCell;
use std::collections::HashMap;

use guest_kit::{
    Args, Component, ComponentMessage, ComponentMetadata, Render, Reply, WasmError, outcome, text,
};

mod draft2 {
    //! The bindings of the second draft.
    wit_bindgen::generate!({
        path: "wit/draft2",
        inline: "
            package tests:keyvalue;
            world user {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
            }
        ",
        world: "tests:keyvalue/user",
        generate_all,
    });
}

use draft2::wasi::keyvalue::atomics::{self, Cas, CasError};
use draft2::wasi::keyvalue::batch;
use draft2::wasi::keyvalue::store::{self, Bucket, Error};

struct KeyValue;
guest_kit::export!(KeyValue);

thread_local! {
    static OPEN: RefCell<HashMap<String, Bucket>> = RefCell::default();
    static KEPT: RefCell<Vec<Bucket>> = const { RefCell::new(Vec::new()) };
    static CAS: RefCell<Option<Cas>> = const { RefCell::new(None) };
}

impl Render for Error {
    fn render(&self) -> String {
        match self {
            Self::NoSuchStore => "no-such-store".into(),
            Self::AccessDenied => "access-denied".into(),
            Self::Other(text) => format!("other({text})"),
        }
    }
}

/// Runs a command on the bucket that the next word names; `-` is the empty name.
fn on_bucket(args: &mut Args<'_>, run: impl FnOnce(&Bucket, &mut Args<'_>) -> Reply) -> Reply {
    let name = match args.word()? {
        "-" => String::new(),
        name => name.to_owned(),
    };
    OPEN.with_borrow_mut(|open| {
        if !open.contains_key(&name) {
            match store::open(&name) {
                Ok(bucket) => _ = open.insert(name.clone(), bucket),
                Err(error) => return outcome::<(), _>(Err(error), |()| String::new()),
            }
        }
        run(&open[&name], args)
    })
}

fn found(value: Result<Option<Vec<u8>>, Error>) -> Reply {
    match value {
        Ok(value) => Ok(value),
        Err(error) => outcome::<(), _>(Err(error), |()| String::new()),
    }
}

fn words<'a>(args: &mut Args<'a>) -> Vec<&'a str> {
    std::iter::from_fn(|| args.word().ok()).collect()
}

/// All keys, and the number of pages.
fn all_keys(bucket: &Bucket) -> Result<(Vec<String>, usize), Error> {
    let (mut keys, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        pages += 1;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok((keys, pages));
        }
    }
}

/// Removes the keys page by page; returns their number.
fn clear(bucket: &Bucket) -> Result<usize, Error> {
    let (mut removed, mut cursor) = (0, None);
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        removed += page.keys.len();
        page.keys.iter().try_for_each(|key| bucket.delete(key))?;
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(removed);
        }
    }
}

fn swap(cas: Cas, value: &[u8]) -> Reply {
    match atomics::swap(cas, value) {
        Ok(()) => text("ok"),
        Err(CasError::StoreError(error)) => outcome::<(), _>(Err(error), |()| String::new()),
        Err(CasError::CasFailed(next)) => {
            let current = next.current();
            CAS.set(Some(next));
            outcome(current, |current| {
                let current = current.as_deref().map(String::from_utf8_lossy);
                format!("failed, it is {}", current.as_deref().unwrap_or("missing"))
            })
        }
    }
}

fn take_cas() -> Result<Cas, WasmError> {
    CAS.take().ok_or_else(|| WasmError::RuntimeError("no cas is kept".into()))
}

impl Component for KeyValue {
    fn metadata() -> ComponentMetadata {
        guest_kit::metadata!(true, ["get", "set", "delete", "exists", "list", "incr", "cas"])
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let ok = |()| "ok".to_string();
        let mut args = Args::new(&message.payload);
        let args = &mut args;
        match args.word()? {
            "open" => on_bucket(args, |_, _| text("ok")),
            "open-hex" => outcome(store::open(&args.hex()?).map(drop), ok),
            "open-many" => {
                let (count, name) = (args.number::<usize>()?, args.word()?);
                for made in 0..count {
                    match store::open(name) {
                        Ok(bucket) => KEPT.with_borrow_mut(|kept| kept.push(bucket)),
                        Err(error) => return text(format!("{made} error: {}", error.render())),
                    }
                }
                text(count.to_string())
            }
            "get" => on_bucket(args, |bucket, args| found(bucket.get(args.word()?))),
            "get-hex" => on_bucket(args, |bucket, args| found(bucket.get(&args.hex()?))),
            "set" => on_bucket(args, |bucket, args| {
                let (key, value) = (args.word()?, args.take_rest());
                outcome(bucket.set(key, value), ok)
            }),
            "set-hex" => on_bucket(args, |bucket, args| {
                let (key, value) = (args.hex()?, args.take_rest());
                outcome(bucket.set(&key, value), ok)
            }),
            "fill" => on_bucket(args, |bucket, args| {
                outcome(bucket.set(args.word()?, &vec![b'x'; args.number()?]), ok)
            }),
            "delete" => on_bucket(args, |bucket, args| outcome(bucket.delete(args.word()?), ok)),
            "exists" => on_bucket(args, |bucket, args| {
                outcome(bucket.exists(args.word()?), |found| found.to_string())
            }),
            "list" => {
                on_bucket(args, |bucket, _| outcome(all_keys(bucket), |(keys, _)| keys.join("\n")))
            }
            "pages" => on_bucket(args, |bucket, _| {
                outcome(all_keys(bucket), |(keys, pages)| format!("{} in {pages}", keys.len()))
            }),
            "list-after-hex" => on_bucket(args, |bucket, args| {
                let page = bucket.list_keys(Some(&args.hex()?));
                outcome(page, |page| page.keys.join("\n"))
            }),
            "clear" => {
                on_bucket(args, |bucket, _| outcome(clear(bucket), |count| count.to_string()))
            }
            "incr" => on_bucket(args, |bucket, args| {
                let sum = atomics::increment(bucket, args.word()?, args.number()?);
                outcome(sum, |sum| sum.to_string())
            }),
            "incr-many" => on_bucket(args, |bucket, args| {
                let (key, count) = (args.word()?, args.number::<usize>()?);
                let done =
                    (0..count).try_for_each(|_| atomics::increment(bucket, key, 1).map(drop));
                outcome(done, ok)
            }),
            "cas" => on_bucket(args, |bucket, args| match Cas::new(bucket, args.word()?) {
                Ok(cas) => swap(cas, args.take_rest()),
                Err(error) => outcome::<(), _>(Err(error), ok),
            }),
            "cas-hold" => on_bucket(args, |bucket, args| {
                let cas = Cas::new(bucket, args.word()?);
                outcome(cas.map(|cas| CAS.set(Some(cas))), ok)
            }),
            "cas-many" => on_bucket(args, |bucket, args| {
                let (key, count) = (args.word()?, args.number::<usize>()?);
                let made = (0..count).map(|_| Cas::new(bucket, key));
                outcome(made.collect::<Result<Vec<_>, _>>(), |made| made.len().to_string())
            }),
            "cas-current" => {
                let cas = take_cas()?;
                let current = cas.current();
                CAS.set(Some(cas));
                found(current)
            }
            "cas-swap" => swap(take_cas()?, args.take_rest()),
            "get-many" => on_bucket(args, |bucket, args| {
                let keys: Vec<_> = words(args).into_iter().map(String::from).collect();
                outcome(batch::get_many(bucket, &keys), |found| {
                    let line = |found: Option<(String, Vec<u8>)>| match found {
                        Some((key, value)) => format!("{key}={}", String::from_utf8_lossy(&value)),
                        None => "-".into(),
                    };
                    found.into_iter().map(line).collect::<Vec<_>>().join("\n")
                })
            }),
            "get-many-n" => on_bucket(args, |bucket, args| {
                let keys: Vec<_> = (0..args.number::<usize>()?).map(|n| format!("k{n}")).collect();
                outcome(batch::get_many(bucket, &keys), |found| {
                    found.iter().flatten().count().to_string()
                })
            }),
            "set-many" => on_bucket(args, |bucket, args| {
                let pairs = words(args).into_iter();
                let pairs: Vec<_> = pairs
                    .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                    .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
                    .collect();
                outcome(batch::set_many(bucket, &pairs), ok)
            }),
            "set-many-n" => on_bucket(args, |bucket, args| {
                let (count, size) = (args.number::<usize>()?, args.number()?);
                let pairs: Vec<_> =
                    (0..count).map(|n| (format!("k{n}"), vec![b'x'; size])).collect();
                outcome(batch::set_many(bucket, &pairs), ok)
            }),
            "delete-many" => on_bucket(args, |bucket, args| {
                let keys: Vec<_> = words(args).into_iter().map(String::from).collect();
                outcome(batch::delete_many(bucket, &keys), ok)
            }),
            "draft" => draft::handle(args),
            other => Args::unknown(other),
        }
    }
}
