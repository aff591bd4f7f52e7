//! Deadlock detection for blocking calls.
//!
//! A host callback triggered by a component may call other components and wait. The component waits
//! with it, so a call that leads back to that component, through any number of components and
//! engines, would wait for itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A node of the wait-for graph.
///
/// A component runs one callback at a time, so each node has at most one outgoing edge.
#[derive(Default)]
pub struct WaitNode {
    waiting_for: Mutex<Option<Arc<WaitNode>>>,
}

/// An edge of the graph, removed on drop.
pub struct Wait {
    waiter: Option<Arc<WaitNode>>,
    /// The previous edge of the waiter: waits nest.
    outer: Option<Arc<WaitNode>>,
}

impl Wait {
    /// Adds the edge from `waiter` to `target`, or returns `None` if it would close a cycle.
    /// `waiter` is `None` for a thread that runs no component's callback: nothing waits for such a
    /// thread.
    pub fn begin(waiter: Option<Arc<WaitNode>>, target: &Arc<WaitNode>) -> Option<Self> {
        let mut wait = Self { waiter, outer: None };
        if let Some(waiter) = &wait.waiter {
            // Insert the edge before the search: of two threads that close a cycle together, at
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
    fn a_cycle_of_any_length_is_refused() {
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
