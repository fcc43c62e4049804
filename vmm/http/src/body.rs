//! Bodies: those that hyper sends, and those that it has received.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use mote_abi::http::{Failure, encode_fields, error_code};

use crate::{
    exchange::Exchange,
    fields::to_fields,
    frames::{FrameError, Writer},
};

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// The front's own words.
    Text(Option<Bytes>),
    /// A VM's.
    Guest(Exchange),
}

impl Body {
    pub(crate) fn text(text: String) -> Body {
        Body::Text(Some(text.into()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = FrameError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FrameError>>> {
        match self.get_mut() {
            Body::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Body::Guest(exchange) => exchange.poll_body(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Text(text) => text.is_none(),
            Body::Guest(exchange) => exchange.is_finished(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Text(text) => SizeHint::with_exact(
                text.as_ref()
                    .map_or(0, |text| u64::try_from(text.len()).unwrap_or(0)),
            ),
            Body::Guest(exchange) if exchange.is_finished() => SizeHint::with_exact(0),
            Body::Guest(_) => SizeHint::default(),
        }
    }
}

/// The next piece of a body that hyper receives.
pub(crate) async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await
}

/// Brings a request's body to a VM. What the VM does not read waits here, and the client with it. The writer comes back.
pub(crate) async fn pump(mut body: Incoming, mut writer: Writer) -> Writer {
    let result = loop {
        match next(&mut body).await {
            None => break writer.end().await,
            Some(Ok(frame)) => {
                let frame = match frame.into_data() {
                    Ok(data) => {
                        if writer.body(data).await.is_err() {
                            // The program does not want the rest.
                            break Ok(());
                        }
                        continue;
                    }
                    Err(frame) => frame,
                };
                let Ok(trailers) = frame.into_trailers() else {
                    continue;
                };
                let mut bytes = Vec::new();
                break match encode_fields(&to_fields(&trailers), &mut bytes) {
                    Ok(()) => writer.frames(&bytes).await,
                    Err(e) => {
                        let code = error_code::HTTP_REQUEST_TRAILER_SECTION_SIZE;
                        writer
                            .failed(&Failure {
                                code,
                                text: e.to_string(),
                            })
                            .await
                    }
                };
            }
            Some(Err(e)) => {
                let code = if e.is_parse() {
                    error_code::HTTP_PROTOCOL_ERROR
                } else {
                    error_code::CONNECTION_TERMINATED
                };
                break writer
                    .failed(&Failure {
                        code,
                        text: e.to_string(),
                    })
                    .await;
            }
        }
    };
    // A VM that is gone shows in its answer.
    let _ = result;
    writer
}
