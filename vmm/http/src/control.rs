//! The front's life, from its parent's first word to the end of the drain.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use mote_config::front::{FrontConfig, Message};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{
    channel::Channel,
    error::Error,
    exchange::Front,
    outgoing::Client,
    pool::{self, Pool, Wish},
    server::{self, Server},
    vm::Vm,
};

/// What the parent hands over.
#[derive(Debug)]
pub struct Parent {
    pub config: FrontConfig,
    /// Seqpacket socket for [`Message`]s.
    pub control: OwnedFd,
    pub listeners: Vec<TcpListener>,
}

/// How serving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The requests under way were done, or their time was up.
    Drained,
    /// A second SIGTERM did not let them finish.
    Cut,
}

/// A time of the configuration, where 0 is none.
fn time(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

/// Serves until SIGTERM, and then until the requests under way are done or their time is up, or until the next SIGTERM.
///
/// # Errors
/// If there is something wrong with what the parent handed over, or if the parent is gone.
pub async fn serve(parent: Parent) -> Result<End, Error> {
    let Parent {
        config,
        control,
        listeners,
    } = parent;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::system("SIGTERM"))?;
    let control = Arc::new(Channel::new(control).map_err(Error::system("the parent's socket"))?);
    let client = Arc::new(Client::new(config.outgoing.as_ref())?);
    let (wishes, wished) = mpsc::unbounded_channel();
    let pool = Pool::new(
        pool::Limits {
            vms: usize::try_from(config.vms_max).unwrap_or(usize::MAX).max(1),
            queue: usize::try_from(config.queue_max).unwrap_or(usize::MAX),
            wait: time(config.queue_ms),
            idle: time(config.vm_idle_ms),
        },
        wishes,
    );
    let front = Arc::new(Front {
        pool: Arc::clone(&pool),
        limit: time(config.request_ms),
        count: AtomicU64::new(0),
    });
    let limits = server::Limits {
        connections: usize::try_from(config.connections_max)
            .unwrap_or(usize::MAX)
            .max(1),
        header: usize::try_from(config.header_max).unwrap_or(usize::MAX),
        idle: time(config.idle_ms).unwrap_or(Duration::MAX),
    };
    let server = Server::new(front, limits);
    for listener in listeners {
        listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener))
            .map(|listener| tokio::spawn(Arc::clone(&server).listen(listener)))
            .map_err(Error::system("a listening socket"))?;
    }
    control
        .send(&Message::Ready.to_bytes(), None)
        .await
        .map_err(|_| Error::Orphaned)?;

    let keeper = Arc::clone(&pool);
    tokio::spawn(async move { keeper.keep().await });
    tokio::spawn(ask(Arc::clone(&control), wished));
    tokio::select! {
        () = listen(&control, &pool, &client) => return Err(Error::Orphaned),
        _ = terminate.recv() => {}
    }
    tokio::select! {
        () = drain(&server, &pool, Duration::from_millis(config.drain_ms)) => Ok(End::Drained),
        // VMs may still be needed to finish what waits.
        () = listen(&control, &pool, &client) => Ok(End::Drained),
        () = again(&mut terminate) => Ok(End::Cut),
    }
}

/// Takes VMs over until the parent is gone.
async fn listen(control: &Channel, pool: &Arc<Pool>, client: &Arc<Client>) {
    while let Ok(Some(message)) = control.receive().await {
        match (Message::from_bytes(message.bytes()), message.fd) {
            (Some(Message::Vm(id)), Some(socket)) => match Vm::new(id, socket) {
                Ok(vm) => {
                    tokio::spawn(Arc::clone(&vm).attend(Arc::clone(pool), Arc::clone(client)));
                    pool.arrived(vm);
                }
                Err(_) => pool.failed(),
            },
            (Some(Message::Failed), None) => pool.failed(),
            _ => return,
        }
    }
}

/// Hands the pool's wishes on to the parent.
async fn ask(control: Arc<Channel>, mut wished: mpsc::UnboundedReceiver<Wish>) {
    while let Some(wish) = wished.recv().await {
        let message = match wish {
            Wish::OneMore => Message::Wanted,
            Wish::End(vm) => Message::End(vm),
        };
        if control.send(&message.to_bytes(), None).await.is_err() {
            return;
        }
    }
}

async fn drain(server: &Server, pool: &Pool, limit: Duration) {
    let begin = tokio::time::Instant::now();
    server.drain(limit).await;
    pool.close();
    // What programs do after their answers counts as well.
    let left = limit.saturating_sub(begin.elapsed());
    let _ = tokio::time::timeout(left, pool.empty()).await;
}

/// A second SIGTERM.
async fn again(terminate: &mut Signal) {
    if terminate.recv().await.is_none() {
        std::future::pending().await
    }
}
