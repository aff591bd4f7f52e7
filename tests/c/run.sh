#!/usr/bin/env bash
# Compiles and runs the C and C++ tests.
#
#     AIRSSYS_LIB_DIR=target/debug AIRSSYS_GUESTS_DIR=target/guests/components tests/c/run.sh [mode ...]
#
#     default    every program against the shared library
#     asan       the same under the address and undefined behaviour sanitizers, and with leaks found
#     static     one program with libairssys_wasm.a
#     headers    the header alone, in every standard
#     symbols    what the shared library exports, its name and its flags
#     valgrind   memory errors and leaks of one program (slow; needs valgrind)
#     all        default asan static headers symbols
#
# AIRSSYS_LIB_DIR: where libairssys_wasm.so and .a are. AIRSSYS_GUESTS_DIR: where the guests are.
# CC, CXX: the compilers.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${AIRSSYS_LIB_DIR:?set it to the directory of libairssys_wasm.so}"
: "${AIRSSYS_GUESTS_DIR:?set it to the directory of the guests}"
AIRSSYS_LIB_DIR=$(cd "$AIRSSYS_LIB_DIR" && pwd) || exit 1
AIRSSYS_GUESTS_DIR=$(cd "$AIRSSYS_GUESTS_DIR" && pwd) || exit 1
export AIRSSYS_LIB_DIR AIRSSYS_GUESTS_DIR
CC=${CC:-cc} CXX=${CXX:-c++}
header=$root/include/airssys_wasm.h
library=$AIRSSYS_LIB_DIR/libairssys_wasm.so

# A host's wish for backtraces must not change what the library does, see fork.c.
export RUST_BACKTRACE=1

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
failures=0 checks=0 programs=0

