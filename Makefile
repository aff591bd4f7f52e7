# Start with `make demo` and `make test`. `make help` lists all commands.

CARGO ?= cargo
CC ?= cc
PYTHON ?= python3
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share/airssys-wasm
DESTDIR ?=

TARGET_DIR := $(CURDIR)/target
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME := libairssys_wasm.so.0
GUESTS := $(TARGET_DIR)/guests/components
WASM_TARGETS := wasm32-unknown-unknown wasm32-wasip2

# Cargo with the target directory that the other rules expect.
cargo := CARGO_TARGET_DIR=$(TARGET_DIR) $(CARGO)
say = @printf '\n==> %s\n'

.DEFAULT_GOAL := help
.PHONY: help demo check test test-rust test-c test-python fuzz crash soak bench bench-peers models tsan install coverage tools lib \
	guests dev kits

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: # Checks the tools that every build needs, adds the WebAssembly targets.
	@for tool in $(CARGO) $(CC) $(PYTHON); do command -v $$tool >/dev/null || \
		{ echo "$$tool is missing: install Rust (rustup), a C compiler and Python 3.9 or newer"; exit 1; }; done
	@if command -v rustup >/dev/null; then \
		for target in $(WASM_TARGETS); do rustup target list --installed | grep -qx $$target || \
			{ echo "==> adding the Rust target $$target"; rustup target add $$target; }; done; fi

lib: tools ## Build the optimized library into target/release
	$(say) "building the library (the first build compiles Wasmtime: about 10 minutes on 2 cores)"
	$(cargo) build --release --locked -p airssys-wasm -p airssys-wasm-guests
	@ln -sf libairssys_wasm.so $(TARGET_DIR)/release/$(SONAME)

dev: tools # Builds library and guests for the tests: faster to build, slower to run.
	$(say) "building the library for tests (the first build compiles Wasmtime: about 5 minutes on 2 cores)"
	$(cargo) build --workspace --locked
	@ln -sf libairssys_wasm.so $(TARGET_DIR)/debug/$(SONAME)
	$(say) "building the components in tests/guests"
	$(TARGET_DIR)/debug/build-guests

demo: lib ## Run a C host, then a Python host, with real components on a real file
	$(say) "building the components in tests/guests"
	$(TARGET_DIR)/release/build-guests
	$(say) "compiling bindings/c/examples/wordcount.c"
	@mkdir -p $(TARGET_DIR)/demo
	$(CC) -std=c99 -Wall -Wextra -O2 -Iinclude bindings/c/examples/wordcount.c -o $(TARGET_DIR)/demo/wordcount \
		-L$(TARGET_DIR)/release -lairssys_wasm -Wl,-rpath,$(TARGET_DIR)/release
	$(say) "the C host counts the words of README.md"
	$(TARGET_DIR)/demo/wordcount $(GUESTS) README.md
	$(say) "the Python host does the same, in fewer lines"
	AIRSSYS_WASM_LIBRARY=$(TARGET_DIR)/release/libairssys_wasm.so PYTHONPATH=bindings/python \
		$(PYTHON) bindings/python/examples/wordcount.py $(GUESTS) README.md

check: dev ## Check formatting, lints, documentation and the generated files
	$(say) "formatting"
	$(cargo) fmt --all --check
	cd tests/guests && $(CARGO) fmt --all --check
	$(say) "lints"
	$(cargo) clippy --workspace --all-targets --locked -- -D warnings
	cd tests/guests && CARGO_TARGET_DIR=$(TARGET_DIR)/guests $(CARGO) clippy --workspace --exclude program --exclude wasi \
		--target wasm32-unknown-unknown --release --locked -- -D warnings
	cd bindings/guest-rust && $(CARGO) fmt --check && CARGO_TARGET_DIR=$(TARGET_DIR)/guest-rust \
		$(CARGO) clippy --all-targets --all-features --locked -- -D warnings
	$(say) "types in Python"
	@if $(PYTHON) -m mypy --version >/dev/null 2>&1; then cd bindings/python && $(PYTHON) -m mypy --strict airssys_wasm; \
		else echo "no mypy here: left out"; fi
	$(say) "documentation"
	RUSTDOCFLAGS="-D warnings" $(cargo) doc --no-deps --document-private-items --locked -p airssys-wasm
	cd bindings/guest-rust && RUSTDOCFLAGS="-D warnings" CARGO_TARGET_DIR=$(TARGET_DIR)/guest-rust \
		$(CARGO) doc --no-deps --all-features --locked
	$(say) "the committed header, schema and reference match the generated ones"
	AIRSSYS_WRITE_DOCUMENTS=1 $(cargo) test --locked --workspace --lib checked_in
	git diff --exit-code -- include/ docs/

