//! Answers of the host to calls of its functions.

use crate::core::ports::FunctionOutcome;
use crate::system::engine::Engine;
use crate::system::error::EngineError;

impl Engine {
    /// Answers a call of a host function that waits for it.
    pub fn answer_function(&self, token: u64, outcome: FunctionOutcome) -> Result<(), EngineError> {
        match self.pending_answers.answer(token, outcome) {
            true => Ok(()),
            false => Err(EngineError::UnknownRequest(token)),
        }
    }
}
