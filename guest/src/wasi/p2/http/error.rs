//! `wasi:http/types.error-code`, and what stands for it in frames.

use alloc::string::String;

use mote_abi::http::{Failure, error_code as code};
use wasmtime::component::{ComponentType, Lift, Lower};

/// `wasi:http/types.DNS-error-payload`.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(in crate::wasi::p2) struct DnsErrorPayload {
    #[component(name = "rcode")]
    rcode: Option<String>,
    #[component(name = "info-code")]
    info_code: Option<u16>,
}

/// `wasi:http/types.TLS-alert-received-payload`.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(in crate::wasi::p2) struct TlsAlertReceivedPayload {
    #[component(name = "alert-id")]
    alert_id: Option<u8>,
    #[component(name = "alert-message")]
    alert_message: Option<String>,
}

/// `wasi:http/types.field-size-payload`.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(in crate::wasi::p2) struct FieldSizePayload {
    #[component(name = "field-name")]
    field_name: Option<String>,
    #[component(name = "field-size")]
    field_size: Option<u32>,
}

/// `wasi:http/types.error-code`.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
pub(in crate::wasi::p2) enum ErrorCode {
    #[component(name = "DNS-timeout")]
    DnsTimeout,
    #[component(name = "DNS-error")]
    DnsError(DnsErrorPayload),
    #[component(name = "destination-not-found")]
    DestinationNotFound,
    #[component(name = "destination-unavailable")]
    DestinationUnavailable,
    #[component(name = "destination-IP-prohibited")]
    DestinationIpProhibited,
    #[component(name = "destination-IP-unroutable")]
    DestinationIpUnroutable,
    #[component(name = "connection-refused")]
    ConnectionRefused,
    #[component(name = "connection-terminated")]
    ConnectionTerminated,
    #[component(name = "connection-timeout")]
    ConnectionTimeout,
    #[component(name = "connection-read-timeout")]
    ConnectionReadTimeout,
    #[component(name = "connection-write-timeout")]
    ConnectionWriteTimeout,
    #[component(name = "connection-limit-reached")]
    ConnectionLimitReached,
    #[component(name = "TLS-protocol-error")]
    TlsProtocolError,
    #[component(name = "TLS-certificate-error")]
    TlsCertificateError,
    #[component(name = "TLS-alert-received")]
    TlsAlertReceived(TlsAlertReceivedPayload),
    #[component(name = "HTTP-request-denied")]
    HttpRequestDenied,
    #[component(name = "HTTP-request-length-required")]
    HttpRequestLengthRequired,
    #[component(name = "HTTP-request-body-size")]
    HttpRequestBodySize(Option<u64>),
    #[component(name = "HTTP-request-method-invalid")]
    HttpRequestMethodInvalid,
    #[component(name = "HTTP-request-URI-invalid")]
    HttpRequestUriInvalid,
    #[component(name = "HTTP-request-URI-too-long")]
    HttpRequestUriTooLong,
    #[component(name = "HTTP-request-header-section-size")]
    HttpRequestHeaderSectionSize(Option<u32>),
    #[component(name = "HTTP-request-header-size")]
    HttpRequestHeaderSize(Option<FieldSizePayload>),
    #[component(name = "HTTP-request-trailer-section-size")]
    HttpRequestTrailerSectionSize(Option<u32>),
    #[component(name = "HTTP-request-trailer-size")]
    HttpRequestTrailerSize(FieldSizePayload),
    #[component(name = "HTTP-response-incomplete")]
    HttpResponseIncomplete,
    #[component(name = "HTTP-response-header-section-size")]
    HttpResponseHeaderSectionSize(Option<u32>),
    #[component(name = "HTTP-response-header-size")]
    HttpResponseHeaderSize(FieldSizePayload),
    #[component(name = "HTTP-response-body-size")]
    HttpResponseBodySize(Option<u64>),
    #[component(name = "HTTP-response-trailer-section-size")]
    HttpResponseTrailerSectionSize(Option<u32>),
    #[component(name = "HTTP-response-trailer-size")]
    HttpResponseTrailerSize(FieldSizePayload),
    #[component(name = "HTTP-response-transfer-coding")]
    HttpResponseTransferCoding(Option<String>),
    #[component(name = "HTTP-response-content-coding")]
    HttpResponseContentCoding(Option<String>),
    #[component(name = "HTTP-response-timeout")]
    HttpResponseTimeout,
    #[component(name = "HTTP-upgrade-failed")]
    HttpUpgradeFailed,
    #[component(name = "HTTP-protocol-error")]
    HttpProtocolError,
    #[component(name = "loop-detected")]
    LoopDetected,
    #[component(name = "configuration-error")]
    ConfigurationError,
    #[component(name = "internal-error")]
    InternalError(Option<String>),
}

