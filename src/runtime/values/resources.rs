//! The resources of an instance that its host has handles for.

use rustc_hash::FxHashMap;
use wasmtime::component::ResourceAny;

/// The resources of one instance, by handle. They end with the instance.
#[derive(Default)]
pub struct Resources(FxHashMap<u64, ResourceAny>);

impl Resources {
    /// Returns the resource of a handle.
    pub fn get(&self, handle: u64) -> Option<ResourceAny> {
        self.0.get(&handle).copied()
    }

    /// Adds what a call returned, unless there would be more than `most`; returns whether it did.
    pub fn add(&mut self, returned: Vec<(u64, ResourceAny)>, most: usize) -> bool {
        if self.0.len().saturating_add(returned.len()) > most {
            return false;
        }
        self.0.extend(returned);
        true
    }

    /// Removes a handle, because its resource was passed on or dropped.
    pub fn remove(&mut self, handle: u64) -> Option<ResourceAny> {
        self.0.remove(&handle)
    }
}
