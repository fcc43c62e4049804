# Debian packages for install.sh: of the running release through the system's apt, of any other suite through a
# private apt root below .work. Sourced; expects $work, say and die.
# shellcheck shell=bash

# system_packages NAME...: installs what of these is missing.
system_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "root is needed to install ${missing[*]}"
    say "apt-get install ${missing[*]}"
    # The lists may be missing or old: refresh them only if the first try fails.
    apt_install "${missing[@]}" || { apt-get -q update >&2 && apt_install "${missing[@]}"; } ||
        die "apt-get could not install ${missing[*]}"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends -y "$@" \
        >"$work/apt-install.log" 2>&1 || { tail -n 20 "$work/apt-install.log" >&2; return 1; }
}

# Address of the Debian archive that this machine's own apt uses.
archive() {
    local uri
    uri=$(archive_uri)
    if [ -z "$uri" ]; then
        apt-get -q update >&2
        uri=$(archive_uri)
    fi
    [ -n "$uri" ] || die "this machine's apt knows no Debian archive"
    printf '%s\n' "$uri"
}

archive_uri() {
    # shellcheck disable=SC2016  # apt's own variable
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p
}

# apt-get that knows the private root's sources and nothing else. Keys, proxies and credentials stay the system's.
private_apt() {
    local apt=$work/apt
    apt-get -q -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root -o Acquire::Retries=3 \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# Makes the private root know a suite. Indices are kept until the work directory goes.
private_suite() {
    local suite=$1 apt=$work/apt uri
    [ ! -e "$apt/have-$suite" ] || return 0
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    touch "$apt/status"
    uri=$(archive)
    printf 'deb %s %s main\n' "$uri" "$suite" >"$apt/sources.list"
    say "reading the index of $suite"
    # One suite at a time, and the lists of the others stay.
    private_apt -o APT::Get::List-Cleanup=false update >&2 || die "the index of $suite cannot be read"
    cp "$apt/sources.list" "$apt/have-$suite"
}

# unpack_deb DIR SUITE PACKAGE: unpacks the package below DIR, once.
unpack_deb() {
    local dir=$1 suite=$2 package=$3 debs=$work/debs/$2 deb
    # The stamp is the last step, so that an interrupted unpacking is done again.
    [ ! -e "$dir/.have-$package" ] || return 0
    private_suite "$suite"
    cp "$work/apt/have-$suite" "$work/apt/sources.list"
    mkdir -p "$debs" "$dir"
    rm -f "$debs/${package}"_*.deb
    say "fetching $package of $suite"
    (cd "$debs" && private_apt download "$package" >&2) || die "$package of $suite cannot be fetched"
    deb=$(echo "$debs/${package}"_*.deb)
    dpkg-deb -x "$deb" "$dir" || die "$deb cannot be unpacked"
    basename "$deb" >"$dir/.have-$package"
    rm -f "$deb"
}

# fetch_source DIR SUITE PACKAGE: the files of a source package; apt compares them with the archive's signed list.
fetch_source() {
    local dir=$1 suite=$2 package=$3 apt=$work/apt
    private_suite "$suite"
    sed 's/^deb /deb-src /' "$apt/have-$suite" >"$apt/sources.list"
    say "fetching the source of $package of $suite"
    private_apt -o APT::Get::List-Cleanup=false update >&2 || die "the index of $suite's sources cannot be read"
    (cd "$dir" && private_apt --download-only source "$package" >&2) ||
        die "the source of $package of $suite cannot be fetched"
}
