//! A request to the outside.

use wasip2::http::{
    outgoing_handler,
    types::{Fields, Method, OutgoingRequest, Scheme},
};

/// Asks `http://authority/path`, and tells status and body or the error.
pub fn fetch(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" {
        Scheme::Https
    } else {
        Scheme::Http
    };
    request.set_method(&Method::Get).unwrap();
    request.set_scheme(Some(&scheme)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let answer = match outgoing_handler::handle(request, None) {
        Ok(answer) => answer,
        Err(e) => return format!("refused: {e:?}"),
    };
    answer.subscribe().block();
    let response = match answer.get().unwrap().unwrap() {
        Ok(response) => response,
        Err(e) => return format!("failed: {e:?}"),
    };
    let status = response.status();
    let body = response.consume().unwrap();
    let stream = body.stream().unwrap();
    let mut text = Vec::new();
    while let Ok(bytes) = stream.blocking_read(65536) {
        text.extend(bytes);
    }
    format!("{status} {}", String::from_utf8_lossy(&text))
}
