//! Components that `wasm-smith` makes, and its modules wrapped in one.

use arbitrary::Unstructured;
use wasm_encoder::{InstanceSection, RawSection};
use wasm_smith::{Component, Config, Module};

use crate::binaries::Host;
use crate::random::Random;
use crate::target::Target;

pub struct Generated(Host);

impl Generated {
    pub fn new() -> Self {
        Self(Host::new())
    }
}

impl Target for Generated {
    fn input(&self, random: &mut Random) -> Vec<u8> {
        let entropy = {
            let len = 16 << random.below(8);
            random.bytes(len)
        };
        let mut entropy = Unstructured::new(&entropy);
        let config = config(random);
        if random.one_in(2) {
            let component = Component::new(config, &mut entropy);
            return component.map(|component| component.to_bytes()).unwrap_or_default();
        }
        let module = Module::new(Config { max_imports: 0, ..config }, &mut entropy);
        module.map(|module| wrapped(&module.to_bytes())).unwrap_or_default()
    }

    fn run(&mut self, input: &[u8]) {
        self.0.try_out(input);
    }
}

/// What the engine can run, mostly.
fn config(random: &mut Random) -> Config {
    let mut config = Config {
        threads_enabled: false,
        memory64_enabled: false,
        gc_enabled: random.one_in(4),
        exceptions_enabled: random.one_in(4),
        generate_custom_sections: random.one_in(2),
        allow_invalid_funcs: random.one_in(8),
        max_memory32_bytes: 1 << 24,
        max_table_elements: 10_000,
        ..Config::default()
    };
    if std::env::var_os("FUZZ_DEEP").is_none() {
        config.max_nesting_depth = 4;
        config.max_type_size = 200;
    }
    config
}

/// A component that instantiates the module.
fn wrapped(module: &[u8]) -> Vec<u8> {
    let mut component = wasm_encoder::Component::new();
    component.section(&RawSection { id: 1, data: module });
    let mut instances = InstanceSection::new();
    instances.instantiate::<_, &str>(0, []);
    component.section(&instances);
    component.finish()
}
