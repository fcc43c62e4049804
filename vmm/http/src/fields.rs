//! Header fields between hyper and frames.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE,
    },
};
use mote_abi::http::Fields;

/// Fields of the connection, not of the message: a program neither sees nor sets them. The list is the wasmtime
/// command's.
const FORBIDDEN: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
    HOST,
    HeaderName::from_static("http2-settings"),
];

/// A program's fields cannot be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("{0:?} is no name of a header field")]
    Name(String),
    #[error("the value of {0} holds characters that no header field may have")]
    Value(HeaderName),
    #[error("content-length is not one number")]
    ContentLength,
    #[error("too many header fields")]
    TooMany,
}

/// What a program sees of a message's fields.
pub(crate) fn to_fields(headers: &HeaderMap) -> Fields {
    headers
        .iter()
        .filter(|(name, _)| !FORBIDDEN.contains(name))
        .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
        .collect()
}

/// What is sent of a program's fields.
pub(crate) fn to_headers(fields: &Fields) -> Result<HeaderMap, FieldError> {
    let mut headers = HeaderMap::try_with_capacity(fields.len()).map_err(|_| FieldError::TooMany)?;
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| FieldError::Name(name.chars().take(100).collect()))?;
        if FORBIDDEN.contains(&name) {
            continue;
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| FieldError::Value(name.clone()))?;
        headers.try_append(name, value).map_err(|_| FieldError::TooMany)?;
    }
    // Two lengths, or one that is no number, would let two parties see different ends of the body. (RFC 9112, 6.3)
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = length.as_bytes();
        let number = length.to_str().ok().and_then(|text| text.parse::<u64>().ok());
        if lengths.next().is_some() || number.is_none() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(FieldError::ContentLength);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &[u8])]) -> Fields {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), value.to_vec()))
            .collect()
    }

    #[test]
    fn a_connections_fields_stay_with_it() {
        let all = fields(&[
            ("a", b"1"),
            ("Host", b"x"),
            ("transfer-encoding", b"chunked"),
            ("A", b"\xff"),
        ]);
        let headers = to_headers(&all).unwrap();
        assert_eq!(to_fields(&headers), fields(&[("a", b"1"), ("a", b"\xff")]));
        let mut received = HeaderMap::new();
        received.insert(CONNECTION, HeaderValue::from_static("close"));
        assert!(to_fields(&received).is_empty());
    }

    #[test]
    fn what_would_split_a_message_is_refused() {
        let refused = |name: &str, value: &[u8]| to_headers(&fields(&[(name, value)])).unwrap_err();
        assert!(matches!(refused("a b", b""), FieldError::Name(_)));
        assert!(matches!(refused("", b""), FieldError::Name(_)));
        assert!(matches!(refused("a", b"1\r\nb: 2"), FieldError::Value(_)));
        for value in [&b"+1"[..], b"", b"1, 1", b"99999999999999999999"] {
            assert_eq!(refused("content-length", value), FieldError::ContentLength);
        }
        let two = fields(&[("content-length", b"1"), ("content-length", b"1")]);
        assert_eq!(to_headers(&two), Err(FieldError::ContentLength));
    }
}
