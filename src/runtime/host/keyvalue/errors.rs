//! The errors of `wasi:keyvalue`.

use wasmtime::component::{ComponentType, Lower, Resource};

use crate::core::error::InHostWords;
use crate::runtime::host::keyvalue::atomics::Cas;
use crate::storage::backend::StorageError;

/// The variant `error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub enum StoreError {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Denied(_) => Self::AccessDenied,
            error => Self::Other(error.withheld().0.to_string()),
        }
    }
}

/// The variant `cas-error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub enum CasError {
    #[component(name = "store-error")]
    Store(StoreError),
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

impl From<StorageError> for CasError {
    fn from(error: StorageError) -> Self {
        Self::Store(error.into())
    }
}