impl From<Failure> for ErrorCode {
    /// A frame has a text at most; where the case has one, it is that.
    fn from(Failure { code, text }: Failure) -> ErrorCode {
        let text = Some(text).filter(|text| !text.is_empty());
        let field = FieldSizePayload {
            field_name: None,
            field_size: None,
        };
        match code {
            code::DNS_TIMEOUT => ErrorCode::DnsTimeout,
            code::DNS_ERROR => ErrorCode::DnsError(DnsErrorPayload {
                rcode: text,
                info_code: None,
            }),
            code::DESTINATION_NOT_FOUND => ErrorCode::DestinationNotFound,
            code::DESTINATION_UNAVAILABLE => ErrorCode::DestinationUnavailable,
            code::DESTINATION_IP_PROHIBITED => ErrorCode::DestinationIpProhibited,
            code::DESTINATION_IP_UNROUTABLE => ErrorCode::DestinationIpUnroutable,
            code::CONNECTION_REFUSED => ErrorCode::ConnectionRefused,
            code::CONNECTION_TERMINATED => ErrorCode::ConnectionTerminated,
            code::CONNECTION_TIMEOUT => ErrorCode::ConnectionTimeout,
            code::CONNECTION_READ_TIMEOUT => ErrorCode::ConnectionReadTimeout,
            code::CONNECTION_WRITE_TIMEOUT => ErrorCode::ConnectionWriteTimeout,
            code::CONNECTION_LIMIT_REACHED => ErrorCode::ConnectionLimitReached,
            code::TLS_PROTOCOL_ERROR => ErrorCode::TlsProtocolError,
            code::TLS_CERTIFICATE_ERROR => ErrorCode::TlsCertificateError,
            code::TLS_ALERT_RECEIVED => ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload {
                alert_id: None,
                alert_message: text,
            }),
            code::HTTP_REQUEST_DENIED => ErrorCode::HttpRequestDenied,
            code::HTTP_REQUEST_LENGTH_REQUIRED => ErrorCode::HttpRequestLengthRequired,
            code::HTTP_REQUEST_BODY_SIZE => ErrorCode::HttpRequestBodySize(None),
            code::HTTP_REQUEST_METHOD_INVALID => ErrorCode::HttpRequestMethodInvalid,
            code::HTTP_REQUEST_URI_INVALID => ErrorCode::HttpRequestUriInvalid,
            code::HTTP_REQUEST_URI_TOO_LONG => ErrorCode::HttpRequestUriTooLong,
            code::HTTP_REQUEST_HEADER_SECTION_SIZE => ErrorCode::HttpRequestHeaderSectionSize(None),
            code::HTTP_REQUEST_HEADER_SIZE => ErrorCode::HttpRequestHeaderSize(None),
            code::HTTP_REQUEST_TRAILER_SECTION_SIZE => ErrorCode::HttpRequestTrailerSectionSize(None),
            code::HTTP_REQUEST_TRAILER_SIZE => ErrorCode::HttpRequestTrailerSize(field),
            code::HTTP_RESPONSE_INCOMPLETE => ErrorCode::HttpResponseIncomplete,
            code::HTTP_RESPONSE_HEADER_SECTION_SIZE => ErrorCode::HttpResponseHeaderSectionSize(None),
            code::HTTP_RESPONSE_HEADER_SIZE => ErrorCode::HttpResponseHeaderSize(field),
            code::HTTP_RESPONSE_BODY_SIZE => ErrorCode::HttpResponseBodySize(None),
            code::HTTP_RESPONSE_TRAILER_SECTION_SIZE => ErrorCode::HttpResponseTrailerSectionSize(None),
            code::HTTP_RESPONSE_TRAILER_SIZE => ErrorCode::HttpResponseTrailerSize(field),
            code::HTTP_RESPONSE_TRANSFER_CODING => ErrorCode::HttpResponseTransferCoding(text),
            code::HTTP_RESPONSE_CONTENT_CODING => ErrorCode::HttpResponseContentCoding(text),
            code::HTTP_RESPONSE_TIMEOUT => ErrorCode::HttpResponseTimeout,
            code::HTTP_UPGRADE_FAILED => ErrorCode::HttpUpgradeFailed,
            code::HTTP_PROTOCOL_ERROR => ErrorCode::HttpProtocolError,
            code::LOOP_DETECTED => ErrorCode::LoopDetected,
            code::CONFIGURATION_ERROR => ErrorCode::ConfigurationError,
            _ => ErrorCode::InternalError(text),
        }
    }
}

