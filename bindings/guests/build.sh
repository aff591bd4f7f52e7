#!/usr/bin/env bash
# build.sh [LANGUAGE...]: builds the greeters of the guest kits into target/guests/kits/LANGUAGE.wasm.
#
# The tools, of fixed versions, go to target/guests/tools and nowhere else. Without a language it builds all.
# A language whose tools cannot be had is left out by name; with CI=true that is a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/target/guests/tools
kits=$root/target/guests/kits
log=$tools/log
mkdir -p "$tools" "$kits"

PYTHON=${PYTHON:-python3}
COMPONENTIZE_PY=0.19.3
COMPONENTIZE_JS=0.23.0

say() { printf '%s\n' "$*"; }

# quietly COMMAND...: shows what it prints only if it fails.
quietly() {
    "$@" >"$log" 2>&1 || { cat "$log"; return 1; }
}

build_python() {
    local venv=$tools/python
    if [ "$("$venv/bin/componentize-py" --version 2>/dev/null)" != "componentize-py $COMPONENTIZE_PY" ]; then
        say "python: installing componentize-py $COMPONENTIZE_PY"
        quietly "$PYTHON" -m venv "$venv" || return
        quietly "$venv/bin/pip" install --quiet "componentize-py==$COMPONENTIZE_PY" || return
    fi
    say "python: building the component"
    (cd "$here/python" && PYTHONDONTWRITEBYTECODE=1 quietly "$venv/bin/componentize-py" -d "$root/wit/core" -w component \
        componentize greeter -p . -o "$kits/python.wasm")
}

build_javascript() {
    local prefix=$tools/javascript version
    version=$(sed -n 's/.*"version": "\(.*\)".*/\1/p' \
        "$prefix/node_modules/@bytecodealliance/componentize-js/package.json" 2>/dev/null || true)
    if [ "$version" != "$COMPONENTIZE_JS" ]; then
        say "javascript: installing componentize-js $COMPONENTIZE_JS"
        mkdir -p "$prefix"
        quietly npm install --no-audit --no-fund --prefix "$prefix" \
            "@bytecodealliance/componentize-js@$COMPONENTIZE_JS" || return
    fi
    say "javascript: building the component"
    # Node looks for packages beside the importing file.
    cp "$here/javascript/componentize.mjs" "$prefix/"
    quietly node "$prefix/componentize.mjs" "$here/javascript/greeter.js" \
        "$root/wit/core" "$kits/javascript.wasm"
}

failed=0
[ $# -gt 0 ] || set -- python javascript
for language in "$@"; do
    if "build_$language"; then
        say "$language: $kits/$language.wasm, $(wc -c <"$kits/$language.wasm") bytes"
    else
        say "$language: left out, see above"
        rm -f "$kits/$language.wasm"
        failed=1
    fi
done
[ "${CI:-}" != true ] || exit $failed
