//! Ambient resources, readable by every component unless a policy refuses: clocks, random numbers,
//! the environment.

use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::cli::WasiCliCtxView;
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomCtx;

use crate::runtime::call_error::HostCallTooLarge;
use crate::runtime::state::HostState;
use crate::security::action::Action;
use crate::security::guard::Guard;

/// A part of WASI with the rights to it.
pub struct Guarded<'a, T> {
    /// Performs the allowed calls.
    pub inner: T,
    /// Decides which calls are allowed. WASI has no errors for these: a refused call ends the
    /// instance.
    pub guard: &'a Arc<Guard>,
}

/// The linker's key for [`Guarded`] clocks.
pub struct HasClocks;

impl HasData for HasClocks {
    type Data<'a> = Guarded<'a, WasiClocksCtxView<'a>>;
}

/// The linker's key for [`Guarded`] random numbers.
pub struct HasRandom;

impl HasData for HasRandom {
    type Data<'a> = Guarded<'a, &'a mut WasiRandomCtx>;
}

/// The linker's key for a [`Guarded`] environment.
pub struct HasEnvironment;

impl HasData for HasEnvironment {
    type Data<'a> = Guarded<'a, WasiCliCtxView<'a>>;
}

/// Returns the clocks of an instance.
pub fn clocks(state: &mut HostState) -> Guarded<'_, WasiClocksCtxView<'_>> {
    let wasi = state.wasi();
    let inner = WasiClocksCtxView { ctx: wasi.context.clocks(), table: &mut wasi.table };
    Guarded { inner, guard: &wasi.guard }
}

/// Returns the random numbers of an instance.
pub fn random_numbers(state: &mut HostState) -> Guarded<'_, &mut WasiRandomCtx> {
    let wasi = state.wasi();
    Guarded { inner: wasi.context.random(), guard: &wasi.guard }
}

/// Returns the environment of an instance.
pub fn environment(state: &mut HostState) -> Guarded<'_, WasiCliCtxView<'_>> {
    let wasi = state.wasi();
    let inner = WasiCliCtxView { ctx: wasi.context.cli(), table: &mut wasi.table };
    Guarded { inner, guard: &wasi.guard }
}

impl wall_clock::Host for Guarded<'_, WasiClocksCtxView<'_>> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.guard.check_own(Action::ClockRead, None)?;
        wall_clock::Host::now(&mut self.inner)
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        wall_clock::Host::resolution(&mut self.inner)
    }
}

impl monotonic_clock::Host for Guarded<'_, WasiClocksCtxView<'_>> {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        self.guard.check_own(Action::ClockRead, None)?;
        monotonic_clock::Host::now(&mut self.inner)
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        monotonic_clock::Host::resolution(&mut self.inner)
    }

    fn subscribe_instant(
        &mut self,
        when: monotonic_clock::Instant,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        // Whether a timer has expired reveals the time.
        self.guard.check_own(Action::ClockRead, None)?;
        self.inner.subscribe_instant(when)
    }

    fn subscribe_duration(
        &mut self,
        when: monotonic_clock::Duration,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.inner.subscribe_duration(when)
    }
}

impl<T> Guarded<'_, T> {
    /// Checks a request for random bytes against rights and quotas.
    pub fn take_random(&self, bytes: u64) -> wasmtime::Result<()> {
        if bytes > self.guard.quotas().host_call_bytes {
            return Err(HostCallTooLarge.into());
        }
        self.guard.take_random(bytes)?;
        Ok(self.guard.check_own(Action::RandomRead, None)?)
    }
}

impl random::Host for Guarded<'_, &mut WasiRandomCtx> {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        // Called for one piece at a time by `bounded`, which checked rights and quotas.
        self.inner.get_random_bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.take_random(8)?;
        self.inner.get_random_u64()
    }
}

impl insecure::Host for Guarded<'_, &mut WasiRandomCtx> {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.inner.get_insecure_random_bytes(length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.take_random(8)?;
        self.inner.get_insecure_random_u64()
    }
}

impl insecure_seed::Host for Guarded<'_, &mut WasiRandomCtx> {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.take_random(16)?;
        self.inner.insecure_seed()
    }
}

impl environment::Host for Guarded<'_, WasiCliCtxView<'_>> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        match self.guard.check_own(Action::EnvironmentRead, None) {
            Ok(()) => self.inner.get_environment(),
            Err(_) => Ok(Vec::new()),
        }
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        match self.guard.check_own(Action::EnvironmentRead, None) {
            Ok(()) => self.inner.get_arguments(),
            Err(_) => Ok(Vec::new()),
        }
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        self.inner.initial_cwd()
    }
}