test: test-rust test-c test-python ## Run all tests: Rust, C and C++ (also under sanitizers), Python

test-rust: dev
	$(say) "Rust tests"
	AIRSSYS_GUESTS_DIR=$(GUESTS) $(cargo) nextest run --workspace --locked
	$(say) "the guest kit for Rust"
	cd bindings/guest-rust && CARGO_TARGET_DIR=$(TARGET_DIR)/guest-rust $(CARGO) test --all-features --locked

test-c: dev
	$(say) "C and C++ tests"
	AIRSSYS_LIB_DIR=$(TARGET_DIR)/debug AIRSSYS_GUESTS_DIR=$(GUESTS) CC="$(CC)" tests/c/run.sh all

test-python: dev
	$(say) "Python tests"
	AIRSSYS_WASM_LIBRARY=$(TARGET_DIR)/debug/libairssys_wasm.so AIRSSYS_GUESTS_DIR=$(GUESTS) \
		PYTHONPATH=bindings/python $(PYTHON) -m unittest discover -s tests/python

kits: ## Build the greeters in C, Python, JavaScript and Go, which test-python loads (needs npm; at first 4 minutes)
	$(say) "building the greeters in other languages"
	CARGO_TARGET_DIR=$(TARGET_DIR) bindings/guests/build.sh

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

fuzz: dev ## Attack the library at random, each target for FUZZ_SECONDS (60); FUZZ_TARGETS="ways calls", FUZZ_SEED=N, FUZZ_DEEP=1
	$(say) "random attacks: generated and mutated components, documents, codecs, typed values, two ways to call, calls in any order"
	AIRSSYS_GUESTS_DIR=$(GUESTS) $(cargo) test --workspace --locked --test fuzz -- $(FUZZ_SECONDS) $(FUZZ_TARGETS)

CRASH_KILLS ?= 300

crash: dev ## Kill a process that writes to a storage's file CRASH_KILLS (300) times, check what is in it; AIRSSYS_CRASH_SEED=N
	$(say) "kills at random points; every acknowledged change and the usage counters are checked each time"
	AIRSSYS_CRASH_KILLS=$(CRASH_KILLS) $(cargo) nextest run --profile long --workspace --locked --lib --no-capture \
		-E 'test(a_killed_writer)'

SOAK_SECONDS ?= 300

soak: dev ## Run everything at once, short of threads, mappings, descriptors, for SOAK_SECONDS (300); SOAK_SEED=N, SOAK_SHORT="threads"
	$(say) "soak: calls in any order from many threads, while the system refuses resources for moments"
	AIRSSYS_GUESTS_DIR=$(GUESTS) $(cargo) test --workspace --locked --test soak -- $(SOAK_SECONDS)

bench: tools ## Measure against raw Wasmtime, as ratios in one run
	$(say) "benches (optimized build)"
	$(cargo) build --release --locked -p airssys-wasm-guests
	$(TARGET_DIR)/release/build-guests
	AIRSSYS_GUESTS_DIR=$(GUESTS) $(cargo) bench --locked

bench-peers: lib ## Measure beside Extism, wasmtime-py and rusm (fetches and builds them: at first 6 minutes or more)
	$(say) "building the components in tests/guests"
	$(TARGET_DIR)/release/build-guests
	$(say) "building the bench for the comparison with rusm"
	$(cargo) build --release --locked --bench actors
	CC="$(CC)" CARGO="$(CARGO)" PYTHON="$(PYTHON)" AIRSSYS_GUESTS_DIR=$(GUESTS) \
		AIRSSYS_ACTORS_BENCH="env $(cargo) bench --locked --bench actors -- --keys" benches/peers/run.sh

models: ## Try thread interleavings in models of the lock-free parts (loom)
	$(say) "models"
	cd tests/models && CARGO_TARGET_DIR=$(TARGET_DIR)/models $(CARGO) test --release --locked

