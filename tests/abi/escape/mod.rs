//! Attempts of hostile guests: each is denied, each denial is in the audit, and the neighbours are
//! unaffected. Each file also uses what is granted, so that no test passes because everything
//! fails.

mod audit_record;
mod audit_to_grant;
mod disclosure;
mod environment;
mod file_rights;
mod files_closed_by_policy;
mod forging;
mod host_memory;
mod host_time;
mod late_refusals;
mod listening;
mod look_alike_ids;
mod malformed;
mod messaging;
mod network;
mod paths_and_links;
mod quotas;
mod rights;
mod storage;
mod streams;
mod ungranted_interfaces;
mod wasi_costs;
