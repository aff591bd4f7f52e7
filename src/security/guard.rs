//! Decides what one component may do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use thiserror::Error;

use crate::core::bounds::{REPORTS_PER_SECOND, cut};
use crate::core::clock::coarse_wall;
use crate::core::id::{ComponentId, IdRange, shorten};
use crate::core::message::Timestamp;
use crate::core::versioned::Versioned;
use crate::security::action::Action;
use crate::security::audit::{AuditLog, AuditRecord, Basis};
use crate::security::capability::{Capabilities, Grant, NotHeld, Scope};
use crate::security::directory::Directory;
use crate::security::host_pattern::Endpoint;
use crate::security::policy::{Effect, Policies};
use crate::security::quota::{Count, Permit, QuotaBreach, Quotas, Rate};
use crate::security::resource::Resource;

/// The number of decisions cached per component.
const REMEMBERED: usize = 256;

/// The number of concurrent name look-ups per component.
const LOOKUPS: u64 = 16;

/// Decisions on longer names are not cached: a guest must not fill host memory with them.
const REMEMBERED_BYTES: usize = 1024;

/// A component sees the components that it may send to in any of these ways.
const WAYS: [Action; 3] =
    [Action::MessagingSend, Action::MessagingRequest, Action::MessagingBroadcast];

/// The policies and the audit shared by all components of an engine.
pub struct Authority {
    policies: RwLock<Arc<Policies>>,
    /// Changes with the policies and with any component's grants. Never 0.
    version: AtomicU64,
    audit: Option<Arc<dyn AuditLog>>,
}

/// An action was refused.
#[derive(Clone, Debug, Error)]
pub enum Refused {
    /// The right is missing. Guests learn no more than what they asked for.
    #[error("capability denied: {} {resource}", action.name())]
    Denied { action: Action, resource: Box<str> },
    /// The right to the component's own resource is missing.
    #[error("capability denied: {}", .0.name())]
    OwnDenied(Action),
    /// A quota is used up.
    #[error(transparent)]
    Quota(#[from] QuotaBreach),
}

/// Whether an action is allowed, and on what basis.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// The basis of the decision.
    pub basis: Basis,
    /// How long the decision holds if nothing changes, in milliseconds since the Unix epoch.
    pub until: Option<u64>,
}

impl Decision {
    /// Returns how long the action stays allowed, or `None` if it is refused.
    pub fn allows(&self) -> Option<AllowedUntil> {
        self.allowed.then_some(AllowedUntil(self.until.unwrap_or(u64::MAX)))
    }
}

/// When an allowed action stops being allowed if nothing changes, in milliseconds since the Unix
/// epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedUntil(u64);

/// The rights of one component, and its use of the quotas.
pub struct Guard {
    component: Arc<ComponentId>,
    authority: Arc<Authority>,
    capabilities: RwLock<Arc<Capabilities>>,
    remembered: Mutex<Versioned<u64, Remembered>>,
    /// Per action on the component's own resource, the version for which it is allowed without
    /// expiry.
    own: [AtomicU64; Action::ALL.len()],
    quotas: Quotas,
    messages: Option<Rate>,
    requests: Option<Count>,
    lookups: Count,
    log_bytes: Option<Rate>,
    random_bytes: Option<Rate>,
    host_functions: Option<Rate>,
    log_records_dropped: AtomicU64,
    /// Limits the engine's own records about the component.
    reports: Rate,
    reports_dropped: AtomicU64,
}

#[derive(Default)]
struct Remembered {
    decisions: HashMap<Box<str>, Vec<(Action, Decision)>>,
    count: usize,
}

impl Authority {
    /// Creates an authority over all components.
    pub fn new(policies: Arc<Policies>, audit: Option<Arc<dyn AuditLog>>) -> Self {
        Self { policies: RwLock::new(policies), version: AtomicU64::new(1), audit }
    }

    /// Replaces the policies, effective from the next decision.
    pub fn set_policies(&self, policies: Policies) {
        *self.policies.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policies);
        self.changed();
    }

    fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl AllowedUntil {
    /// Returns whether it has not expired.
    pub fn holds(self) -> bool {
        self.0 == u64::MAX || now() < self.0
    }
}

