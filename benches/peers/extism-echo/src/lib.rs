//! Replies with what it was sent, the way the plugin development kit is meant to be used.

use extism_pdk::{FnResult, plugin_fn};

#[plugin_fn]
pub fn echo(input: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(input)
}
