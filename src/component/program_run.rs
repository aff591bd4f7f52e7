//! Runs a component as a program.

use std::sync::Arc;

use crate::component::actor::Actor;
use crate::component::panics::Uncounted;
use crate::component::version::Source;
use crate::core::error::CallError;
use crate::core::message::{Invocation, Outcome};
use crate::runtime::host_context::HostContext;
use crate::runtime::load_error::LoadError;
use crate::runtime::program::{Program, RUN};

impl Actor {
    /// Runs the program in an instance of its own, which ends with the run. The component's other
    /// instance, if there is one, stays as it is, however the run ends.
    pub(super) async fn run_program(
        &self,
        source: &Source,
        context: &Arc<HostContext>,
        invocation: &Invocation,
        json: &[u8],
        on_caller: bool,
    ) -> Outcome {
        let uncounted = Uncounted::new(&self.status);
        let outcome = self.output_of(source, context, invocation, json, on_caller).await;
        drop(uncounted);
        self.status.count_handled(outcome.is_ok());
        outcome.map(Some)
    }

    async fn output_of(
        &self,
        source: &Source,
        context: &Arc<HostContext>,
        invocation: &Invocation,
        json: &[u8],
        on_caller: bool,
    ) -> Result<Vec<u8>, CallError> {
        if context.timers.is_stopping() {
            return Err(CallError::EngineStopped);
        }
        let version = &source.version;
        let name = context.identity.id.name();
        let program = Program::from_json(invocation, json, name, &context.account)?;
        let config = Arc::new(version.config.for_run(program));
        let made = async {
            let _reserved = version.prepared.admit()?;
            let config = Arc::clone(&config);
            self.instantiate_with(source, context, config, on_caller).await
        };
        let made: Result<_, LoadError> = made.await;
        let mut instance = made.map_err(|error| self.not_made(&error, error.cause()))?;
        let outcome = match &config.program {
            Some(program) => instance.run_program(program, invocation).await,
            None => Err(CallError::ExportNotFound { export: RUN }),
        };
        self.status.count_fuel(instance.take_fuel_used());
        instance.finish().await;
        outcome
    }
}
