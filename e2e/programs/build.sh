#!/usr/bin/env bash
# Builds the guests of the tests into .work/programs. e2e/install.sh brings the compilers.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(cd "$here/../.." && pwd)/.work
out=$work/programs
mkdir -p "$out"

# newer OUT SOURCE...: true if OUT is missing or older than a source.
newer() {
    local target=$1 source
    shift
    [ -e "$target" ] || return 0
    for source in "$@"; do
        [ "$source" -nt "$target" ] && return 0
    done
    return 1
}

# put SOURCE OUT: replaces OUT in one step, and only if it differs.
put() {
    cmp -s "$1" "$2" && return 0
    cp "$1" "$2.new"
    mv "$2.new" "$2"
}

rust() {
    local wasi bin
    for wasi in p1 p2; do
        (cd "$here/rust" && cargo build --quiet --locked --release --target "wasm32-wasi$wasi" \
            --target-dir "$work/target-programs")
        for bin in files hello probe tool; do
            put "$work/target-programs/wasm32-wasi$wasi/release/$bin.wasm" "$out/$bin-rust-$wasi.wasm"
        done
    done
    put "$work/target-programs/wasm32-wasip1/release/box.wasm" "$out/box-rust-p1.wasm"
    # WASI 0.1 has no way to make a socket.
    for bin in net web; do
        put "$work/target-programs/wasm32-wasip2/release/$bin.wasm" "$out/$bin-rust-p2.wasm"
    done
    (cd "$here/rust-exchange" && cargo build --quiet --locked --release --target wasm32-wasip2 \
        --target-dir "$work/target-programs")
    put "$work/target-programs/wasm32-wasip2/release/exchange.wasm" "$out/exchange-rust.wasm"
    for bin in fetch given lookup; do
        put "$work/target-programs/wasm32-wasip2/release/$bin.wasm" "$out/$bin-rust.wasm"
    done
    (cd "$here/rust-http" && cargo build --quiet --locked --release --target wasm32-wasip2 \
        --target-dir "$work/target-programs")
    put "$work/target-programs/wasm32-wasip2/release/server.wasm" "$out/server-rust.wasm"
}

# c NAME p1|p2: the headers and the library come from an unpacked package, so their folders are named one by one. For
# WASI 0.2, clang leaves the last step to a linker that comes with Rust.
c() {
    local name=$1 target=wasm32-wasi$2 result=$out/$1-c-$2.wasm libc=$work/wasi-libc/usr tools
    newer "$result" "$here/c/$name.c" || return 0
    tools=$(cd "$here" && rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin
    PATH=$tools:$PATH clang-19 "--target=$target" -O2 -Wall -Wextra -Werror -nostdlib -isystem "$libc/include/$target" \
        -L "$libc/lib/$target" "$libc/lib/$target/crt1-command.o" "$here/c/$name.c" \
        -lc "$(clang-19 --target=wasm32-wasi --print-libgcc-file-name)" -o "$work/target-programs/$name-c-$2.wasm"
    # The name of the file is part of it, so it is the right one from the start.
    mv "$work/target-programs/$name-c-$2.wasm" "$result"
}

go() {
    local name=$1 result=$out/$1-go-p1.wasm
    newer "$result" "$here/go/$name.go" || return 0
    GOROOT=$work/go/usr/lib/go-1.23 GOCACHE=$work/go-cache GOPATH=$work/go-path GOENV=off GOFLAGS= GOTOOLCHAIN=local \
        GO111MODULE=off GOOS=wasip1 GOARCH=wasm \
        "$work/go/usr/lib/go-1.23/bin/go" build -trimpath -ldflags='-s -w' -o "$result.new" "$here/go/$name.go"
    mv "$result.new" "$result"
}

# wit: puts WASI's own interface definitions, which a crate of wasmtime's carries, beside our worlds. The JavaScript
# engine serves HTTP by those of 0.2.10 and knows nothing that came later.
wit() {
    local crate
    crate=$(cd "$here/../peer" && cargo metadata --locked --format-version 1 |
        grep -o '"manifest_path":"[^"]*/wasmtime-wasi-http-[0-9.]*/Cargo.toml"' | cut -d'"' -f4)
    rm -rf "$work/wit" "$work/wit-0.2.10"
    mkdir -p "$work/wit"
    cp -r "${crate%/*}/wit/deps" "$here/wit/worlds.wit" "$work/wit"
    cp -r "$work/wit" "$work/wit-0.2.10"
    sed -i 's/0\.2\.1[12]/0.2.10/g' "$work"/wit-0.2.10/worlds.wit "$work"/wit-0.2.10/deps/*.wit
}

# python NAME WORLD
python() {
    local name=$1 world=$2 result=$out/$1-python.wasm
    newer "$result" "$here/python/$name.py" "$here/wit/worlds.wit" "$work/python/version" || return 0
    # Only the one file: the folder is the program's search path.
    mkdir -p "$work/python-$name"
    cp "$here/python/$name.py" "$work/python-$name"
    "$work/python/bin/componentize-py" --quiet --wit-path "$work/wit" --world "$world" \
        componentize "$name" --python-path "$work/python-$name" --output "$result.new"
    mv "$result.new" "$result"
}

# javascript NAME WORLD WIT [FEATURE...]: without these features of the engine.
javascript() {
    local name=$1 world=$2 wit=$3 result=$out/$1-js.wasm
    shift 3
    newer "$result" "$here/js/$name.js" "$here/js/componentize.mjs" "$here/wit/worlds.wit" "$work/js/installed" || return 0
    cp "$here/js/componentize.mjs" "$work/js"
    # It takes half a minute, and has been seen to wait for ever, so it is tried again.
    local try
    for try in 1 2 3; do
        if timeout 180 node "$work/js/componentize.mjs" "$here/js/$name.js" "$wit" "$world" "$result.new" "$@" \
            </dev/null; then
            break
        fi
        echo "programs: componentize-js failed on $name.js, try $try" >&2
    done
    mv "$result.new" "$result"
}

wit
# These three take about as long as each other, on one processor each.
{
    python tool command
    python server server
} &
pythons=$!
{
    javascript tool script "$work/wit" http fetch-event
    javascript server server "$work/wit-0.2.10"
} &
scripts=$!
rust
for wasi in p1 p2; do
    c tool "$wasi"
done
c hello p1
go hello
go tool
wait "$pythons"
wait "$scripts"
