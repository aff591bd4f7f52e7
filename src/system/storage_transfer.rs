//! Exports of stored data, and their imports.

use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::core::id::shorten;
use crate::storage::backend::{Change, Entry, Key, Listing, StorageError};
use crate::storage::component_storage::checked;
use crate::storage::expiry;
use crate::storage::export_format::{Defect, ExportedKey, Reader, Writer};
use crate::storage::namespace::Namespace;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

/// The most keys that an import stores at once.
const BATCH_KEYS: usize = 1000;

/// The bytes of values beyond which an import stores what it has.
const BATCH_BYTES: usize = 1 << 20;

/// What an import does with a key that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It fails.
    Refused,
    /// It takes the value of the export.
    Replaced,
    /// It keeps the value.
    Kept,
}

/// Why an import failed.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The export is damaged.
    #[error(transparent)]
    Defect(#[from] Defect),
    /// A key exists that was not to be replaced.
    #[error("the key {key:?} of {namespace} exists")]
    Exists {
        /// Its namespace.
        namespace: Namespace,
        /// The key.
        key: String,
        /// Its line.
        line: u64,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The host's callback gave no bytes.
    #[error("{0}")]
    Read(String),
}

/// What an import has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Imported {
    keys: u64,
    stored: u64,
    kept: u64,
    expired: u64,
}

impl Imported {
    /// Returns the counts as JSON.
    pub fn json(&self) -> Json {
        let Self { keys, stored, kept, expired } = self;
        json!({ "keys": keys, "stored": stored, "kept": kept, "expired": expired })
    }
}

impl Engine {
    /// Writes an export of some namespaces, or of all, in pieces.
    pub fn export_storage(
        &self,
        namespaces: Option<Vec<Namespace>>,
        write: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), EngineError> {
        let mut writer = Writer::new(write).map_err(not_written)?;
        let Some(mut namespaces) = namespaces else {
            let mut last: Option<Key> = None;
            loop {
                let listed = self.run_on_storage(|backend| backend.namespaces(last.as_deref()));
                let page =
                    listed.map_err(|error| EngineError::Storage { namespace: None, error })?;
                for name in &page.keys {
                    self.export_namespace(&Namespace::parse_any(name)?, &mut writer)?;
                }
                last = page.keys.last().cloned().or(last);
                if page.is_last {
                    return writer.end().map_err(not_written);
                }
            }
        };
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in &namespaces {
            self.export_namespace(namespace, &mut writer)?;
        }
        writer.end().map_err(not_written)
    }

    fn export_namespace<F: FnMut(&[u8]) -> Result<(), String>>(
        &self,
        namespace: &Namespace,
        writer: &mut Writer<F>,
    ) -> Result<(), EngineError> {
        let (name, mut last, mut begun) = (namespace.as_str(), None::<Key>, false);
        loop {
            let mut page = self.on_storage(namespace, |backend| {
                let listing = Listing { prefix: "", after: last.as_deref(), most_bytes: u64::MAX };
                backend.list(name, &listing)
            })?;
            if page.is_last {
                page.keys.sort_unstable();
                page.keys.dedup();
            }
            for key in &page.keys {
                let found = self.on_storage(namespace, |backend| {
                    let key = checked(key)?;
                    let value = backend.get(name, key, u64::MAX)?;
                    Ok((value, backend.expires(name, key)?))
                })?;
                // It may have been removed meanwhile.
                let (Some(value), expires) = found else { continue };
                if !std::mem::replace(&mut begun, true) {
                    writer.namespace(name).map_err(not_written)?;
                }
                writer.key(key, &value, expires).map_err(not_written)?;
            }
            last = page.keys.last().cloned().or(last);
            if page.is_last {
                return Ok(());
            }
        }
    }

    /// Reads an export in pieces and stores it, in batches. `existing` is `None` to store nothing. An
    /// empty piece is the end.
    pub fn import_storage(
        &self,
        existing: Option<Existing>,
        mut read: impl FnMut() -> Result<Vec<u8>, String>,
    ) -> Result<Imported, EngineError> {
        let mut import = Import {
            engine: self,
            existing,
            imported: Imported::default(),
            namespace: None,
            changes: Vec::new(),
            bytes: 0,
        };
        let mut reader = Reader::default();
        let done = import.run(&mut reader, &mut read);
        import.imported.keys = reader.keys();
        match done {
            Ok(()) => Ok(import.imported),
            Err(error) => {
                let line = match &error {
                    ImportError::Exists { line, .. } => *line,
                    _ => reader.line(),
                };
                Err(EngineError::Import { line, imported: import.imported, error })
            }
        }
    }
}

fn not_written(reason: String) -> EngineError {
    EngineError::NotExported { reason }
}

struct Import<'a> {
    engine: &'a Engine,
    existing: Option<Existing>,
    imported: Imported,
    /// That of `changes`.
    namespace: Option<Namespace>,
    /// To be stored together.
    changes: Vec<Change>,
    /// The size of their values.
    bytes: usize,
}

impl Import<'_> {
    fn run(
        &mut self,
        reader: &mut Reader,
        read: &mut impl FnMut() -> Result<Vec<u8>, String>,
    ) -> Result<(), ImportError> {
        loop {
            let piece = read().map_err(ImportError::Read)?;
            if piece.is_empty() {
                reader.finish()?;
                self.store()?;
                return match self.existing {
                    None => Ok(()),
                    Some(_) => Ok(self.engine.run_on_storage(|backend| backend.flush())?),
                };
            }
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let (taken, key) = reader.take(rest)?;
                rest = &rest[taken..];
                if let Some(key) = key {
                    self.add(key)?;
                }
            }
        }
    }

    fn add(&mut self, exported: ExportedKey) -> Result<(), ImportError> {
        let ExportedKey { namespace, key, value, expires, line } = exported;
        let Some(existing) = self.existing else { return Ok(()) };
        if expiry::is_over(expires, expiry::now()) {
            self.imported.expired += 1;
            return Ok(());
        }
        if existing != Existing::Replaced
            && self.engine.run_on_storage(|backend| backend.exists(namespace.as_str(), &key))?
        {
            if existing == Existing::Refused {
                return Err(ImportError::Exists { namespace, key: shorten(&key), line });
            }
            self.imported.kept += 1;
            return Ok(());
        }
        if self.namespace.as_ref() != Some(&namespace) {
            self.store()?;
            self.namespace = Some(namespace);
        }
        self.bytes += value.len();
        self.changes.push(Change { key: key.into(), to: Some(Entry { value, expires }) });
        match self.changes.len() >= BATCH_KEYS || self.bytes >= BATCH_BYTES {
            true => self.store(),
            false => Ok(()),
        }
    }

    /// Stores what has been read.
    fn store(&mut self) -> Result<(), ImportError> {
        let (changes, Some(namespace)) = (std::mem::take(&mut self.changes), &self.namespace)
        else {
            return Ok(());
        };
        self.bytes = 0;
        let (count, name) = (changes.len() as u64, namespace.as_str());
        if changes.is_empty() {
            return Ok(());
        }
        self.engine.run_on_storage(|backend| {
            let takes_several = backend.apply(name, Vec::new()).is_ok();
            if takes_several {
                return backend.apply(name, changes);
            }
            // The host's storage need not be able to store several keys at once.
            changes.into_iter().try_for_each(|change| backend.apply(name, vec![change]))
        })?;
        self.imported.stored += count;
        Ok(())
    }
}
