//! Typed calls.

use std::ptr;

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::engine::{Engine, NO_BYTES, Outcome, With, c, check, take, with_options};
use crate::harness::requests::{Inbox, completed};

impl Engine {
    /// The result as the text that the library returned.
    pub fn invoke_text(
        &self,
        handle: u64,
        function: &str,
        args: &str,
        with: With<'_>,
    ) -> Outcome<String> {
        let (function, args, mut json) = (c(function), c(args), NO_BYTES);
        with_options(with, |options| {
            let (function, args) = (function.as_ptr(), args.as_ptr());
            // SAFETY: a live engine, texts, options, and outputs that are valid for writing.
            check(|error| unsafe {
                let engine = self.raw();
                airssys_engine_invoke(engine, handle, function, args, options, &raw mut json, error)
            })
        })
        .inspect_err(|_| assert!(json.data.is_null(), "written on failure"))?;
        Ok(String::from_utf8(take(json).expect("a result is never missing")).expect("UTF-8"))
    }

    pub fn invoke(&self, handle: u64, function: &str, args: &Value) -> Outcome<Value> {
        let text = self.invoke_text(handle, function, &args.to_string(), With::default())?;
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    /// A call without the argument for its arguments.
    pub fn invoke_bare(&self, handle: u64, function: &str) -> Outcome<String> {
        let (function, mut json) = (c(function), NO_BYTES);
        let (function, args, options) = (function.as_ptr(), ptr::null(), ptr::null());
        // SAFETY: a live engine, a text, and outputs that are valid for writing.
        check(|error| unsafe {
            let engine = self.raw();
            airssys_engine_invoke(engine, handle, function, args, options, &raw mut json, error)
        })?;
        Ok(String::from_utf8(take(json).expect("a result is never missing")).expect("UTF-8"))
    }

    pub fn invoke_request(
        &self,
        handle: u64,
        function: &str,
        args: &Value,
        with: With<'_>,
        inbox: Inbox,
    ) -> Outcome<u64> {
        let (function, args, mut id) = (c(function), c(&args.to_string()), 0);
        with_options(with, |options| {
            let (function, args) = (function.as_ptr(), args.as_ptr());
            let (reply_fn, user_data) = (Some(completed as _), inbox.user_data());
            let id = &raw mut id;
            // SAFETY: a live engine, texts, options, a function that fits its data, and outputs
            // that are valid for writing.
            check(|error| unsafe {
                let engine = self.raw();
                airssys_engine_invoke_request(
                    engine, handle, function, args, options, reply_fn, user_data, id, error,
                )
            })
        })?;
        Ok(id)
    }
}
