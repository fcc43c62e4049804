//! What a request is for: method, scheme, authority and path, as far as they are checked here. The front, which connects,
//! checks them again.

use super::fields::valid_token;

/// Longest scheme. (wasmtime-wasi-http, by the crate http)
const SCHEME_MAX: usize = 64;

/// A method other than the known ones. (RFC 9110, 9.1)
pub(crate) fn valid_method(method: &str) -> bool {
    valid_token(method)
}

/// (RFC 3986, 3.1, without the rule that a letter comes first, as wasmtime has it)
pub(crate) fn valid_scheme(scheme: &str) -> bool {
    scheme.len() <= SCHEME_MAX
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.~".contains(&b))
}

/// Host and port, perhaps with user information before them. (RFC 3986, 3.2)
pub(crate) fn valid_authority(authority: &str) -> bool {
    let host = match authority.rsplit_once('@') {
        Some((user, host)) if user.bytes().all(|b| is_authority(b) || b == b'%') => host,
        Some(_) => return false,
        None => authority,
    };
    match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((address, rest)) => {
                address
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b":.%-_~".contains(&b))
                    && (rest.is_empty() || rest.strip_prefix(':').is_some_and(valid_host))
            }
            None => false,
        },
        None => {
            let (name, port) = host.split_once(':').unwrap_or((host, ""));
            !host.is_empty() && valid_host(name) && valid_host(port)
        }
    }
}

/// Without colons and brackets.
fn valid_host(text: &str) -> bool {
    text.bytes().all(|b| is_authority(b) && b != b':')
}

fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&byte)
}

/// A path with an absolute form, or a query alone, or nothing: anything else would stand in a request line where a host
/// is looked for. (RFC 3986, 3.3)
pub(crate) fn valid_path(path: &str) -> bool {
    let path = without_fragment(path);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    (path.is_empty() || path.starts_with('/'))
        && path.bytes().all(|b| is_path(b) || b"\"{}".contains(&b))
        && query.bytes().all(|b| is_path(b) || b"?`{}".contains(&b))
}

fn is_path(byte: u8) -> bool {
    byte >= 0x80 || matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x40..=0x5f | 0x61..=0x7a | 0x7c | 0x7e)
}

/// A path as it is sent: a fragment is never. (RFC 9110, 7.1)
pub(crate) fn without_fragment(path: &str) -> &str {
    path.split_once('#').map_or(path, |(path, _)| path)
}
