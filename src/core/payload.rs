//! The bytes of a message.

use std::fmt;
use std::io;
use std::ops::Deref;

use bytes::Bytes;
use memmap2::MmapMut;

/// The most bytes stored inside the message itself. Beyond this size an allocation costs less than
/// moving the bytes with the message.
const INLINE: usize = 38;

/// Payloads of at least this size get a mapping of their own: the allocator would keep the freed
/// memory, some of it for each thread. At this size copying takes longer than mapping.
const MAPPED: usize = 4 << 20;

/// Bytes that are cheap to clone: short ones are copied, long ones shared.
#[derive(Clone)]
pub struct Payload(Form);

#[derive(Clone)]
enum Form {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Bytes),
}

impl Payload {
    /// Copies `bytes`; fails if the system has no memory for a large copy.
    pub fn try_copy_of(bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() < MAPPED {
            return Ok(Self::allocated(bytes));
        }
        let mut copy = MmapMut::map_anon(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(Self(Form::Shared(Bytes::from_owner(copy))))
    }

    /// Copies `bytes`; falls back to the allocator if the mapping fails.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::try_copy_of(bytes).unwrap_or_else(|_| Self::allocated(bytes))
    }

    fn allocated(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        Self(match inline.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Form::Inline { len: bytes.len() as u8, bytes: inline }
            }
            None => Form::Shared(Bytes::copy_from_slice(bytes)),
        })
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Form::Shared(bytes.into()))
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Form::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_come_out_as_they_went_in() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 255, 256, 257, MAPPED - 1, MAPPED] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            assert_eq!(*Payload::copy_of(&bytes), *bytes, "{len}");
            assert_eq!(*Payload::copy_of(&bytes).clone(), *bytes, "{len}");
            assert_eq!(*Payload::try_copy_of(&bytes).unwrap().clone(), *bytes, "{len}");
            assert_eq!(*Payload::from(bytes.clone()), *bytes, "{len}");
        }
    }
}
