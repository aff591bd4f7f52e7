//! Finding blocking calls that could never return.
//!
//! A host callback that a component triggered may call other components and wait. The component
//! waits as long, so a call that leads back to it, through any number of others and of engines,
//! would wait for itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A component, as one that may wait for another.
///
/// A component runs one callback at a time, so it waits for one other at most.
#[derive(Default)]
pub struct WaitNode {
    waiting_for: Mutex<Option<Arc<WaitNode>>>,
}

/// A wait that goes on; dropped when it ends.
pub struct Wait {
    waiter: Option<Arc<WaitNode>>,
    /// What the waiter waited for before: a wait may be part of another.
    outer: Option<Arc<WaitNode>>,
}

impl Wait {
    /// Begins to wait for `target`; `None` if that would close a circle. A waiter of `None` is a
    /// thread that runs no component's callback, for which nothing waits.
    pub fn begin(waiter: Option<Arc<WaitNode>>, target: &Arc<WaitNode>) -> Option<Self> {
        let mut wait = Self { waiter, outer: None };
        if let Some(waiter) = &wait.waiter {
            // Entered before it is looked for: of two that close a circle at the same time, at
            // least one finds it.
            wait.outer = waiter.lock().replace(Arc::clone(target));
            let mut next = Some(Arc::clone(target));
            while let Some(node) = next {
                if Arc::ptr_eq(&node, waiter) {
                    return None;
                }
                next = node.lock().clone();
            }
        }
        Some(wait)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(waiter) = &self.waiter {
            *waiter.lock() = self.outer.take();
        }
    }
}

impl WaitNode {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<WaitNode>>> {
        self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_of_any_length_is_refused() {
        let [a, b, c] = [(); 3].map(|()| Arc::<WaitNode>::default());
        let begin = |waiter: &Arc<WaitNode>, target| Wait::begin(Some(Arc::clone(waiter)), target);
        assert!(begin(&a, &a).is_none());
        let _ab = begin(&a, &b).unwrap();
        let bc = begin(&b, &c).unwrap();
        assert!(begin(&c, &a).is_none());
        assert!(Wait::begin(None, &a).is_some());
        let again = begin(&b, &c).unwrap();
        drop(again);
        assert!(begin(&c, &a).is_none(), "b waits for c as before");
        drop(bc);
        assert!(begin(&c, &a).is_some(), "b no longer waits for c");
    }
}
