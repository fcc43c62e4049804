//! Listening sockets, connections, and their end.

mod activity;

use std::{io, os::fd::AsRawFd as _, pin::pin, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};

use crate::exchange::Front;
use activity::{Activity, Busy, Tracked};

/// Time that a connection which was asked to end may take to say so to its client.
const FAREWELL: Duration = Duration::from_secs(5);

/// What holds for connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) header: usize,
    pub(crate) idle: Duration,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Server {
    front: Arc<Front>,
    limits: Limits,
    builder: auto::Builder<TokioExecutor>,
    permits: Arc<Semaphore>,
    draining: watch::Sender<bool>,
}

impl Server {
    pub(crate) fn new(front: Arc<Front>, limits: Limits) -> Arc<Server> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(limits.header.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
            .max_send_buf_size(128 << 10);
        Arc::new(Server {
            front,
            limits,
            builder,
            permits: Arc::new(Semaphore::new(limits.connections)),
            draining: watch::Sender::new(false),
        })
    }

    /// Accepts connections until the drain.
    pub(crate) async fn listen(self: Arc<Server>, listener: TcpListener) {
        let mut draining = self.draining.subscribe();
        let accept = async {
            loop {
                let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        tokio::spawn(Arc::clone(&self).connection(stream, permit));
                    }
                    Err(e) => pause(&e).await,
                }
            }
        };
        tokio::select! {
            () = accept => {}
            _ = draining.wait_for(|yes| *yes) => {}
        }
        // The parent has the socket as well, and connections that nobody accepts would wait in it until it ends: this
        // ends the socket itself, and they are refused. (Linux, inet_shutdown, TCP_LISTEN)
        let _ = shutdown(listener.as_raw_fd(), Shutdown::Read);
    }

    async fn connection(self: Arc<Server>, stream: TcpStream, _permit: OwnedSemaphorePermit) {
        // Answers are written whole; waiting for more to send with them gains nothing. (tcp(7), TCP_NODELAY)
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::new());
        let service = service_fn(|request| {
            let busy = Busy::new(&activity);
            let front = Arc::clone(&self.front);
            async move {
                let response = front.serve(request).await;
                response.map(|response| response.map(|body| Tracked { body, _busy: busy }))
            }
        });
        let mut draining = self.draining.subscribe();
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let asked = tokio::select! {
            _ = connection.as_mut() => return,
            _ = draining.wait_for(|yes| *yes) => false,
            () = activity.idle(self.limits.idle) => true,
        };
        connection.as_mut().graceful_shutdown();
        if asked {
            // What is idle has nothing to finish.
            let _ = tokio::time::timeout(FAREWELL, connection).await;
        } else {
            let _ = connection.await;
        }
    }

    /// Stops accepting, lets the requests under way finish, at most for `limit`; whether they have.
    pub(crate) async fn drain(&self, limit: Duration) -> bool {
        self.draining.send_replace(true);
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        tokio::time::timeout(limit, self.permits.acquire_many(all))
            .await
            .is_ok()
    }
}

/// After an error of accept(2): most concern one connection that is gone; but without descriptors or memory, trying
/// again at once would only burn time.
async fn pause(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
        _ => sleep(Duration::from_millis(100)).await,
    }
}

#[cfg(test)]
mod tests;
