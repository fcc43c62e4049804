# Kubernetes for `make cluster`: the control plane and the kubelet, built from the running release's source package with
# its compiler. Sourced by install.sh; expects $work, say and die, and install-apt.sh.
# shellcheck shell=bash

# What of the tree is compiled into a component.
kubernetes_components=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet)
# No cloud providers and no dockershim: half of the tree.
kubernetes_tags=providerless,dockerless

# Once, into .work/kubernetes/bin. Sources, compiler and its cache go when it is done: they are 2 GB.
install_kubernetes() {
    local dir=$work/kubernetes build=$work/kubernetes-build tree version
    [ ! -e "$dir/version" ] || return 0
    tree=$build/gopath/src/k8s.io/kubernetes
    rm -rf "$build" "$dir"
    mkdir -p "$tree" "$dir/bin"
    unpack_deb "$build/go" bookworm golang-1.19-src
    unpack_deb "$build/go" bookworm golang-1.19-go
    fetch_source "$build" bookworm kubernetes
    # "1.20.5+really1.20.2" is Debian's way of going back to 1.20.2.
    version=$(basename "$build"/kubernetes_*.orig.tar.gz .orig.tar.gz | sed 's/^kubernetes_//; s/.*really//')
    say "unpacking Kubernetes $version"
    tar -xzf "$build"/kubernetes_*.orig.tar.gz -C "$tree" --strip-components=1 --wildcards \
        '*/cmd' '*/pkg' '*/plugin' '*/staging' '*/third_party' '*/vendor' '*/LICENSE'
    say "building Kubernetes $version"
    (build_kubernetes "$build" "$tree" "$version" "$dir/bin") >"$work/kubernetes-build.log" 2>&1 || {
        tail -n 20 "$work/kubernetes-build.log" >&2
        die "Kubernetes cannot be built; all of it is in $work/kubernetes-build.log"
    }
    cp "$tree/LICENSE" "$dir"
    chmod -R u+w "$build"
    rm -rf "$build"
    echo "$version" >"$dir/version"
}

# build_kubernetes BUILD TREE VERSION OUT
build_kubernetes() {
    local build=$1 tree=$2 version=$3 out=$4 package=k8s.io/kubernetes/vendor/k8s.io/component-base/version
    local go=$build/go/usr/lib/go-1.19/bin/go commands=()
    export GOROOT=$build/go/usr/lib/go-1.19 GOPATH=$build/gopath GOCACHE=$build/cache
    export GO111MODULE=off CGO_ENABLED=0 GOFLAGS=
    cd "$tree"
    "$go" build -o "$build/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    # As build/root/Makefile.generated_files does it: of every folder that asks for it, one file.
    "$build/openapi-gen" --logtostderr -i "$(openapi_packages)" -p k8s.io/kubernetes/pkg/generated/openapi \
        -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$build/violations"
    for name in "${kubernetes_components[@]}"; do commands+=("./cmd/$name"); done
    "$go" build -o "$out" -tags "$kubernetes_tags" -ldflags "-s -w -X $package.gitVersion=v$version \
        -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")" "${commands[@]}"
}

# Packages with the tag, separated by commas. vendor/k8s.io/* are links into staging.
openapi_packages() {
    grep -rl --include='*.go' '^// +k8s:openapi-gen=' pkg vendor/k8s.io/*/ |
        grep -v -e /code-generator/ -e /sample-apiserver/ -e _test.go |
        xargs -n1 dirname | LC_ALL=C sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,
}

# What runs beside it: the store, the client, and what kube-proxy and the certificates need.
install_etcd() { unpack_deb "$work/etcd" bookworm etcd-server; }

install_kubectl() { unpack_deb "$work/kubectl" trixie kubectl; }

install_cluster_tools() { system_packages iproute2 iptables openssl; }
