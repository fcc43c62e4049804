//! What containerd says of itself, by CRI's `RuntimeService.Status`: gRPC over its socket, in the two messages that it
//! takes (runtime/v1/api.proto: `StatusRequest { bool verbose = 1; }`).

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

/// One gRPC message: not compressed, two bytes long, `verbose` is true.
const VERBOSE: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];
/// Most bytes of an answer; the configuration in it has some ten KiB.
const LIMIT: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the containerd that listens there has the runtime handler.
///
/// # Errors
/// Why it does not answer, or not yet.
pub(crate) fn knows(socket: &Path, handler: &str) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, status(socket))
            .await
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
    })?;
    Ok(has_runtime(&answer, handler))
}

/// The verbose answer has CRI's configuration as JSON, in which runtimes are objects by their names.
fn has_runtime(answer: &[u8], handler: &str) -> bool {
    let key = format!("\"{handler}\":{{");
    answer.windows(key.len()).any(|window| window == key.as_bytes())
}

async fn status(socket: &Path) -> Result<Bytes, String> {
    let text = |e: hyper::Error| e.to_string();
    let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(text)?;
    let connection = tokio::spawn(connection);
    let request = Request::post("http://localhost/runtime.v1.RuntimeService/Status")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(VERBOSE)))
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(text)?;
    let mut code = response.headers().get("grpc-status").cloned();
    let mut message = response.headers().get("grpc-message").cloned();
    let body = Limited::new(response.into_body(), LIMIT)
        .collect()
        .await
        .map_err(|e| e.to_string())?;
    if let Some(trailers) = body.trailers() {
        code = trailers.get("grpc-status").cloned().or(code);
        message = trailers.get("grpc-message").cloned().or(message);
    }
    connection.abort();
    match code {
        Some(code) if code == "0" => Ok(body.to_bytes()),
        code => Err(format!("CRI answers with status {code:?}, {message:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole() {
        let answer = br#"..{"runtimes":{"mote":{"runtimeType":"x"},"runc":{}}}.."#;
        assert!(has_runtime(answer, "mote"));
        assert!(!has_runtime(answer, "mot"));
        assert!(!has_runtime(answer, "kata"));
        assert!(!has_runtime(b"", "mote"));
    }
}