# A rebuilt standard library leaves no Rust code uninstrumented. ThreadSanitizer needs help with these:
# - Wasmtime's fibers move a guest's stack to another thread. ThreadSanitizer counts function entries and
#   exits for each thread, so the counting must be off: a report names innermost functions only.
# - A stack or a guest's memory may be mapped where another one was. ThreadSanitizer watches the C library's
#   mmap and munmap, so rustix, through which Wasmtime maps, must use them.
# - Wasmtime allocates in the handler of a guest's trap. This is safe: guest code raised the signal.
# - One test forks while other threads run.
# ThreadSanitizer does not see guests: their machine code is not instrumented.
TSAN_FLAGS := -Zsanitizer=thread -Cllvm-args=-tsan-instrument-func-entry-exit=0 --cfg=rustix_use_libc
TSAN_OPTIONS := suppressions=tests/tsan.supp report_signal_unsafe=0 die_after_fork=0
# All tests except those that measure memory, need more address space than ThreadSanitizer leaves, take
# minutes under it, or switch stacks on one thread.
TSAN_TESTS ?= not test(/^(leaks|memory_reuse|compiling::(ahead|time_limit|kept_code)|runtime::simulation)::/) \
	and not test(/^(escape::(host_memory|wasi_costs)|shortage::address_space)::|^signals::traps_never_/) \
	and not test(/::ten_thousand_guests_|::components_within_components_|::a_race_of_two_/)

tsan: ## Run the Rust tests under ThreadSanitizer (needs a nightly Rust; at first 20 minutes, then 4)
	$(say) "checking for a nightly toolchain with its sources, cargo-nextest, llvm-symbolizer"
	@$(CARGO) +nightly --version || { echo "missing: rustup toolchain install nightly"; exit 1; }
	@rustup component add rust-src --toolchain nightly
	@$(CARGO) nextest --version || { echo "missing: cargo install --locked cargo-nextest"; exit 1; }
	@command -v llvm-symbolizer || { echo "missing: install LLVM's tools (Debian: llvm)"; exit 1; }
	$(say) "building the components in tests/guests"
	$(cargo) build --locked -p airssys-wasm-guests
	$(TARGET_DIR)/debug/build-guests
	$(say) "building and running the tests with ThreadSanitizer (TSAN_TESTS: another nextest filter)"
	RUSTFLAGS="$(TSAN_FLAGS)" TSAN_OPTIONS="$(TSAN_OPTIONS)" AIRSSYS_GUESTS_DIR=$(GUESTS) \
		CARGO_TARGET_DIR=$(TARGET_DIR)/tsan $(CARGO) +nightly nextest run --profile long -Zbuild-std \
		--target $$(rustc +nightly -vV | sed -n 's/^host: //p') --locked -p airssys-wasm --lib --test abi \
		-E '$(TSAN_TESTS)'

install: lib ## Install library, header, schema, pkg-config and CMake files below PREFIX (and DESTDIR)
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/airssys-wasm $(DESTDIR)$(INCLUDEDIR) \
		$(DESTDIR)$(DATADIR)
	install -m 755 $(TARGET_DIR)/release/libairssys_wasm.so $(DESTDIR)$(LIBDIR)/libairssys_wasm.so.$(VERSION)
	strip --strip-unneeded $(DESTDIR)$(LIBDIR)/libairssys_wasm.so.$(VERSION)
	ln -sf libairssys_wasm.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libairssys_wasm.so
	install -m 644 include/airssys_wasm.h $(DESTDIR)$(INCLUDEDIR)/airssys_wasm.h
	install -m 644 include/airssys_wasm.schema.json $(DESTDIR)$(DATADIR)/airssys_wasm.schema.json
	@for to in pkgconfig/airssys-wasm.pc cmake/airssys-wasm/airssys-wasm-config.cmake \
		cmake/airssys-wasm/airssys-wasm-config-version.cmake; do \
		file=$${to##*/}; to=$(DESTDIR)$(LIBDIR)/$$to; \
		sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' \
			-e 's|@VERSION@|$(VERSION)|g' bindings/c/$$file.in > $$to && chmod 644 $$to && echo "installed $$to"; done

coverage: dev ## Measure line coverage of the Rust tests (needs cargo-llvm-cov)
	$(say) "coverage"
	@command -v cargo-llvm-cov >/dev/null || $(CARGO) install --locked cargo-llvm-cov
	@if command -v rustup >/dev/null; then rustup component add llvm-tools; fi
	AIRSSYS_GUESTS_DIR=$(GUESTS) $(cargo) llvm-cov nextest --profile long --locked -p airssys-wasm --summary-only --fail-under-lines 90
