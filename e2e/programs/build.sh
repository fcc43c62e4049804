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

for wasi in p1 p2; do
    (cd "$here/rust" && cargo build --quiet --release --target "wasm32-wasi$wasi" --target-dir "$work/target-programs")
    for bin in files hello probe; do
        put "$work/target-programs/wasm32-wasi$wasi/release/$bin.wasm" "$out/$bin-rust-$wasi.wasm"
    done
done
# WASI 0.1 has no way to make a socket.
put "$work/target-programs/wasm32-wasip2/release/net.wasm" "$out/net-rust-p2.wasm"

(cd "$here/rust-exchange" && cargo build --quiet --locked --release --target wasm32-wasip2 \
    --target-dir "$work/target-programs")
put "$work/target-programs/wasm32-wasip2/release/exchange.wasm" "$out/exchange-rust.wasm"
put "$work/target-programs/wasm32-wasip2/release/fetch.wasm" "$out/fetch-rust.wasm"

if newer "$out/hello-c-p1.wasm" "$here/c/hello.c"; then
    # The headers and the library come from an unpacked package, so their folders are named one by one.
    libc=$work/wasi-libc/usr
    clang-19 --target=wasm32-wasip1 -O2 -nostdlib -isystem "$libc/include/wasm32-wasip1" \
        -L "$libc/lib/wasm32-wasip1" "$libc/lib/wasm32-wasip1/crt1-command.o" "$here/c/hello.c" \
        -lc "$(clang-19 --target=wasm32-wasi --print-libgcc-file-name)" -o "$out/hello-c-p1.wasm"
fi

if newer "$out/hello-go-p1.wasm" "$here/go/hello.go"; then
    GOROOT=$work/go/usr/lib/go-1.23 GOCACHE=$work/go-cache GOPATH=$work/go-path GOENV=off GOFLAGS= GOTOOLCHAIN=local \
        GO111MODULE=off GOOS=wasip1 GOARCH=wasm \
        "$work/go/usr/lib/go-1.23/bin/go" build -ldflags='-s -w' -o "$out/hello-go-p1.wasm" "$here/go/hello.go"
fi
