//! What the host holds in its own memory for one component.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use thiserror::Error;

/// The account of one component: every byte of the host's memory that the component makes it hold, from
/// before the byte is allocated until it is released.
///
/// Mail is counted by the mailbox, under the lock that it takes anyway, and only read here. A charge and
/// a message that come at the same moment do not see each other, so the sum may pass the limit by one
/// of the two.
pub struct Account {
    limit: u64,
    /// All charges but those for mail.
    charged: AtomicU64,
    /// What the component's namespace takes of a store in memory; shared by all that use the namespace.
    stored: Arc<AtomicU64>,
    mail: OnceLock<Weak<dyn MailBytes>>,
}

/// Counts the mail of one component.
pub trait MailBytes: Send + Sync {
    /// Bytes of the mail that waits, and of the mail that is being handled.
    fn mail_bytes(&self) -> u64;
}

/// An account that has no room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("max-host-bytes {limit} exceeded: {wanted} bytes wanted")]
pub struct HostBytesExceeded {
    /// The limit.
    pub limit: u64,
    /// The total that was refused.
    pub wanted: u64,
}

/// Bytes on an account, released when this is dropped.
pub struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Account {
    /// Nothing is charged. `stored`: see [`Account`].
    pub fn new(limit: u64, stored: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { limit, charged: AtomicU64::new(0), stored, mail: OnceLock::new() })
    }

    /// Names the mailbox, once.
    pub fn connect(&self, mail: Weak<dyn MailBytes>) {
        let first = self.mail.set(mail).is_ok();
        debug_assert!(first, "an account has one mailbox");
    }

    /// The most that may be held, `max-host-bytes`.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What is held.
    pub fn held(&self) -> u64 {
        let mail = self.mail.get().and_then(Weak::upgrade);
        self.held_besides_mail().saturating_add(mail.map_or(0, |mail| mail.mail_bytes()))
    }

    /// What is held, mail apart.
    pub fn held_besides_mail(&self) -> u64 {
        let charged = self.charged.load(Ordering::Relaxed);
        charged.saturating_add(self.stored.load(Ordering::Relaxed))
    }

    /// How many bytes more would be within the limit.
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.held())
    }

    /// Charges bytes that are about to be allocated.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, HostBytesExceeded> {
        self.take(bytes)?;
        Ok(Charge { account: Arc::clone(self), bytes })
    }

    /// Whether so many bytes more would be within the limit.
    pub fn check(&self, bytes: u64) -> Result<(), HostBytesExceeded> {
        let wanted = self.held().saturating_add(bytes);
        let within = wanted <= self.limit;
        within.then_some(()).ok_or(HostBytesExceeded { limit: self.limit, wanted })
    }

    fn take(&self, bytes: u64) -> Result<(), HostBytesExceeded> {
        if bytes > self.limit {
            return Err(HostBytesExceeded { limit: self.limit, wanted: bytes });
        }
        // Counted first: of two charges at the same moment, one sees the other.
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        self.check(0).inspect_err(|_| self.give_back(bytes))
    }

    fn give_back(&self, bytes: u64) {
        self.charged.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Charge {
    /// Charges more, for something that grows.
    pub fn grow(&mut self, bytes: u64) -> Result<(), HostBytesExceeded> {
        self.account.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Releases a part, of something that shrinks.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.account.give_back(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mail(u64);

    impl MailBytes for Mail {
        fn mail_bytes(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn charges_mail_and_storage_share_one_limit() {
        let stored = Arc::new(AtomicU64::new(10));
        let account = Account::new(100, Arc::clone(&stored));
        let mail: Arc<dyn MailBytes> = Arc::new(Mail(20));
        account.connect(Arc::downgrade(&mail));
        let mut first = account.charge(40).unwrap();
        assert_eq!((account.held(), account.held_besides_mail()), (70, 50));
        let refused = account.charge(31).map(|_| ()).unwrap_err();
        assert_eq!(refused, HostBytesExceeded { limit: 100, wanted: 101 });
        assert_eq!(refused.to_string(), "max-host-bytes 100 exceeded: 101 bytes wanted");
        assert_eq!(account.held(), 70, "a refused charge is not kept");
        first.grow(30).unwrap();
        assert!(first.grow(1).is_err());
        first.shrink(50);
        assert_eq!(account.held(), 50);
        stored.store(0, Ordering::Relaxed);
        drop((first, mail));
        assert_eq!(account.held(), 0);
        assert!(account.charge(u64::MAX).is_err() && account.held() == 0);
    }
}
