//! Finding blocking calls that could never return.
//!
//! A host callback that a component triggered may call other components and wait. The component
//! waits as long, so a call that leads back to it, through any number of others, would wait for
//! itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::id::ComponentHandle;

/// Which component waits for which. A component runs one callback at a time, so it waits for one
/// other at most.
#[derive(Default)]
pub struct Waits {
    waiting: Mutex<HashMap<ComponentHandle, ComponentHandle>>,
}

/// A wait that goes on; dropped when it ends.
pub struct Wait<'a> {
    waits: &'a Waits,
    waiter: Option<ComponentHandle>,
}

impl Waits {
    /// Begins to wait for `target`; `None` if that would close a circle. A waiter of `None` is a
    /// thread that runs no component's callback, for which nothing waits.
    pub fn begin(
        &self,
        waiter: Option<ComponentHandle>,
        target: ComponentHandle,
    ) -> Option<Wait<'_>> {
        if let Some(waiter) = waiter {
            let mut waiting = self.lock();
            let mut next = Some(target);
            while let Some(component) = next {
                if component == waiter {
                    return None;
                }
                next = waiting.get(&component).copied();
            }
            waiting.insert(waiter, target);
        }
        Some(Wait { waits: self, waiter })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ComponentHandle, ComponentHandle>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.waits.lock().remove(&waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_of_any_length_is_refused() {
        let waits = Waits::default();
        let [a, b, c] = [1, 2, 3].map(ComponentHandle);
        assert!(waits.begin(Some(a), a).is_none());
        let _ab = waits.begin(Some(a), b).unwrap();
        let bc = waits.begin(Some(b), c).unwrap();
        assert!(waits.begin(Some(c), a).is_none());
        assert!(waits.begin(None, a).is_some());
        drop(bc);
        assert!(waits.begin(Some(c), a).is_some(), "b no longer waits for c");
    }
}
