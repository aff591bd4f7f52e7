//! Who signed a binary, asked before anything else is done with it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::runtime::load_error::LoadError;
use crate::security::signature::{PublicKey, SIGNATURE_BYTES};
use crate::system::config::EngineConfig;
use crate::system::engine::Engine;
use crate::system::json::OptionsError;

impl EngineConfig {
    /// Checks that a binary can be accepted at all.
    pub(super) fn check_trust(&self) -> Result<(), OptionsError> {
        if !self.trust.required || !self.trust.keys.is_empty() {
            return Ok(());
        }
        Err(OptionsError::Invalid {
            place: "config.require-signature".into(),
            reason: "true refuses every binary unless trusted-keys has a key".into(),
        })
    }
}

impl Engine {
    /// Returns the key that signed a binary, if it is signed. Fails if it may not be used.
    pub(super) fn signer(
        &self,
        binary: &[u8],
        signature: Option<&[u8; SIGNATURE_BYTES]>,
    ) -> Result<Option<Arc<PublicKey>>, LoadError> {
        Ok(self.trust.signer(signature, || Sha256::digest(binary).into())?)
    }
}
