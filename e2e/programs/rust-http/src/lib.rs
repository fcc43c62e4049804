//! A small HTTP server in Rust: `wasi:http/incoming-handler` by way of the crate `wstd`.

use futures_lite::stream::unfold;
use sha2::{Digest, Sha256};
use wstd::http::body::{Body, Bytes};
use wstd::http::{Client, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let uri = request.uri().clone();
    match uri.path() {
        "/" => {
            println!("a line for the log");
            eprintln!("a line of errors");
            text(200, "hello from rust\n".into())
        }
        "/echo" => echo(request).await,
        // Bytes go back as they come.
        "/double" => Ok(Response::new(request.into_body())),
        "/stream" => {
            let lines = unfold(0, |n| async move {
                let line = format!("line {n:06}\n").repeat(10);
                (n < 2000).then(|| (Bytes::from(line), n + 1))
            });
            Ok(Response::new(Body::from_stream(lines)))
        }
        "/fetch" => {
            let request = Request::get("http://127.0.0.1:9/").body(())?;
            match Client::new().send(request).await {
                Ok(_) => text(200, "fetched\n".into()),
                Err(error) => text(200, format!("not fetched: {error}\n")),
            }
        }
        "/trap" => panic!("as asked"),
        "/fail" => Err(Error::msg("as asked")),
        other => text(404, format!("nothing at {other}\n")),
    }
}

fn text(status: u16, body: String) -> Result<Response<Body>, Error> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "text/plain");
    Ok(response.body(body.into())?)
}

async fn echo(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (parts, mut body) = request.into_parts();
    let mut fields: Vec<_> = parts
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-"))
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    fields.sort();
    let body = body.contents().await?;
    let hash: String = Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let text = format!(
        "{} {} {:?}\n{fields:?}\n{} bytes, sha256 {hash}\n",
        parts.method,
        parts.uri.path(),
        parts.uri.query(),
        body.len()
    );
    let response = Response::builder()
        .status(418)
        .header("content-type", "text/plain")
        .header("x-one", "1")
        .header("x-two", "a")
        .header("x-two", "b");
    Ok(response.body(text.into())?)
}
