//! Failures on the way to the outside, as `wasi:http` names them.

use std::{error::Error as _, io};

use mote_abi::http::{Failure, error_code};

pub(super) fn failure(code: u32, text: impl ToString) -> Failure {
    Failure {
        code,
        text: text.to_string(),
    }
}

/// A connection could not be made.
pub(super) fn connect(error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::TimedOut => error_code::CONNECTION_TIMEOUT,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            error_code::DESTINATION_IP_UNROUTABLE
        }
        io::ErrorKind::PermissionDenied => error_code::DESTINATION_IP_PROHIBITED,
        _ => error_code::CONNECTION_REFUSED,
    };
    failure(code, error)
}

/// TLS could not be agreed upon.
pub(super) fn tls(error: &io::Error) -> Failure {
    use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};
    let code = match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(AlertReceived(_)) => error_code::TLS_ALERT_RECEIVED,
        Some(InvalidCertificate(_) | NoCertificatesPresented) => error_code::TLS_CERTIFICATE_ERROR,
        Some(_) => error_code::TLS_PROTOCOL_ERROR,
        None => error_code::CONNECTION_TERMINATED,
    };
    failure(code, error)
}

/// hyper's errors, before or within a response.
pub(super) fn http(error: &hyper::Error) -> Failure {
    let code = if error.is_parse_too_large() {
        error_code::HTTP_RESPONSE_HEADER_SECTION_SIZE
    } else if error.is_parse() {
        error_code::HTTP_PROTOCOL_ERROR
    } else if error.is_timeout() {
        error_code::HTTP_RESPONSE_TIMEOUT
    } else if error.is_incomplete_message() {
        error_code::HTTP_RESPONSE_INCOMPLETE
    } else {
        match io_kind(error) {
            Some(io::ErrorKind::UnexpectedEof) => error_code::HTTP_RESPONSE_INCOMPLETE,
            Some(_) => error_code::CONNECTION_TERMINATED,
            None if error.is_closed() || error.is_canceled() => error_code::CONNECTION_TERMINATED,
            None => error_code::HTTP_PROTOCOL_ERROR,
        }
    };
    // hyper tells the kind of an error and keeps what it came from to itself.
    let text = match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    failure(code, text)
}

/// What the operating system said, if it was its word.
fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
