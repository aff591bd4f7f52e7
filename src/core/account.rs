//! Accounts for host memory held on behalf of one component.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use thiserror::Error;

/// The account of one component: every byte of host memory held on its behalf, from before the
/// allocation until after the release.
///
/// The mailbox counts mail under the lock that it takes anyway; the account only reads that count.
/// A charge and a message that arrive together do not see each other, so the sum may exceed the
/// limit by one of them.
pub struct Account {
    limit: u64,
    /// All charges except mail.
    charged: AtomicU64,
    /// Bytes of the component's namespace in an in-memory store; shared by all users of the
    /// namespace.
    stored: Arc<AtomicU64>,
    mail: OnceLock<Weak<dyn MailBytes>>,
}

/// Counts the mail of one component.
pub trait MailBytes: Send + Sync {
    /// Returns the bytes of waiting mail and of mail in progress.
    fn mail_bytes(&self) -> u64;
}

/// A charge beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("max-host-bytes {limit} exceeded: {wanted} bytes wanted")]
pub struct HostBytesExceeded {
    /// The limit.
    pub limit: u64,
    /// The refused total.
    pub wanted: u64,
}

/// Charged bytes, released on drop.
pub struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Account {
    /// Creates an account without charges. `stored` counts the bytes of the component's namespace
    /// in an in-memory store.
    pub fn new(limit: u64, stored: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { limit, charged: AtomicU64::new(0), stored, mail: OnceLock::new() })
    }

    /// Connects the mailbox. Called once.
    pub fn connect(&self, mail: Weak<dyn MailBytes>) {
        let first = self.mail.set(mail).is_ok();
        debug_assert!(first, "an account has one mailbox");
    }

    /// Returns the limit, `max-host-bytes`.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the bytes held, mail included.
    pub fn held(&self) -> u64 {
        let mail = self.mail.get().and_then(Weak::upgrade);
        self.held_besides_mail().saturating_add(mail.map_or(0, |mail| mail.mail_bytes()))
    }

    /// Returns the bytes held, mail excluded.
    pub fn held_besides_mail(&self) -> u64 {
        let charged = self.charged.load(Ordering::Relaxed);
        charged.saturating_add(self.stored.load(Ordering::Relaxed))
    }

    /// Returns the bytes left below the limit.
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.held())
    }

    /// Charges `bytes` before they are allocated.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, HostBytesExceeded> {
        self.take(bytes)?;
        Ok(Charge { account: Arc::clone(self), bytes })
    }

    /// Checks that `bytes` more stay within the limit, without charging them.
    pub fn check(&self, bytes: u64) -> Result<(), HostBytesExceeded> {
        let wanted = self.held().saturating_add(bytes);
        let within = wanted <= self.limit;
        within.then_some(()).ok_or(HostBytesExceeded { limit: self.limit, wanted })
    }

    /// Charges bytes that were charged before, whatever the limit.
    pub fn charge_again(self: &Arc<Self>, bytes: u64) -> Charge {
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        Charge { account: Arc::clone(self), bytes }
    }

    /// Returns all charges except mail.
    pub fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), HostBytesExceeded> {
        if bytes > self.limit {
            return Err(HostBytesExceeded { limit: self.limit, wanted: bytes });
        }
        // Add before the check: of two concurrent charges, at least one sees the other.
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        self.check(0).inspect_err(|_| self.give_back(bytes))
    }

    fn give_back(&self, bytes: u64) {
        self.charged.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Charge {
    /// Returns the charged bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges `bytes` more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), HostBytesExceeded> {
        self.account.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Releases `bytes` of the charge.
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
