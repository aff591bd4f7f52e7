//! Ed25519 signatures of component binaries.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};
use thiserror::Error;

/// The bytes of a public key.
pub const KEY_BYTES: usize = 32;

/// The bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Why bytes are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// They encode no point of the curve.
    #[error("it is no point of the curve")]
    NoPoint,
    /// Anyone can sign for it.
    #[error("it has a small order, so that anyone can sign for it")]
    SmallOrder,
}

impl PublicKey {
    /// Creates a key from its bytes, as of RFC 8032.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, InvalidKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey::NoPoint)?;
        if key.is_weak() { Err(InvalidKey::SmallOrder) } else { Ok(Self(key)) }
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().fmt(f)
    }
}

/// Whose binaries an engine accepts; by default anyone's.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The keys of those who may sign.
    pub keys: Vec<Arc<PublicKey>>,
    /// Whether a binary must be signed.
    pub required: bool,
}

/// Why a binary is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Untrusted {
    /// It must be signed.
    #[error("it is not signed, and the engine's require-signature is true")]
    Unsigned,
    /// There is no key to check its signature.
    #[error("its signature cannot be checked: the engine has no trusted-keys")]
    NoKeys,
    /// None of the keys made its signature.
    #[error("its signature was not made for this binary by any of the {keys} trusted-keys")]
    Unknown {
        /// The number of keys.
        keys: usize,
    },
}

impl Trust {
    /// Returns the key that made a signature over the SHA-256 of a binary; `None` if it has, and
    /// needs, no signature.
    pub fn signer(
        &self,
        signature: Option<&[u8; SIGNATURE_BYTES]>,
        sha256: impl FnOnce() -> [u8; 32],
    ) -> Result<Option<Arc<PublicKey>>, Untrusted> {
        let Some(signature) = signature else {
            return if self.required { Err(Untrusted::Unsigned) } else { Ok(None) };
        };
        if self.keys.is_empty() {
            return Err(Untrusted::NoKeys);
        }
        let (signature, sha256) = (Signature::from_bytes(signature), sha256());
        // Strict: one signature has one form, and the points of small order sign nothing.
        let made_it = |key: &&Arc<PublicKey>| key.0.verify_strict(&sha256, &signature).is_ok();
        let signer = self.keys.iter().find(made_it);
        signer.cloned().map(Some).ok_or(Untrusted::Unknown { keys: self.keys.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    const DIGEST: [u8; 32] = [9; 32];

    fn trust(keys: &[&SigningKey]) -> Trust {
        let key = |key: &&SigningKey| {
            Arc::new(PublicKey::from_bytes(key.verifying_key().as_bytes()).unwrap())
        };
        Trust { keys: keys.iter().map(key).collect(), required: false }
    }

    #[test]
    fn the_key_that_signed_is_found() {
        let [one, two, other] = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let trust = trust(&[&one, &two]);
        let signer = |key: &SigningKey| {
            let signer = trust.signer(Some(&key.sign(&DIGEST).to_bytes()), || DIGEST);
            signer.map(|signer| *signer.unwrap().as_bytes())
        };
        assert_eq!(signer(&one), Ok(one.verifying_key().to_bytes()));
        assert_eq!(signer(&two), Ok(two.verifying_key().to_bytes()));
        assert_eq!(signer(&other), Err(Untrusted::Unknown { keys: 2 }));
        let of_another = one.sign(&[8; 32]).to_bytes();
        assert!(trust.signer(Some(&of_another), || DIGEST).is_err());
    }

    #[test]
    fn another_form_of_a_signature_is_refused() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut signature = key.sign(&DIGEST).to_bytes();
        assert!(trust(&[&key]).signer(Some(&signature), || DIGEST).is_ok());
        // The order of the group, added to the scalar: the same number to a verifier that reduces.
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0;
        for (digit, more) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*digit) + u16::from(more) + carry;
            (*digit, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(carry, 0);
        assert!(trust(&[&key]).signer(Some(&signature), || DIGEST).is_err());
    }

    #[test]
    fn keys_that_anyone_can_sign_for_are_refused() {
        // The points of order 1, 2 and 4.
        let (mut one, mut two, four) = ([0; 32], [0xff; 32], [0; 32]);
        (one[0], two[0], two[31]) = (1, 0xec, 0x7f);
        for bytes in [one, two, four] {
            assert_eq!(PublicKey::from_bytes(&bytes), Err(InvalidKey::SmallOrder));
        }
        let mut none = [0; 32];
        none[0] = 2;
        assert_eq!(PublicKey::from_bytes(&none), Err(InvalidKey::NoPoint));
    }

    #[test]
    fn a_point_of_small_order_signs_nothing() {
        let key = SigningKey::from_bytes(&[1; 32]);
        // With the neutral point and the scalar 0, a lax verifier has one equation less to fail.
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(trust(&[&key]).signer(Some(&signature), || DIGEST).is_err());
    }

    #[test]
    fn no_signature_will_do_unless_one_is_required() {
        let unread = || -> [u8; 32] { unreachable!("nothing is signed") };
        let mut trust = Trust::default();
        assert_eq!(trust.signer(None, unread), Ok(None));
        assert_eq!(trust.signer(Some(&[0; 64]), unread), Err(Untrusted::NoKeys));
        trust.required = true;
        assert_eq!(trust.signer(None, unread), Err(Untrusted::Unsigned));
    }
}
