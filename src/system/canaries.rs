//! Canaries: versions that share the mail of a component with the version before, until one of the
//! two goes.

use std::sync::Arc;
use std::time::Duration;

use crate::component::canary::{Canary, Reason, Terms, Verdict};
use crate::component::pool::Pool;
use crate::component::version::Version;
use crate::core::deadline::deadline_in;
use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::ports::StateChanges;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::replacing::Handing;

impl Engine {
    /// Sets a version on trial in all instances of a pool. After a failure, it is in none.
    pub(super) fn begin_canary(
        &self,
        pool: &Arc<Pool>,
        version: Arc<Version>,
        terms: Terms,
        handing: Handing<'_>,
    ) -> Result<(), EngineError> {
        let changes: Arc<dyn StateChanges> = self.states.clone();
        let canary = Canary::new(pool, terms, version, changes);
        let handing = Handing { canary: Some(&canary), ..handing };
        for actor in pool.actors() {
            self.hand_over(pool, actor, canary.version(), handing).inspect_err(|_| {
                canary.decide(Verdict::Abort(Reason::Call));
            })?;
        }
        if !canary.begin() {
            return Err(self.not_taken_over(pool, CallError::Stopped));
        }
        if let Some(time) = canary.terms().time {
            pool.actors().iter().for_each(|actor| self.rounds.judge_in(actor, time));
        }
        Ok(())
    }

    /// Decides what becomes of a canary, and waits until it has.
    pub fn decide_canary(
        &self,
        handle: ComponentHandle,
        verdict: Verdict,
        timeout: Duration,
    ) -> Result<(), EngineError> {
        self.check_running()?;
        let pool = self.pool(handle)?;
        for actor in pool.actors() {
            self.wait_for(actor)?;
        }
        let no_canary = |ended| EngineError::NoCanary { component: Arc::clone(pool.id()), ended };
        let canary = pool.canary().ok_or_else(|| no_canary(None))?;
        let decided = canary.decide(verdict);
        if decided.name() != verdict.name() {
            return Err(no_canary(Some(decided)));
        }
        // A thread waits for one at a time; any will do.
        let _wait = self.wait_for(pool.actors().first())?;
        let look = || match canary.outcome() {
            Some(_) => Some(Ok(())),
            None => self.check_running().err().map(Err),
        };
        self.states.until(deadline_in(timeout), look).unwrap_or_else(|| {
            let component = Arc::clone(pool.id());
            Err(EngineError::CanaryInTime { component, verdict, timeout })
        })
    }
}
