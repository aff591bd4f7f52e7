#!/usr/bin/env bash
# Measures airssys-wasm beside its peers, and prints tables in Markdown.
#
#     benches/peers/run.sh [c] [python] [actors]
#
#     c         airssys_engine_call and Extism's extism_plugin_call, from C
#     python    the Python package beside extism and wasmtime, from Python
#     actors    messages and spawning of rusm
#
# Without an argument: all three. Everything that is installed or built goes to target/peers.
#
# AIRSSYS_LIB_DIR: where libairssys_wasm.so is (target/release). AIRSSYS_GUESTS_DIR: where the guests are
# (target/guests/components). AIRSSYS_ACTORS_BENCH: a command that prints for airssys-wasm what rusm's bench
# prints for rusm; run in turns with it, if set. CC, CARGO, PYTHON: the tools.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/target/peers
CC=${CC:-cc} CARGO=${CARGO:-cargo} PYTHON=${PYTHON:-python3}
python=$build/venv/bin/python

say() { printf '\n==> %s\n' "$*" >&2; }

# absolute DIRECTORY FILE: the directory's absolute path, if the file is in it.
absolute() {
    [ -f "$1/$2" ] || { echo "there is no $1/$2: run 'make lib' and build the guests first" >&2; exit 1; }
    (cd "$1" && pwd)
}
libraries=$(absolute "${AIRSSYS_LIB_DIR:-$root/target/release}" libairssys_wasm.so)
guests=$(absolute "${AIRSSYS_GUESTS_DIR:-$root/target/guests/components}" echo.wasm)

# What is printed at the top of the tables, because figures mean nothing without it.
machine() {
    local processor
    processor=$(sed -n '/^model name/{s/[^:]*: *//p;q}' /proc/cpuinfo)
    echo "$(date -u +%Y-%m-%d), $(nproc) cores of ${processor:-an unnamed processor}, $(uname -sr), $("$CARGO" --version)"
}

packages() {
    cmp -s "$here/requirements.txt" "$build/venv/installed.txt" && return
    say "installing extism and wasmtime into target/peers/venv"
    "$PYTHON" -m venv "$build/venv"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$build/venv/installed.txt"
}

# crate DIRECTORY WORDS ARGUMENT...: built on its own, so that it shares nothing with the library's build.
crate() {
    local directory=$1 words=$2
    shift 2
    say "building $words"
    (cd "$here/$directory" && "$CARGO" build --quiet --release --locked --target-dir "$build/$directory" "$@")
}

plugin() {
    crate extism-echo "the Extism plugin" --target wasm32-unknown-unknown
    echo_plugin=$build/extism-echo/wasm32-unknown-unknown/release/extism_echo.wasm
}

bench_c() {
    packages
    plugin
    local extism
    extism=$("$python" -c 'import extism_sys; print(*extism_sys.__path__)')
    say "compiling call.c"
    "$CC" -std=c99 -Wall -Wextra -pedantic -O2 -I"$root/include" "$here/call.c" -o "$build/call" \
        -L"$libraries" -lairssys_wasm -Wl,-rpath,"$libraries" -L"$extism" -lextism_sys -Wl,-rpath,"$extism"
    say "calls from C (about 15 seconds)"
    printf '\n## A call from C\n\n'
    "$build/call" "$guests/echo.wasm" "$echo_plugin"
}

bench_python() {
    packages
    plugin
    say "calls from Python (about 10 seconds)"
    printf '\n## A call from Python\n\n'
    AIRSSYS_WASM_LIBRARY=$libraries/libairssys_wasm.so PYTHONPATH=$root/bindings/python \
        "$python" "$here/call.py" "$guests/echo.wasm" "$echo_plugin" "$here/echo.wat"
}

bench_actors() {
    crate rusm-guest "the guest of rusm" --target wasm32-wasip2
    crate rusm "rusm (the first build compiles another Wasmtime: about 15 minutes on 2 cores)"
    say "messages and spawning of rusm (about 15 seconds)"
    printf '\n## Messages and spawning\n\n'
    local guest=$build/rusm-guest/wasm32-wasip2/release/rusm_guest.wasm
    # Words that a shell reads, since that is also what AIRSSYS_ACTORS_BENCH is.
    "$PYTHON" "$here/actors.py" "$(printf '%q %q' "$build/rusm/release/rusm-bench" "$guest")" \
        ${AIRSSYS_ACTORS_BENCH:+"$AIRSSYS_ACTORS_BENCH"}
}

[ $# -gt 0 ] || set -- c python actors
for bench in "$@"; do
    case $bench in
        c | python | actors) ;;
        *) echo "unknown bench: $bench" >&2; exit 2 ;;
    esac
done
mkdir -p "$build"
machine
for bench in "$@"; do "bench_$bench"; done
