//! Keeps a sum, and hands it over to its next instance.

use std::cell::{Cell, RefCell};

use guest_kit::misbehaviour::{COMMANDS, misbehave};
use guest_kit::{
    Args, Component, ComponentConfig, ComponentError, ComponentMessage, ComponentMetadata, Reply,
    text,
};

mod state {
    //! The bindings of `component-state`.
    wit_bindgen::generate!({
        path: ["../../../wit/core", "../../../wit/state"],
        inline: "
            package tests:ledger;
            world with-state {
                export airssys:core/component-state@1.1.0;
            }
        ",
        world: "tests:ledger/with-state",
        with: {
            "airssys:core/errors@1.0.0": guest_kit::errors,
            "airssys:core/types@1.0.0": guest_kit::types,
        },
    });
}

thread_local! {
    static SUM: Cell<u64> = const { Cell::new(0) };
    static HISTORY: RefCell<String> = const { RefCell::new(String::new()) };
    /// What `save` and `restore` do: nothing, or `refuse`, `trap` or `loop`.
    static AT_SAVE: RefCell<String> = const { RefCell::new(String::new()) };
    static AT_RESTORE: RefCell<String> = const { RefCell::new(String::new()) };
    static FILL: Cell<usize> = const { Cell::new(0) };
}

struct Ledger;
guest_kit::export!(Ledger);
state::export!(Ledger with_types_in state);

impl Component for Ledger {
    fn metadata() -> ComponentMetadata {
        let own = ["add", "sum", "history", "at-save", "fill-state", "grow"];
        let commands: Vec<_> = own.into_iter().chain(COMMANDS).collect();
        guest_kit::metadata!(true, commands)
    }

    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        for (name, value) in config.env_vars {
            match name.as_str() {
                "AT_SAVE" => AT_SAVE.set(value),
                "AT_RESTORE" => AT_RESTORE.set(value),
                _ => {}
            }
        }
        Ok(())
    }

    fn handle_message(message: ComponentMessage) -> Reply {
        let mut args = Args::new(&message.payload);
        match args.word()? {
            "add" => SUM.set(SUM.get() + args.number::<u64>()?),
            "sum" => {}
            "history" => return text(HISTORY.with_borrow(Clone::clone)),
            "at-save" => AT_SAVE.set(args.rest_text()?.into()),
            "fill-state" => FILL.set(args.number()?),
            // Memory that the allocator has again, and the host has not.
            "grow" => drop(std::hint::black_box(vec![1_u8; args.number()?])),
            other => return misbehave(other, args, &message.payload),
        }
        text(SUM.get().to_string())
    }
}

impl state::exports::airssys::core1_1_0::component_state::Guest for Ledger {
    fn save() -> Result<Vec<u8>, ComponentError> {
        AT_SAVE.with_borrow(|how| obey(how))?;
        let mut saved = SUM.get().to_le_bytes().to_vec();
        saved.resize(saved.len() + FILL.get(), 0);
        Ok(saved)
    }

    fn restore(saved: Vec<u8>, from_version: String) -> Result<(), ComponentError> {
        AT_RESTORE.with_borrow(|how| obey(how))?;
        let sum = saved.first_chunk().map(|sum| u64::from_le_bytes(*sum));
        SUM.set(sum.ok_or_else(|| ComponentError::InvalidState("it is short".into()))?);
        HISTORY.set(format!("{} bytes from {from_version}", saved.len()));
        Ok(())
    }
}

fn obey(command: &str) -> Result<(), ComponentError> {
    match command {
        "refuse" => Err(ComponentError::InvalidState("not now".into())),
        "trap" => std::process::abort(),
        #[expect(clippy::empty_loop, reason = "only a limit may end it")]
        "loop" => loop {},
        _ => Ok(()),
    }
}
