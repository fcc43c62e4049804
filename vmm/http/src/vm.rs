//! One VM, as the front sees it: a socket over which streams are handed.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use mote_config::front::vm::{INCOMING, OUTGOING, READY};
use tokio::sync::Notify;

use crate::{
    channel::{self, Channel},
    frames::{Reader, Writer},
    outgoing::Client,
    pool::Pool,
};

/// Most requests to the outside that a VM may have under way.
const OUTGOING_MAX: usize = 128;

/// A VM.
#[derive(Debug)]
pub(crate) struct Vm {
    id: u32,
    channel: Channel,
    ended: AtomicBool,
    let_go: AtomicBool,
    served: AtomicBool,
    /// Requests that it was given, and those that it said it waits for.
    given: AtomicU64,
    ready: AtomicU64,
    /// Either is new: `ready` or `ended`.
    changed: Notify,
    outgoing: AtomicUsize,
    /// The stream on which it waits for its next request, if it is one that it had before.
    kept: Mutex<Option<Stream>>,
}

/// A stream of exchanges with a VM.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

impl Vm {
    /// Takes a new VM's socket over.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    pub(crate) fn new(id: u32, socket: OwnedFd) -> io::Result<Arc<Vm>> {
        Ok(Arc::new(Vm {
            id,
            channel: Channel::new(socket)?,
            ended: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            served: AtomicBool::new(false),
            given: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            changed: Notify::new(),
            outgoing: AtomicUsize::new(0),
            kept: Mutex::new(None),
        }))
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether it can be given a request.
    pub(crate) fn alive(&self) -> bool {
        !self.ended.load(Ordering::Acquire) && !self.let_go()
    }

    /// Whether it was told to end.
    pub(crate) fn let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    pub(crate) fn mark_served(&self) {
        self.served.store(true, Ordering::Release);
    }

    pub(crate) fn has_served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// Lets it end: what it is doing it may finish, then it finds no more requests.
    pub(crate) fn release(&self) {
        self.let_go.store(true, Ordering::Release);
        self.channel.shut();
        self.take_kept();
    }

    /// Has nothing more to do with it.
    pub(crate) fn shut(&self) {
        self.ended.store(true, Ordering::Release);
        self.changed.notify_waiters();
        self.channel.shut();
        self.take_kept();
    }

    /// It waits for its next request on this stream.
    pub(crate) fn keep(&self, stream: Stream) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed otherwise, which it takes for a question to look at its channel: under the lock, so that whoever has it
        // end finds the stream or is found.
        *kept = self.alive().then_some(stream);
    }

    fn take_kept(&self) -> Option<Stream> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until it waits for its next request, or has ended.
    pub(crate) async fn settled(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // What comes between the question and the wait counts.
            changed.as_mut().enable();
            let ready = self.ready.load(Ordering::Acquire);
            if ready > self.given.load(Ordering::Acquire) || self.ended.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    /// Hands it an incoming request, which begins with `head`, on the stream that it had before or else on a new one.
    ///
    /// # Errors
    /// If the VM is gone, or there is no room for another descriptor.
    pub(crate) async fn incoming(&self, head: &[u8]) -> io::Result<Stream> {
        if let Some(mut stream) = self.take_kept() {
            stream.writer.frames(head).await?;
            return Ok(stream);
        }
        let (ours, theirs, written) = channel::stream(head)?;
        self.given.fetch_add(1, Ordering::AcqRel);
        self.channel.send(&[INCOMING], Some(theirs.as_fd())).await?;
        let (read, write) = ours.into_split();
        let (reader, mut writer) = (Reader::new(read), Writer::new(write));
        writer.frames(head.get(written..).unwrap_or_default()).await?;
        Ok(Stream { reader, writer })
    }

    /// Serves its requests to the outside until it has ended.
    pub(crate) async fn attend(self: Arc<Vm>, pool: Arc<Pool>, client: Arc<Client>) {
        while let Ok(Some(message)) = self.channel.receive().await {
            match message.bytes() {
                [READY] => {
                    self.ready.fetch_add(1, Ordering::AcqRel);
                    self.changed.notify_waiters();
                    continue;
                }
                [OUTGOING] => {}
                _ => break,
            }
            let Ok((ours, theirs, _)) = channel::stream(&[]) else {
                break;
            };
            if self
                .channel
                .send(&[OUTGOING], Some(theirs.as_fd()))
                .await
                .is_err()
            {
                break;
            }
            let room = self.outgoing.fetch_add(1, Ordering::AcqRel) < OUTGOING_MAX;
            let (vm, client) = (Arc::clone(&self), Arc::clone(&client));
            tokio::spawn(async move {
                client.exchange(ours, room).await;
                vm.outgoing.fetch_sub(1, Ordering::AcqRel);
            });
        }
        // One that talks nonsense is not listened to any longer either.
        self.shut();
        pool.ended(&self);
    }
}
