//! The commands for the first draft.

use std::cell::RefCell;

use guest_kit::{Args, Render, Reply, outcome};

mod bindings {
    //! The bindings of the first draft.
    wit_bindgen::generate!({
        path: "wit/draft",
        inline: "
            package tests:draft;
            world user {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
            }
        ",
        world: "tests:draft/user",
        generate_all,
    });
}

use bindings::wasi::keyvalue::store::{self, Bucket, Error};
use bindings::wasi::keyvalue::{atomics, batch};

thread_local! {
    static DEFAULT: RefCell<Option<Bucket>> = const { RefCell::new(None) };
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

/// Removes the keys page by page; returns how many there were, and on how many pages.
fn clear(bucket: &Bucket) -> Result<(usize, usize), Error> {
    let (mut removed, mut pages, mut cursor) = (0, 0, None);
    loop {
        let page = bucket.list_keys(cursor)?;
        pages += 1;
        removed += page.keys.len();
        batch::delete_many(bucket, &page.keys)?;
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok((removed, pages));
        }
    }
}

/// Handles a command, on the default bucket.
pub fn handle(args: &mut Args<'_>) -> Reply {
    let ok = |()| "ok".to_string();
    let opened = DEFAULT.take().map_or_else(|| store::open("default"), Ok);
    let bucket = match opened {
        Ok(bucket) => bucket,
        Err(error) => return outcome(Err(error), ok),
    };
    let reply = match args.word()? {
        "get" => match bucket.get(args.word()?) {
            Ok(value) => Ok(value),
            Err(error) => outcome(Err(error), ok),
        },
        "set" => outcome(bucket.set(args.word()?, args.take_rest()), ok),
        "delete" => outcome(bucket.delete(args.word()?), ok),
        "exists" => outcome(bucket.exists(args.word()?), |found| found.to_string()),
        "incr" => {
            let sum = atomics::increment(&bucket, args.word()?, args.number()?);
            outcome(sum, |sum| sum.to_string())
        }
        "list-from" => {
            let page = bucket.list_keys(Some(args.number()?));
            outcome(page, |page| page.keys.join("\n"))
        }
        "clear" => outcome(clear(&bucket), |(removed, pages)| format!("{removed} in {pages}")),
        other => Args::unknown(other),
    };
    DEFAULT.set(Some(bucket));
    reply
}