say() { printf '\n==> %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*"; failures=$((failures + 1)); }
warnings=(-Wall -Wextra -pedantic -Werror)
link=(-L"$AIRSSYS_LIB_DIR" -lairssys_wasm "-Wl,-rpath,$AIRSSYS_LIB_DIR" -lpthread -ldl)

# compile NAME COMPILER ARGUMENT...
compile() {
    local name=$1
    shift
    "$@" -I"$root/include" -o "$build/$name" >"$build/$name.log" 2>&1 && return
    cat "$build/$name.log"
    fail "$name does not compile"
    return 1
}

# run NAME ARGUMENT...: a program passes if it says so and the library did not panic meanwhile.
run() {
    local name=$1 status=0 line
    shift
    "$build/$name" "$@" >"$build/$name.log" 2>&1 || status=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$build/$name.log" | tail -n 1)
    printf '%-12s %s\n' "$name" "${line:-no result}"
    checks=$((checks + ${line%% *}+0)) programs=$((programs + 1))
    if [ "$status" -ne 0 ] || [ -z "$line" ] || grep -q 'panicked at' "$build/$name.log"; then
        cat "$build/$name.log"
        fail "$name (exit status $status)"
    fi
}

# example NAME ARGUMENT...: one that hangs is one that fails.
example() {
    local name=$1
    shift
    timeout 60 "$build/$name" "$@"
}

# programs FLAG...: all C tests.
c_programs() {
    local source name
    for source in "$here"/*.c; do
        name=$(basename "$source" .c)
        [ "$name" = leak ] && continue
        compile "$name" "$CC" -std=c99 "${warnings[@]}" -g "$@" "$source" "${link[@]}" && run "$name"
    done
}

mode_default() {
    say "C programs (-std=c99)"
    c_programs -O1
    say "C++ programs"
    local standard
    for standard in c++11 c++17; do
        compile "raii-$standard" "$CXX" "-std=$standard" "${warnings[@]}" -g "$root/tests/cpp/raii.cpp" \
            "${link[@]}" && run "raii-$standard"
    done
    say "the examples"
    local example
    for example in hello wordcount two_engines; do
        compile "$example" "$CC" -std=c99 "${warnings[@]}" "$root/bindings/c/examples/$example.c" "${link[@]}"
    done
    examples
    if sqlite; then
        compile sqlite_storage "$CC" -std=c99 "${warnings[@]}" "$root/bindings/c/examples/sqlite_storage.c" \
            "${link[@]}" -lsqlite3
        sqlite_example
    fi
    if cjson; then
        compile editor "$CC" -std=c99 "${warnings[@]}" "$root/bindings/c/examples/editor.c" "${link[@]}" -lcjson
        editor_example
    fi
}

# Whether cJSON can be compiled with.
cjson() {
    echo '#include <cjson/cJSON.h>' | "$CC" -E - >/dev/null 2>&1 && return
    echo "no cjson/cJSON.h here (Debian: libcjson-dev): editor.c is left out"
    return 1
}

# The plugins change the text, each as far as it may.
editor_example() {
    local out text=$build/text
    printf '# the first heading  \nplain text \n# another\n' >"$text"
    out=$(example editor "$AIRSSYS_GUESTS_DIR" "$text" 2>&1) || fail "editor: $out"
    [ "$out" = "editor/new/0: capability denied: host.function editor:api/buffer#set-line
editor/trim/0: 2 lines trimmed, lines 0 1
editor/title/0: 2 headings capitalized, lines 0 2
[editor/count/0] 8 words
editor/count/0: counted, lines
# The First Heading
plain text
# Another" ] || fail "editor: $out"
    printf 'nothing to do\nbut here ' >"$text"
    out=$(example editor "$AIRSSYS_GUESTS_DIR" "$text" 2>&1) || fail "editor: $out"
    out=$(example editor "$AIRSSYS_GUESTS_DIR" "$build/no-such-text" 2>&1) && fail "editor without a text succeeds"
    echo "editor runs"
}

# Whether SQLite can be compiled with.
sqlite() {
    echo '#include <sqlite3.h>' | "$CC" -E - >/dev/null 2>&1 && return
    echo "no sqlite3.h here (Debian: libsqlite3-dev): sqlite_storage.c is left out"
    return 1
}

# The storage breaks no rule, and the data outlives the program.
sqlite_example() {
    local out user=$AIRSSYS_GUESTS_DIR/storage-user.wasm
    out=$(example sqlite_storage "$build/data.db" "$user" "set k v" 2>&1) || fail "sqlite_storage: $out"
    [ "$out" = $'the storage breaks no rule\nok' ] || fail "sqlite_storage: $out"
    out=$(example sqlite_storage "$build/data.db" "$user" "get k" 2>&1)
    [ "$out" = $'the storage breaks no rule\nv' ] || fail "sqlite_storage with data: $out"
    out=$(example sqlite_storage "$build/no-such/data.db" 2>&1) && fail "sqlite_storage without a directory succeeds"
    echo "sqlite_storage runs"
}

# The examples do what their comments say, and say what is wrong.
examples() {
    local out
    out=$(example hello "$AIRSSYS_GUESTS_DIR/echo.wasm" 2>&1)
    [ "$out" = hello ] || fail "hello: $out"
    out=$(example hello "$AIRSSYS_GUESTS_DIR/no-such.wasm" 2>&1) && fail "hello without a component succeeds"
    case $out in *no-such.wasm*) ;; *) fail "hello without a component: $out" ;; esac

    printf 'b a b\n\nA c, b.\n\nB\n' >"$build/text"
    out=$(example wordcount "$AIRSSYS_GUESTS_DIR" "$build/text" 2>&1) || fail "wordcount: $out"
    local line
    for line in "$build/text: 3 chunks" '4 b' '2 a' '1 c' 'the host stores 3 keys, 21 bytes, the first of them:' \
        'INFO  demo/words/0: counted a chunk words=1 outstanding=0'; do
        grep -qxF "$line" <<<"$out" || { fail "wordcount does not print: $line"; echo "$out"; }
    done
    example wordcount "$AIRSSYS_GUESTS_DIR" "$build/no-such-text" >/dev/null 2>&1 && fail "wordcount without a text"

    out=$(example two_engines "$AIRSSYS_GUESTS_DIR" 2>&1) || fail "two_engines: $out"
    for line in 'left/asker/0 -> right/echo/0: is anybody there?' '  error: target-not-found(right/nobody/0)'; do
        grep -qxF "$line" <<<"$out" || { fail "two_engines does not print: $line"; echo "$out"; }
    done
    grep -qF '"payload":"is anybody there?","sender":"right/echo/0"' <<<"$out" || { fail "two_engines gets no answer"; echo "$out"; }
    example two_engines "$build" >/dev/null 2>&1 && fail "two_engines without components"
    echo "hello, wordcount and two_engines run"
}

mode_asan() {
    say "C programs under AddressSanitizer and UndefinedBehaviorSanitizer, with leaks found"
    local flags=(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    # Wasmtime has handlers of its own on top of the sanitizer's.
    export ASAN_OPTIONS=detect_leaks=1:allow_user_segv_handler=1:use_sigaltstack=1:detect_stack_use_after_return=0
    c_programs "${flags[@]}"
    compile raii "$CXX" -std=c++17 "${warnings[@]}" -g "${flags[@]}" "$root/tests/cpp/raii.cpp" "${link[@]}" && run raii
    local example
    for example in wordcount two_engines; do
        local arguments=("$AIRSSYS_GUESTS_DIR")
        [ "$example" = wordcount ] && arguments+=("$header")
        compile "$example" "$CC" -std=c99 "${flags[@]}" "$root/bindings/c/examples/$example.c" "${link[@]}" &&
            { example "$example" "${arguments[@]}" >"$build/$example.log" 2>&1 ||
                { tail -n 40 "$build/$example.log"; fail "$example under the sanitizers"; }; }
    done
    if cjson && compile editor "$CC" -std=c99 "${flags[@]}" "$root/bindings/c/examples/editor.c" "${link[@]}" -lcjson; then
        editor_example
    fi
    # The tests above say something only if a leak would be seen.
    if compile leak "$CC" -std=c99 -g "${flags[@]}" "$here/leak.c" "${link[@]}"; then
        "$build/leak" >"$build/leak.log" 2>&1 && fail "leak.c leaks and nobody noticed"
        grep -q 'LeakSanitizer: detected memory leaks' "$build/leak.log" || { cat "$build/leak.log"; fail "leak.c"; }
    fi
    unset ASAN_OPTIONS
}

mode_static() {
    say "one program with the static library"
    # What `rustc --print native-static-libs` names.
    compile static "$CC" -std=c99 "${warnings[@]}" "$here/roundtrip.c" "$AIRSSYS_LIB_DIR/libairssys_wasm.a" \
        -lgcc_s -lutil -lrt -lpthread -lm -ldl || return
    if readelf -d "$build/static" | grep -q libairssys_wasm; then
        fail "the program needs the shared library"
    fi
    run static
}

mode_headers() {
    say "the header alone"
    local compiler standard
    # Also twice, first and last, as headers are included.
    printf '#include "airssys_wasm.h"\n#include "airssys_wasm.h"\n' >"$build/header.c"
    cp "$build/header.c" "$build/header.cpp"
    for compiler in gcc clang; do
        command -v "$compiler" >/dev/null || { echo "no $compiler here"; continue; }
        for standard in c99 c11 c17; do
            "$compiler" "-std=$standard" "${warnings[@]}" -Wstrict-prototypes -fsyntax-only -I"$root/include" \
                "$build/header.c" && echo "$compiler $standard" || fail "$compiler -std=$standard"
        done
        for standard in c++11 c++17 c++20; do
            "$compiler" -x c++ "-std=$standard" "${warnings[@]}" -fsyntax-only -I"$root/include" \
                "$build/header.cpp" && echo "$compiler $standard" || fail "$compiler -std=$standard"
        done
    done
    foreign_names
}

# A C program gets all names of the header into its own scope.
foreign_names() {
    local name
    "$CC" -E -dM -x c "$header" | grep -vxFf <("$CC" -E -dM -x c <(printf '#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n')) |
        awk '{ print $2 }' | grep -v '^AIRSSYS_' >"$build/foreign"
    while read -r name; do
        fail "the header defines $name"
    done <"$build/foreign"
}

mode_symbols() {
    say "exports, name and flags of the shared library"
    nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$build/exported"
    # Without comments each declaration is `type airssys_name(`; callbacks in structs are `(*name)(`.
    "$CC" -E -P -x c "$header" | tr '\n' ' ' | grep -oE '\bairssys_[a-z_0-9]+ ?\(' | tr -d ' (' | sort -u >"$build/declared"
    [ -s "$build/declared" ] || fail "no functions found in the header"
    if diff "$build/declared" "$build/exported" >"$build/difference"; then
        echo "$(wc -l <"$build/declared") functions are declared and exported, and nothing else"
    else
        fail "header (<) and exports (>) differ"
        cat "$build/difference"
    fi
    readelf -dW "$library" >"$build/dynamic"
    grep -qF 'Library soname: [libairssys_wasm.so.0]' "$build/dynamic" && echo "its SONAME is libairssys_wasm.so.0" || fail "SONAME"
    grep -E 'FLAGS_1' "$build/dynamic" | grep -q NODELETE && echo "it stays loaded (NODELETE)" || fail "NODELETE"
    grep -q TEXTREL "$build/dynamic" && fail "text relocations"
    readelf -lW "$library" | grep -E 'GNU_STACK' | grep -q 'RWE' && fail "an executable stack"
    # A library name or path of the machine that built it has no place in it.
    grep -E '\((RPATH|RUNPATH)\)' "$build/dynamic" && fail "a run path"
    return 0
}

mode_valgrind() {
    command -v valgrind >/dev/null || { echo "no valgrind here"; return; }
    say "valgrind"
    local name
    export CHECK_PATIENCE_S=900
    for name in version roundtrip request router explain policies; do
        compile "$name" "$CC" -std=c99 -g "$here/$name.c" "${link[@]}" || continue
        # Guests' code is made at run time and unknown to valgrind.
        valgrind --quiet --error-exitcode=1 --leak-check=full --show-leak-kinds=definite \
            --errors-for-leak-kinds=definite --smc-check=all \
            "$build/$name" || fail "$name under valgrind"
    done
    unset CHECK_PATIENCE_S
}

[ $# -gt 0 ] || set -- default
for mode in "$@"; do
    case $mode in
        default | asan | static | headers | symbols | valgrind) "mode_$mode" ;;
        all) for each in default asan static headers symbols; do "mode_$each"; done ;;
        *) echo "unknown mode: $mode"; exit 2 ;;
    esac
done

printf '\n%d programs, %d checks, %d failures\n' "$programs" "$checks" "$failures"
[ "$failures" -eq 0 ]
