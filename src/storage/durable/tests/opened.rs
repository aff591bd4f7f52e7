//! Stores that are opened for tests.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::storage::backend::Value;
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::{DurableOptions, Report};

/// Keeps what a store reports.
pub fn reports() -> (Report, Arc<Mutex<Vec<String>>>) {
    let texts = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&texts);
    (Arc::new(move |text| kept.lock().unwrap().push(text.to_owned())), texts)
}

pub fn options(path: &Path) -> DurableOptions {
    DurableOptions::new(path.to_owned())
}

pub fn open(path: &Path) -> DurableBackend {
    DurableBackend::open(options(path), reports().0).unwrap()
}

pub fn value(text: &str) -> Option<Value> {
    Some(Arc::new(text.into()))
}
