#!/usr/bin/env bash
# Installs what the tests and the demo need and this machine lacks (Debian 12, root, Rust already there).
#
#   e2e/install.sh             all of it
#   e2e/install.sh NAME...     some of: containerd cni clang wasi-libc go chart python javascript rust runc
#                              and, for `make cluster`, etcd kubectl kubernetes cluster-tools
#
# CONTAINERD=1.6|1.7|2.1 restricts containerd to that series; without it all three come. Plain packages of the running
# release go in through apt. Packages of other suites are unpacked below .work and never installed; the system's apt
# sources stay as they are. What is there already is left alone.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$root/.work
read -ra series <<<"${CONTAINERD:-1.6 1.7 2.1}"

# shellcheck source=e2e/install-apt.sh
source "$root/e2e/install-apt.sh"
# shellcheck source=e2e/install-kubernetes.sh
source "$root/e2e/install-kubernetes.sh"

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Debian suite of a containerd series.
containerd_suite() {
    case $1 in
        1.6) echo bookworm ;;
        1.7) echo trixie ;;
        2.1) echo sid ;;
        *) die "CONTAINERD=$1 is not one of 1.6, 1.7, 2.1" ;;
    esac
}

install_containerd() {
    local version suite dir found
    for version in "${series[@]}"; do
        suite=$(containerd_suite "$version")
        dir=$work/containerd-$version
        unpack_deb "$dir" "$suite" containerd
        found=$("$dir/usr/bin/containerd" --version | awk '{print $3}') || die "containerd of $suite does not run here"
        case $found in
            "$version".*) ;;
            *) say "warning: $suite now has containerd $found, not $version.x" ;;
        esac
    done
}

install_cni() { unpack_deb "$work/cni" sid containernetworking-plugins; }

# For comparisons only; nothing of Mote runs it. The one of this release, as newer ones need a newer libc.
install_runc() {
    unpack_deb "$work/runc" bookworm runc
    system_packages libseccomp2
}

install_clang() { system_packages clang-19 lld-19 libclang-rt-19-dev-wasm32; }

install_wasi_libc() { unpack_deb "$work/wasi-libc" trixie wasi-libc; }

install_go() {
    unpack_deb "$work/go" bookworm-backports golang-1.23-src
    unpack_deb "$work/go" bookworm-backports golang-1.23-go
}

# What Helm renders templates with; Helm itself is in no registry.
install_chart() {
    local name
    for name in masterminds-sprig masterminds-semver masterminds-goutils huandu-xstrings google-uuid imdario-mergo \
        shopspring-decimal mitchellh-copystructure mitchellh-reflectwalk spf13-cast; do
        unpack_deb "$work/chart" bookworm "golang-github-$name-dev"
    done
    unpack_deb "$work/chart" bookworm golang-golang-x-crypto-dev
    unpack_deb "$work/chart" bookworm golang-gopkg-yaml.v3-dev
    (
        cd "$root/e2e/chart"
        GOTOOLCHAIN=local GO111MODULE=off CGO_ENABLED=0 GOPATH=$work/chart/usr/share/gocode GOCACHE=$work/go-cache \
            "$work/go/usr/lib/go-1.23/bin/go" build -o "$work/chart/.render.new" main.go
    ) || die "the renderer of charts cannot be built"
    mv "$work/chart/.render.new" "$work/chart/render"
}

# The version stands in the stamp, so that another one is installed over it.
install_python() {
    local version=0.25.1 dir=$work/python
    [ "$(cat "$dir/version" 2>/dev/null)" != "$version" ] || return 0
    command -v python3 >/dev/null && python3 -c 'import ensurepip' 2>/dev/null || system_packages python3 python3-venv
    say "fetching componentize-py $version"
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/pip" install --quiet --disable-pip-version-check "componentize-py==$version"
    echo "$version" >"$dir/version"
}

install_javascript() {
    local dir=$work/js wanted=$root/e2e/programs/js/package.json
    cmp -s "$wanted" "$dir/installed" && return 0
    command -v npm >/dev/null || system_packages nodejs npm
    say "fetching componentize-js"
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "$wanted" "$dir"
    npm install --prefix "$dir" --no-package-lock --no-audit --no-fund --loglevel=error >&2
    cp "$wanted" "$dir/installed"
}

# rust-toolchain.toml names the toolchain, its targets and components; rustup fetches them on first use.
install_rust() {
    command -v cargo >/dev/null || die "cargo is not on PATH: install Rust with rustup first"
    if command -v rustup >/dev/null && ! (cd "$root" && rustup target list --installed | grep -q wasm32-wasip2); then
        (cd "$root" && rustup toolchain install >&2)
    fi
}

main() {
    local what=("$@") name
    [ ${#what[@]} -gt 0 ] || what=(rust containerd cni clang wasi-libc go chart python javascript)
    mkdir -p "$work"
    # Two runs at once (make -j, a test beside a build) take turns.
    exec 9>"$work/install.lock"
    flock 9
    for name in "${what[@]}"; do
        case $name in
            containerd | cni | clang | wasi-libc | go | chart | python | javascript | rust | runc) "install_${name//-/_}" ;;
            etcd | kubectl | kubernetes | cluster-tools) "install_${name//-/_}" ;;
            *) die "nothing named $name here" ;;
        esac
    done
}

main "$@"