impl ErrorCode {
    /// The number in a FAILED frame.
    pub(super) fn code(&self) -> u32 {
        match self {
            ErrorCode::DnsTimeout => code::DNS_TIMEOUT,
            ErrorCode::DnsError(_) => code::DNS_ERROR,
            ErrorCode::DestinationNotFound => code::DESTINATION_NOT_FOUND,
            ErrorCode::DestinationUnavailable => code::DESTINATION_UNAVAILABLE,
            ErrorCode::DestinationIpProhibited => code::DESTINATION_IP_PROHIBITED,
            ErrorCode::DestinationIpUnroutable => code::DESTINATION_IP_UNROUTABLE,
            ErrorCode::ConnectionRefused => code::CONNECTION_REFUSED,
            ErrorCode::ConnectionTerminated => code::CONNECTION_TERMINATED,
            ErrorCode::ConnectionTimeout => code::CONNECTION_TIMEOUT,
            ErrorCode::ConnectionReadTimeout => code::CONNECTION_READ_TIMEOUT,
            ErrorCode::ConnectionWriteTimeout => code::CONNECTION_WRITE_TIMEOUT,
            ErrorCode::ConnectionLimitReached => code::CONNECTION_LIMIT_REACHED,
            ErrorCode::TlsProtocolError => code::TLS_PROTOCOL_ERROR,
            ErrorCode::TlsCertificateError => code::TLS_CERTIFICATE_ERROR,
            ErrorCode::TlsAlertReceived(_) => code::TLS_ALERT_RECEIVED,
            ErrorCode::HttpRequestDenied => code::HTTP_REQUEST_DENIED,
            ErrorCode::HttpRequestLengthRequired => code::HTTP_REQUEST_LENGTH_REQUIRED,
            ErrorCode::HttpRequestBodySize(_) => code::HTTP_REQUEST_BODY_SIZE,
            ErrorCode::HttpRequestMethodInvalid => code::HTTP_REQUEST_METHOD_INVALID,
            ErrorCode::HttpRequestUriInvalid => code::HTTP_REQUEST_URI_INVALID,
            ErrorCode::HttpRequestUriTooLong => code::HTTP_REQUEST_URI_TOO_LONG,
            ErrorCode::HttpRequestHeaderSectionSize(_) => code::HTTP_REQUEST_HEADER_SECTION_SIZE,
            ErrorCode::HttpRequestHeaderSize(_) => code::HTTP_REQUEST_HEADER_SIZE,
            ErrorCode::HttpRequestTrailerSectionSize(_) => code::HTTP_REQUEST_TRAILER_SECTION_SIZE,
            ErrorCode::HttpRequestTrailerSize(_) => code::HTTP_REQUEST_TRAILER_SIZE,
            ErrorCode::HttpResponseIncomplete => code::HTTP_RESPONSE_INCOMPLETE,
            ErrorCode::HttpResponseHeaderSectionSize(_) => code::HTTP_RESPONSE_HEADER_SECTION_SIZE,
            ErrorCode::HttpResponseHeaderSize(_) => code::HTTP_RESPONSE_HEADER_SIZE,
            ErrorCode::HttpResponseBodySize(_) => code::HTTP_RESPONSE_BODY_SIZE,
            ErrorCode::HttpResponseTrailerSectionSize(_) => code::HTTP_RESPONSE_TRAILER_SECTION_SIZE,
            ErrorCode::HttpResponseTrailerSize(_) => code::HTTP_RESPONSE_TRAILER_SIZE,
            ErrorCode::HttpResponseTransferCoding(_) => code::HTTP_RESPONSE_TRANSFER_CODING,
            ErrorCode::HttpResponseContentCoding(_) => code::HTTP_RESPONSE_CONTENT_CODING,
            ErrorCode::HttpResponseTimeout => code::HTTP_RESPONSE_TIMEOUT,
            ErrorCode::HttpUpgradeFailed => code::HTTP_UPGRADE_FAILED,
            ErrorCode::HttpProtocolError => code::HTTP_PROTOCOL_ERROR,
            ErrorCode::LoopDetected => code::LOOP_DETECTED,
            ErrorCode::ConfigurationError => code::CONFIGURATION_ERROR,
            ErrorCode::InternalError(_) => code::INTERNAL_ERROR,
        }
    }
}
