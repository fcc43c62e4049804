#!/usr/bin/env bash
# Makes the certificates of ../tests/tls.rs: two authorities, and the server's by the first of them. The authorities'
# keys are thrown away. The server's is here to be seen by everybody and protects nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
# Tests run at any time, and on machines with any clock.
from=20200101000000Z to=21200101000000Z

# request NAME COMMON-NAME: a new key, and what is to be certified of it.
request() {
    openssl req -batch -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout "$keys/$1.key" \
        -subj "/CN=$2" -out "$keys/$1.csr" 2>"$keys/log" || { cat "$keys/log" >&2 && exit 1; }
}

# certify NAME EXTENSIONS OPTION...
certify() {
    local name=$1 extensions=$2
    shift 2
    : >"$keys/index"
    cat >"$keys/config" <<END
[ca]
default_ca = here
[here]
database = $keys/index
new_certs_dir = $keys
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
$extensions
END
    openssl ca -batch -notext -config "$keys/config" -startdate "$from" -enddate "$to" -in "$keys/$name.csr" \
        -out "$name.pem" "$@" 2>"$keys/log" || { cat "$keys/log" >&2 && exit 1; }
}

authority=$'basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\nsubjectKeyIdentifier = hash'
for name in trusted other; do
    request "$name" "Mote test authority, $name"
    certify "$name" "$authority" -selfsign -keyfile "$keys/$name.key"
done
request localhost localhost
certify localhost $'basicConstraints = critical,CA:FALSE\nextendedKeyUsage = serverAuth\nsubjectAltName = DNS:localhost' \
    -cert trusted.pem -keyfile "$keys/trusted.key"
cp "$keys/localhost.key" localhost.key
