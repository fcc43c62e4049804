//! Events to containerd, in the order in which they happened.
//!
//! One queue and one sender: an event waits until the one before it was taken or given up. containerd's service is
//! `containerd.services.events.ttrpc.v1.Events` on its ttrpc socket.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM, TaskPaused,
    TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc;
use containerd_shim_protos::types::mount::Mount;
use tokio::sync::{mpsc, oneshot};

use crate::cgroup::stats::pack;
use crate::exit::Exit;
use crate::stdio::Names;
use crate::time::timestamp;

/// How often an event is tried before it is given up, so that a containerd that restarts still gets it. containerd's
/// own shims try five times (`pkg/shim/publisher.go`).
const TRIES: u32 = 30;

/// Longest that one try may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Something that happened to a task.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Create {
        id: String,
        bundle: String,
        rootfs: Vec<Mount>,
        io: Names,
        pid: u32,
    },
    Start {
        id: String,
        pid: u32,
    },
    Oom {
        id: String,
    },
    Paused {
        id: String,
    },
    Resumed {
        id: String,
    },
    ExecAdded {
        id: String,
        exec_id: String,
    },
    ExecStarted {
        id: String,
        exec_id: String,
        pid: u32,
    },
    /// The end of a process: of the main one without an exec id.
    Exit {
        id: String,
        exec_id: String,
        pid: u32,
        exit: Exit,
    },
    Delete {
        id: String,
        exec_id: String,
        pid: u32,
        exit: Exit,
    },
}

enum Item {
    Event(Box<Envelope>),
    /// Answered when all before it is done.
    Flush(oneshot::Sender<()>),
}

/// The sending end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    queue: mpsc::UnboundedSender<Item>,
    namespace: String,
}

impl Publisher {
    /// Starts the sender. `address` is containerd's ttrpc socket.
    #[must_use]
    pub(crate) fn start(address: &str, namespace: &str) -> Publisher {
        let (queue, receiver) = mpsc::unbounded_channel();
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("unix://{address}"),
        };
        tokio::spawn(send_all(receiver, address));
        Publisher {
            queue,
            namespace: namespace.to_owned(),
        }
    }

    /// One whose events nobody gets, for a sandbox of the sandbox API: containerd takes events for those of tasks.
    #[must_use]
    pub(crate) fn silent() -> Publisher {
        let (queue, _) = mpsc::unbounded_channel();
        Publisher {
            queue,
            namespace: String::new(),
        }
    }

    /// Queues an event.
    pub(crate) fn publish(&self, event: Event) {
        let envelope = envelope(event, &self.namespace);
        // The sender outlives every publisher but for a silent one and a runtime that is shutting down.
        let _ = self.queue.send(Item::Event(Box::new(envelope)));
    }

    /// Waits until all that was queued is sent or given up, at most for `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Item::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(limit, wait).await;
        }
    }
}

