//! Requests of programs to the outside.
//!
//! Each has a connection of its own, as under the wasmtime command. A program that closes its stream ends it, wherever
//! it is.

mod connect;
mod failure;
mod names;
mod request;
mod tls;

use mote_abi::http::{Failure, RequestHead, error_code};
use mote_config::front::Outgoing;
use tokio::net::UnixStream;

use crate::{
    error::Error,
    frames::{Frame, Reader, Writer, closed},
};
use names::Names;
use tls::Tls;

/// Makes requests to the outside, as far as they are granted.
#[derive(Debug)]
pub(crate) struct Client {
    granted: Option<Granted>,
}

#[derive(Debug)]
struct Granted {
    names: Names,
    tls: Tls,
}

impl Client {
    /// A client by the parent's word.
    ///
    /// # Errors
    /// If the root certificates are none.
    pub(crate) fn new(outgoing: Option<&Outgoing>) -> Result<Client, Error> {
        let granted = match outgoing {
            Some(outgoing) => Some(Granted {
                names: Names::new(&outgoing.resolv_conf, &outgoing.hosts),
                tls: Tls::new(&outgoing.roots)?,
            }),
            None => None,
        };
        Ok(Client { granted })
    }

    /// Serves one exchange, unless there is no `room` for it.
    pub(crate) async fn exchange(&self, stream: UnixStream, room: bool) {
        let Ok(watch) = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned() else {
            return;
        };
        let (read, write) = stream.into_split();
        let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
        let exchange = async {
            let Ok(Frame::Request(head)) = reader.next().await else {
                return;
            };
            let result = match &self.granted {
                None => Err(Failure {
                    code: error_code::HTTP_REQUEST_DENIED,
                    text: "requests to the outside are not granted".into(),
                }),
                Some(_) if !room => Err(Failure {
                    code: error_code::CONNECTION_LIMIT_REACHED,
                    text: "too many requests at once".into(),
                }),
                Some(granted) => granted.answer(head, reader, &mut writer).await,
            };
            if let Err(failure) = result {
                // If it cannot be told, nobody listens.
                let _ = writer.failed(&failure).await;
            }
        };
        tokio::select! {
            () = exchange => {}
            () = closed(watch) => {}
        }
    }
}

impl Granted {
    async fn answer(&self, head: RequestHead, body: Reader, writer: &mut Writer) -> Result<(), Failure> {
        request::Target::of(&head)?.send(self, head, body, writer).await
    }
}

#[cfg(test)]
mod tests;