impl Guard {
    /// Creates the rights of a component.
    pub fn new(
        component: Arc<ComponentId>,
        authority: Arc<Authority>,
        capabilities: Arc<Capabilities>,
        quotas: Quotas,
    ) -> Self {
        let rate = |name, limit: Option<u64>| limit.map(|limit| Rate::new(name, limit));
        Self {
            component,
            authority,
            capabilities: RwLock::new(capabilities),
            remembered: Mutex::default(),
            own: std::array::from_fn(|_| AtomicU64::new(0)),
            messages: rate("messages-per-second", quotas.messages_per_second),
            requests: quotas
                .outstanding_requests
                .map(|limit| Count::new("outstanding-requests", limit)),
            lookups: Count::new("lookups", LOOKUPS),
            log_bytes: rate("log-bytes-per-second", quotas.log_bytes_per_second),
            random_bytes: rate("random-bytes-per-second", quotas.random_bytes_per_second),
            host_functions: rate("host-functions-per-second", quotas.host_functions_per_second),
            log_records_dropped: AtomicU64::new(0),
            reports: Rate::new("reports", REPORTS_PER_SECOND),
            reports_dropped: AtomicU64::new(0),
            quotas,
        }
    }

    /// Returns the quotas.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Returns the grants.
    pub fn capabilities(&self) -> Arc<Capabilities> {
        Arc::clone(&self.capabilities.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the grants, effective from the next decision.
    pub fn change<E>(
        &self,
        change: impl FnOnce(&mut Capabilities) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut capabilities = self.capabilities.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = (**capabilities).clone();
        change(&mut changed)?;
        *capabilities = Arc::new(changed);
        drop(capabilities);
        self.authority.changed();
        Ok(())
    }

    /// Removes grants, effective from the next decision. Changes nothing on an error.
    pub fn revoke(&self, grants: &[Grant]) -> Result<(), NotHeld> {
        self.change(|capabilities| capabilities.remove(grants))
    }

    /// Returns a version that changes whenever a decision may change. Never 0.
    pub fn version(&self) -> u64 {
        self.authority.version.load(Ordering::Acquire)
    }

    /// Decides an action on a resource. Records nothing.
    pub fn decide(&self, action: Action, resource: Resource<'_>) -> Decision {
        let decision = |allowed, basis| Decision { allowed, basis, until: None };
        if let Some((at, rule)) = self.authority.policies().find(&self.component, action, resource)
            && rule.effect == Effect::Deny
        {
            return decision(false, Basis::Rule(at, Arc::clone(rule)));
        }
        if action == Action::DirectoryList {
            return self.decide_visible(resource);
        }
        match self.capabilities().find(&self.component, action, resource, now()) {
            Some(grant) => Decision {
                allowed: true,
                basis: Basis::Grant(Arc::clone(&grant.text)),
                until: grant.expires,
            },
            None if action.is_ambient() => decision(true, Basis::Ambient),
            None => decision(false, Basis::NotGranted),
        }
    }

    /// A component sees the components that it may send to.
    fn decide_visible(&self, resource: Resource<'_>) -> Decision {
        let decisions = WAYS.map(|way| self.decide(way, resource));
        let [first, ..] = &decisions;
        decisions.iter().find(|decision| decision.allowed).unwrap_or(first).clone()
    }

    /// Decides an action on a named resource and records the decision.
    pub fn check(&self, action: Action, name: &str) -> Result<AllowedUntil, Refused> {
        let version = self.version();
        {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            let known = remembered.at(version).decisions.get(name).and_then(|decisions| {
                decisions.iter().find(|(of, _)| *of == action).map(|(_, decision)| decision)
            });
            if let Some(known) = known
                && known.until.is_none_or(|until| now() < until)
            {
                if known.allowed && self.authority.audit.is_none() {
                    return Ok(AllowedUntil(known.until.unwrap_or(u64::MAX)));
                }
                let known = known.clone();
                drop(remembered);
                return self.conclude(action, Resource::Text(name), &known);
            }
        }
        let decision = self.decide(action, Resource::Text(name));
        if name.len() <= REMEMBERED_BYTES {
            self.remember(version, action, name, decision.clone());
        }
        self.conclude(action, Resource::Text(name), &decision)
    }

    fn remember(&self, version: u64, action: Action, name: &str, decision: Decision) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(remembered) = remembered.if_at(version) else { return };
        if remembered.count >= REMEMBERED {
            *remembered = Remembered::default();
        }
        remembered.count += 1;
        let decisions = match remembered.decisions.get_mut(name) {
            Some(decisions) => decisions,
            None => remembered.decisions.entry(name.into()).or_default(),
        };
        decisions.retain(|(of, _)| *of != action);
        decisions.push((action, decision));
    }

    /// Decides an action whose decision is not worth caching, and records it.
    pub fn check_once(
        &self,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<AllowedUntil, Refused> {
        self.conclude(action, resource, &self.decide(action, resource))
    }

    /// Decides an action on the component's own fixed resource and records it: its storage (`name`
    /// is the namespace), its clock (no name).
    pub fn check_own(&self, action: Action, name: Option<&str>) -> Result<(), Refused> {
        let version = self.version();
        let allowed_for = &self.own[action as usize];
        let resource = name.map_or(Resource::Own, Resource::Text);
        if allowed_for.load(Ordering::Acquire) == version {
            self.record_allowed(action, resource);
            return Ok(());
        }
        let decision = self.decide(action, resource);
        if decision.allowed && decision.until.is_none() {
            allowed_for.store(version, Ordering::Release);
        }
        self.conclude(action, resource, &decision).map(drop)
    }

    /// Decides an action on the component's own resource. Records nothing, since it is called with
    /// every message.
    #[inline]
    pub fn allows_own(&self, action: Action) -> bool {
        let version = self.version();
        self.own[action as usize].load(Ordering::Acquire) == version
            || self.decide_own(action, version)
    }

    #[cold]
    fn decide_own(&self, action: Action, version: u64) -> bool {
        let allowed_for = &self.own[action as usize];
        let decision = self.decide(action, Resource::Own);
        if decision.allowed && decision.until.is_none() {
            allowed_for.store(version, Ordering::Release);
        }
        decision.allowed
    }

    /// Returns whether the component may know the time. A component without a right to clocks gets
    /// no timestamps.
    #[inline]
    pub fn shows_time(&self) -> bool {
        self.allows_own(Action::ClockRead)
    }

    fn conclude(
        &self,
        action: Action,
        resource: Resource<'_>,
        decision: &Decision,
    ) -> Result<AllowedUntil, Refused> {
        if decision.allowed {
            if self.wants_allowed() {
                self.record(action, resource, true, decision.basis.clone());
            }
            return Ok(AllowedUntil(decision.until.unwrap_or(u64::MAX)));
        }
        Err(self.refuse(action, resource, decision.basis.clone()))
    }

    /// Refuses an action and records it.
    pub fn refuse(&self, action: Action, resource: Resource<'_>, basis: Basis) -> Refused {
        let quota = match &basis {
            Basis::Quota(breach) => Some(*breach),
            _ => None,
        };
        self.record(action, resource, false, basis);
        match (quota, resource) {
            (Some(breach), _) => Refused::Quota(breach),
            (None, Resource::Own) => Refused::OwnDenied(action),
            (None, _) => {
                Refused::Denied { action, resource: shorten(&resource.to_string()).into() }
            }
        }
    }

    /// Records an action that is already known to be allowed.
    pub fn record_allowed(&self, action: Action, resource: Resource<'_>) {
        if self.wants_allowed() {
            let decision = self.decide(action, resource);
            // If rights have changed in between, the new decision is not the basis of this action.
            if decision.allowed {
                self.record(action, resource, true, decision.basis);
            }
        }
    }

    fn wants_allowed(&self) -> bool {
        self.authority.audit.as_ref().is_some_and(|audit| audit.samples_allowed())
    }

    fn record(&self, action: Action, resource: Resource<'_>, allowed: bool, basis: Basis) {
        let Some(audit) = &self.authority.audit else { return };
        audit.take(AuditRecord {
            at: Timestamp::recent(),
            component: Arc::clone(&self.component),
            action,
            resource: cut(&resource.to_string(), AUDITED_BYTES).into(),
            allowed,
            basis,
        });
    }

    /// Returns the ranges that contain all ids visible to the component.
    pub fn visible(&self) -> Vec<IdRange> {
        let (now, capabilities) = (now(), self.capabilities());
        let ranges = capabilities.all().iter().filter_map(|grant| match &grant.scope {
            Scope::Ids(pattern) if WAYS.contains(&grant.action) && !grant.is_expired(now) => {
                Some(pattern.id_range())
            }
            _ => None,
        });
        IdRange::distinct(ranges.collect())
    }

    /// Returns whether the component sees another one in a list. Records nothing.
    pub fn sees(&self, id: &ComponentId) -> bool {
        self.decide(Action::DirectoryList, Resource::Text(id.as_str())).allowed
    }

    /// Records a listing of components.
    pub fn record_list(&self) {
        if self.wants_allowed() {
            self.record(Action::DirectoryList, Resource::Text("**"), true, Basis::Ambient);
        }
    }

    /// Returns whether policies may refuse an action on some files.
    pub fn policies_may_deny(&self, action: Action) -> bool {
        self.authority.policies().may_deny(&self.component, action)
    }

    /// Checks a host path against the policies alone, ignoring grants, and records a refusal.
    pub fn check_policies(&self, action: Action, path: &str) -> Result<(), Refused> {
        let resource = Resource::Text(path);
        match self.authority.policies().find(&self.component, action, resource) {
            Some((at, rule)) if rule.effect == Effect::Deny => {
                Err(self.refuse(action, resource, Basis::Rule(at, Arc::clone(rule))))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether an action is granted on a whole directory.
    pub fn grants_tree(&self, action: Action, root: &Directory) -> bool {
        let now = now();
        self.capabilities()
            .all()
            .iter()
            .any(|grant| grant.action == action && !grant.is_expired(now) && grant.is_tree_of(root))
    }

    /// Returns whether an action is granted on any resource.
    pub fn grants_any(&self, action: Action) -> bool {
        let now = now();
        let capabilities = self.capabilities();
        capabilities.all().iter().any(|grant| grant.action == action && !grant.is_expired(now))
    }

    /// Returns the visible directories, each with whether anything in it may be changed.
    pub fn directories(&self) -> Vec<(Arc<Directory>, bool)> {
        self.capabilities().directories(now())
    }

    /// Takes one message off the quota.
    pub fn take_message(&self, action: Action, target: &str) -> Result<(), Refused> {
        let Some(messages) = &self.messages else { return Ok(()) };
        messages.take(1).map_err(|breach| self.breach(action, Resource::Text(target), breach))
    }

    /// Returns a message to the quota because it will be tried again.
    pub fn give_message_back(&self) {
        if let Some(messages) = &self.messages {
            messages.give_back(1);
        }
    }

    /// Counts pending requests from now on, even without a quota. Called before any is made.
    pub fn count_requests(mut self) -> Self {
        self.requests.get_or_insert_with(|| Count::new("outstanding-requests", u64::MAX));
        self
    }

    /// Returns whether requests are pending, if they are counted.
    pub fn has_requests(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.taken() > 0)
    }

    /// Takes a permit for a pending request; `None` if they are not counted.
    pub fn take_request(&self, target: &str) -> Result<Option<Permit>, Refused> {
        let Some(requests) = &self.requests else { return Ok(None) };
        requests
            .take()
            .map(Some)
            .map_err(|breach| self.breach(Action::MessagingRequest, Resource::Text(target), breach))
    }

    /// Takes a permit for a name look-up.
    pub fn take_lookup(&self, endpoint: Endpoint<'_>) -> Result<Permit, Refused> {
        self.lookups.take().map_err(|breach| {
            self.breach(Action::NetworkOutbound, Resource::Endpoint(endpoint), breach)
        })
    }

    /// Takes random bytes off the quota.
    pub fn take_random(&self, bytes: u64) -> Result<(), Refused> {
        let Some(random) = &self.random_bytes else { return Ok(()) };
        random.take(bytes).map_err(|breach| self.breach(Action::RandomRead, Resource::Own, breach))
    }

    /// Checks a call of a function of the host, `namespace:package/interface#function`, against
    /// rights and quotas.
    pub fn take_host_function(&self, function: &str) -> Result<(), Refused> {
        self.check(Action::HostFunction, function)?;
        let Some(calls) = &self.host_functions else { return Ok(()) };
        let resource = Resource::Text(function);
        calls.take(1).map_err(|breach| self.breach(Action::HostFunction, resource, breach))
    }

    /// Takes a log record off the quota.
    pub fn take_log(&self, bytes: usize) -> LogRoom {
        let taken = self.log_bytes.as_ref().map_or(Ok(()), |log| log.take(bytes as u64));
        match taken {
            Ok(()) => LogRoom::Free {
                dropped: Dropped {
                    by_quota: taken_out(&self.log_records_dropped),
                    reports: taken_out(&self.reports_dropped),
                },
            },
            Err(breach) => {
                // One audit record each time the quota runs out.
                if self.log_records_dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    self.refuse(Action::LogWrite, Resource::Own, Basis::Quota(breach));
                }
                LogRoom::Full
            }
        }
    }

    /// Returns whether the engine may write one more record about the component, regardless of the
    /// log quota; counts the record if not.
    pub fn takes_report(&self) -> bool {
        let taken = self.reports.take(1).is_ok();
        if !taken {
            self.reports_dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Records that Wasmtime ended a call because of a quota.
    pub fn record_breach(&self, name: &'static str, value: u64) {
        self.breach(Action::HostCall, Resource::Own, QuotaBreach { name, value });
    }

    /// Returns what a guard made with the grants `initial` must know to go on from here. `None` if
    /// something under way counts against a quota.
    pub fn past(&self, initial: &Arc<Capabilities>) -> Option<GuardPast> {
        if self.has_requests() || self.lookups.taken() > 0 {
            return None;
        }
        let capabilities = self.capabilities();
        let changed = !Arc::ptr_eq(&capabilities, initial);
        let full_at = |rate: &Option<Rate>| rate.as_ref().map_or(0, Rate::full_at);
        Some(GuardPast {
            capabilities: changed.then_some(capabilities),
            messages: full_at(&self.messages),
            log_bytes: full_at(&self.log_bytes),
            random_bytes: full_at(&self.random_bytes),
            host_functions: full_at(&self.host_functions),
            reports: self.reports.full_at(),
            log_records_dropped: self.log_records_dropped.load(Ordering::Relaxed),
            reports_dropped: self.reports_dropped.load(Ordering::Relaxed),
        })
    }

    /// Goes on from what another guard of the component has left.
    pub fn go_on(self, past: &GuardPast) -> Self {
        let go_on = |rate: &Option<Rate>, full_at| {
            if let Some(rate) = rate {
                rate.go_on(full_at);
            }
        };
        go_on(&self.messages, past.messages);
        go_on(&self.log_bytes, past.log_bytes);
        go_on(&self.random_bytes, past.random_bytes);
        go_on(&self.host_functions, past.host_functions);
        self.reports.go_on(past.reports);
        Self {
            capabilities: match &past.capabilities {
                Some(changed) => RwLock::new(Arc::clone(changed)),
                None => self.capabilities,
            },
            log_records_dropped: AtomicU64::new(past.log_records_dropped),
            reports_dropped: AtomicU64::new(past.reports_dropped),
            ..self
        }
    }

    fn breach(&self, action: Action, resource: Resource<'_>, breach: QuotaBreach) -> Refused {
        self.refuse(action, resource, Basis::Quota(breach))
    }
}

/// What remains of a guard while its component is dormant.
#[derive(Clone, Default)]
pub struct GuardPast {
    /// The grants, if they have changed since the load.
    capabilities: Option<Arc<Capabilities>>,
    messages: u64,
    log_bytes: u64,
    random_bytes: u64,
    host_functions: u64,
    reports: u64,
    log_records_dropped: u64,
    reports_dropped: u64,
}

impl GuardPast {
    /// Returns whether a new guard knows all this.
    pub fn is_empty(&self) -> bool {
        let Self { messages, log_bytes, random_bytes, host_functions, reports, .. } = self;
        let Self { capabilities, log_records_dropped, reports_dropped, .. } = self;
        let rates = [messages, log_bytes, random_bytes, host_functions, reports];
        let counts = rates.into_iter().chain([log_records_dropped, reports_dropped]);
        capabilities.is_none() && counts.into_iter().all(|count| *count == 0)
    }
}

/// Whether a log record is within the quota.
pub enum LogRoom {
    /// Within the quota; `dropped` counts the records dropped before it.
    Free { dropped: Dropped },
    /// Over the quota; the record must be dropped.
    Full,
}

/// Counts of dropped records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Dropped because the quota was used up.
    pub by_quota: u64,
    /// Dropped because the engine wrote too many.
    pub reports: u64,
}

/// Takes a number, leaving 0; skips the write if it is 0 already.
fn taken_out(number: &AtomicU64) -> u64 {
    if number.load(Ordering::Relaxed) == 0 { 0 } else { number.swap(0, Ordering::Relaxed) }
}

/// The most bytes of a resource's name in an audit record.
const AUDITED_BYTES: usize = 4096;

fn now() -> u64 {
    u64::try_from(coarse_wall().as_millis()).unwrap_or(u64::MAX)
}
