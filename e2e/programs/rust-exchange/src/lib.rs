//! Does what the path says.

mod fetch;

use std::sync::atomic::{AtomicU8, Ordering};

use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

wasip2::http::proxy::export!(Handler);

struct Handler;

impl wasip2::exports::http::incoming_handler::Guest for Handler {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        match path {
            "/hello" => text(out, 200, "hello\n"),
            "/echo" => echo(&request, out),
            "/count" => {
                let body = request.consume().unwrap();
                let stream = body.stream().unwrap();
                let mut sum = 0;
                while let Ok(bytes) = stream.blocking_read(65536) {
                    sum += bytes.len();
                }
                text(out, 200, &format!("{sum}\n"));
            }
            "/zeros" => {
                let body = begin(out, 200, &[]);
                let stream = body.write().unwrap();
                let mut left: u64 = query.parse().unwrap();
                let block = [0; 4096];
                while left > 0 {
                    let len = left.min(4096) as usize;
                    stream.blocking_write_and_flush(&block[..len]).unwrap();
                    left -= len as u64;
                }
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            "/print" => {
                print!("one\ntwo");
                println!();
                eprintln!("three");
                text(out, 200, "printed\n");
            }
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("as asked".into())))),
            "/trap" => panic!("as asked"),
            "/trap-late" => {
                let body = begin(out, 200, &[]);
                body.write().unwrap().blocking_write_and_flush(b"begin").unwrap();
                panic!("as asked")
            }
            "/spin" => spin(u64::MAX),
            "/spin-late" => {
                let body = begin(out, 200, &[]);
                let stream = body.write().unwrap();
                stream.blocking_write_and_flush(b"begin").unwrap();
                spin(100_000_000);
                stream.blocking_write_and_flush(b"more").unwrap();
                spin(u64::MAX);
            }
            "/eat" => {
                let most = query.parse().unwrap_or(usize::MAX);
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                while eaten.len() < most {
                    eaten.push(vec![1; 1 << 20]);
                }
                text(out, 200, &format!("ate {} MiB\n", eaten.len()));
            }
            "/soil" => text(out, 200, &format!("{}\n", soil())),
            "/fetch" => text(out, 200, &format!("{}\n", fetch::fetch(query))),
            _ => text(out, 404, "nothing there\n"),
        }
    }
}

/// Writes to memory that a new instance finds zero: bytes of it that were not.
fn soil() -> usize {
    static AREA: [AtomicU8; 256 << 10] = [const { AtomicU8::new(0) }; 256 << 10];
    let grown = core::arch::wasm32::memory_grow::<0>(32) << 16;
    let grown = core::ptr::with_exposed_provenance_mut::<AtomicU8>(grown);
    // SAFETY: 32 pages of 64 KiB that this memory did not have, and nobody else knows of.
    let grown = unsafe { core::slice::from_raw_parts(grown, 32 << 16) };
    // Some pages are left out.
    let bytes = AREA.iter().chain(grown).enumerate();
    let soiled = bytes.filter(|(at, byte)| byte.swap(u8::from(at % 20_000 < 5000), Ordering::Relaxed) != 0);
    soiled.count()
}

/// Works on without asking anybody for anything, the time included.
fn spin(turns: u64) {
    for turn in 0..turns {
        std::hint::black_box(turn);
    }
}

fn begin(out: ResponseOutparam, status: u16, fields: &[(&str, &str)]) -> OutgoingBody {
    let headers = Fields::new();
    for (name, value) in fields {
        headers.append(name, value.as_bytes()).unwrap();
    }
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    body
}

fn text(out: ResponseOutparam, status: u16, text: &str) {
    let body = begin(out, status, &[("content-type", "text/plain")]);
    let stream = body.write().unwrap();
    for piece in text.as_bytes().chunks(4096) {
        stream.blocking_write_and_flush(piece).unwrap();
    }
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}

/// Sends back the body as it comes, then its trailers.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().unwrap();
    let body = begin(out, 200, &[("trailer", "x-sum")]);
    let (from, to) = (incoming.stream().unwrap(), body.write().unwrap());
    loop {
        match to.blocking_splice(&from, 65536) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(e) => panic!("{e:?}"),
        }
    }
    drop((from, to));
    let trailers = IncomingBody::finish(incoming);
    trailers.subscribe().block();
    let trailers = trailers.get().unwrap().unwrap().unwrap();
    // Fields that were received may not be handed on as they are.
    let trailers = trailers.map(|fields| Fields::from_list(&fields.entries()).unwrap());
    OutgoingBody::finish(body, trailers).unwrap();
}

