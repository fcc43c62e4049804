//! Methods, schemes and errors of fields in `wasi:http/types`.

use alloc::string::String;

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::wasi::http::FieldsError;

/// `wasi:http/types.method`.
#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Method {
    #[component(name = "get")]
    Get,
    #[component(name = "head")]
    Head,
    #[component(name = "post")]
    Post,
    #[component(name = "put")]
    Put,
    #[component(name = "delete")]
    Delete,
    #[component(name = "connect")]
    Connect,
    #[component(name = "options")]
    Options,
    #[component(name = "trace")]
    Trace,
    #[component(name = "patch")]
    Patch,
    #[component(name = "other")]
    Other(String),
}

impl From<String> for Method {
    fn from(name: String) -> Method {
        match name.as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "CONNECT" => Method::Connect,
            "OPTIONS" => Method::Options,
            "TRACE" => Method::Trace,
            "PATCH" => Method::Patch,
            _ => Method::Other(name),
        }
    }
}

impl From<Method> for String {
    fn from(method: Method) -> String {
        let name = match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other(name) => return name,
        };
        name.into()
    }
}

/// `wasi:http/types.scheme`.
#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Scheme {
    #[component(name = "HTTP")]
    Http,
    #[component(name = "HTTPS")]
    Https,
    #[component(name = "other")]
    Other(String),
}

impl From<String> for Scheme {
    fn from(name: String) -> Scheme {
        match name.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => Scheme::Other(name),
        }
    }
}

/// `wasi:http/types.header-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum HeaderError {
    #[component(name = "invalid-syntax")]
    InvalidSyntax,
    #[component(name = "forbidden")]
    Forbidden,
    #[component(name = "immutable")]
    Immutable,
}

/// The answer to a change of fields. What goes over the size limit is a trap. (wasmtime-wasi-http, `HeaderError`)
pub(super) fn changed<T>(result: Result<T, FieldsError>) -> wasmtime::Result<Result<T, HeaderError>> {
    Ok(match result {
        Ok(value) => Ok(value),
        Err(FieldsError::Syntax) => Err(HeaderError::InvalidSyntax),
        Err(FieldsError::Forbidden) => Err(HeaderError::Forbidden),
        Err(FieldsError::Immutable) => Err(HeaderError::Immutable),
        Err(FieldsError::TooLarge) => wasmtime::bail!("total size of fields exceeds limit"),
    })
}