fn envelope(event: Event, namespace: &str) -> Envelope {
    let at = timestamp(SystemTime::now());
    let (topic, any) = match event {
        Event::Create {
            id,
            bundle,
            rootfs,
            io,
            pid,
        } => {
            let io = TaskIO {
                stdin: io.stdin,
                stdout: io.stdout,
                stderr: io.stderr,
                ..Default::default()
            };
            let event = TaskCreate {
                container_id: id,
                bundle,
                rootfs,
                io: MessageField::some(io),
                pid,
                ..Default::default()
            };
            named("/tasks/create", &event)
        }
        Event::Start { id, pid } => named(
            "/tasks/start",
            &TaskStart {
                container_id: id,
                pid,
                ..Default::default()
            },
        ),
        Event::Oom { id } => named(
            "/tasks/oom",
            &TaskOOM {
                container_id: id,
                ..Default::default()
            },
        ),
        Event::Paused { id } => named(
            "/tasks/paused",
            &TaskPaused {
                container_id: id,
                ..Default::default()
            },
        ),
        Event::Resumed { id } => named(
            "/tasks/resumed",
            &TaskResumed {
                container_id: id,
                ..Default::default()
            },
        ),
        Event::ExecAdded { id, exec_id } => named(
            "/tasks/exec-added",
            &TaskExecAdded {
                container_id: id,
                exec_id,
                ..Default::default()
            },
        ),
        Event::ExecStarted { id, exec_id, pid } => named(
            "/tasks/exec-started",
            &TaskExecStarted {
                container_id: id,
                exec_id,
                pid,
                ..Default::default()
            },
        ),
        Event::Exit {
            id,
            exec_id,
            pid,
            exit,
        } => {
            let event = TaskExit {
                // The process' id; for a container's main process the same as the container's.
                id: if exec_id.is_empty() { id.clone() } else { exec_id },
                container_id: id,
                pid,
                exit_status: exit.code,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..Default::default()
            };
            named("/tasks/exit", &event)
        }
        Event::Delete {
            id,
            exec_id,
            pid,
            exit,
        } => {
            let event = TaskDelete {
                id: exec_id,
                container_id: id,
                pid,
                exit_status: exit.code,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..Default::default()
            };
            named("/tasks/delete", &event)
        }
    };
    Envelope {
        timestamp: MessageField::some(at),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: MessageField::some(any),
        ..Default::default()
    }
}

fn named<M: Message>(topic: &'static str, message: &M) -> (&'static str, Any) {
    // `NAME` is the name without its package (containerd `api/events/task.proto`).
    (topic, pack(&format!("containerd.events.{}", M::NAME), message))
}

async fn send_all(mut queue: mpsc::UnboundedReceiver<Item>, address: String) {
    let mut client: Option<EventsClient> = None;
    let mut flushes: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    while let Some(item) = queue.recv().await {
        match item {
            Item::Event(envelope) => send(&mut client, &address, *envelope).await,
            Item::Flush(done) => flushes.push_back(done),
        }
        for done in flushes.drain(..) {
            let _ = done.send(());
        }
    }
}

async fn send(client: &mut Option<EventsClient>, address: &str, envelope: Envelope) {
    let topic = envelope.topic.clone();
    let request = ForwardRequest {
        envelope: MessageField::some(envelope),
        ..Default::default()
    };
    let mut pause = Duration::from_millis(20);
    for _ in 0..TRIES {
        match try_send(client, address, &request).await {
            Ok(()) => return,
            Err(error) => {
                log::debug!("event {topic}: {error}");
                *client = None;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    log::error!("event {topic} was not taken by containerd at {address} and is lost");
}

async fn try_send(
    client: &mut Option<EventsClient>,
    address: &str,
    request: &ForwardRequest,
) -> ttrpc::Result<()> {
    let client = match client {
        Some(client) => client,
        None => client.insert(EventsClient::new(Client::connect(address).await?)),
    };
    client
        .forward(ttrpc::context::with_duration(TIMEOUT), request)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_have_containerds_topics_and_types() {
        let exit = Exit::now(137);
        let made = envelope(
            Event::Exit {
                id: "a".into(),
                exec_id: String::new(),
                pid: 5,
                exit,
            },
            "k8s.io",
        );
        assert_eq!(
            (made.topic.as_str(), made.namespace.as_str()),
            ("/tasks/exit", "k8s.io")
        );
        assert_eq!(made.event.type_url, "containerd.events.TaskExit");
        let event = TaskExit::parse_from_bytes(&made.event.value).unwrap();
        assert_eq!(
            (event.id.as_str(), event.container_id.as_str(), event.exit_status),
            ("a", "a", 137)
        );
        let oom = envelope(Event::Oom { id: "a".into() }, "n");
        assert_eq!(
            (oom.topic.as_str(), oom.event.type_url.as_str()),
            ("/tasks/oom", "containerd.events.TaskOOM")
        );
    }
}
