//! A parent and its VMs, played by tasks, for tests.

use std::{
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mote_abi::http::{FrameHead, RequestHead, ResponseHead, encode_fields};
use mote_config::front::{FrontConfig, Message, vm};
use tokio::{net::UnixStream, task::JoinHandle};

use crate::{
    End, Error, Parent,
    channel::{Channel, pair},
    frames::{Frame, Reader, Writer},
    serve,
};

/// A front with VMs behind it.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// VMs that were started, and those that were ended by force.
    pub(crate) started: Arc<AtomicUsize>,
    pub(crate) forced: Arc<AtomicUsize>,
    /// VMs that live.
    pub(crate) living: Arc<AtomicUsize>,
    pub(crate) front: JoinHandle<Result<End, Error>>,
    pub(crate) parent: JoinHandle<()>,
}

pub(crate) fn config(vms: u32) -> FrontConfig {
    FrontConfig {
        vm_idle_ms: 300,
        queue_ms: 2000,
        connections_max: 2000,
        idle_ms: 5000,
        ..FrontConfig::new(1, vms)
    }
}

pub(crate) async fn world(config: FrontConfig) -> World {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = pair();
    let front = tokio::spawn(serve(Parent {
        config,
        control: theirs,
        listeners: vec![listener],
    }));
    let control = Channel::new(ours).unwrap();
    let ready = control.receive().await.unwrap().unwrap();
    assert_eq!(Message::from_bytes(ready.bytes()), Some(Message::Ready));
    let (started, forced, living): Counters = Default::default();
    let counters = (Arc::clone(&started), Arc::clone(&forced), Arc::clone(&living));
    World {
        address,
        started,
        forced,
        living,
        front,
        parent: tokio::spawn(parent(control, counters)),
    }
}

type Counters = (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>);

async fn parent(control: Channel, (started, forced, living): Counters) {
    let mut vms: Vec<JoinHandle<()>> = Vec::new();
    while let Ok(Some(message)) = control.receive().await {
        match Message::from_bytes(message.bytes()).unwrap() {
            Message::Wanted => {
                let (ours, theirs) = pair();
                let id = u32::try_from(started.fetch_add(1, Ordering::SeqCst)).unwrap();
                let count = Count::new(&living);
                vms.push(tokio::spawn(async move {
                    let _count = count;
                    guest(ours).await;
                }));
                let message = Message::Vm(id).to_bytes();
                control
                    .send(&message, Some(std::os::fd::AsFd::as_fd(&theirs)))
                    .await
                    .unwrap();
            }
            Message::End(id) => {
                forced.fetch_add(1, Ordering::SeqCst);
                vms[usize::try_from(id).unwrap()].abort();
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(count: &Arc<AtomicUsize>) -> Count {
        count.fetch_add(1, Ordering::SeqCst);
        Count(Arc::clone(count))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves requests, one after the other, until the front lets it go.
async fn guest(socket: OwnedFd) {
    let channel = Channel::new(socket).unwrap();
    channel.send(&[vm::READY], None).await.unwrap();
    while let Ok(Some(message)) = channel.receive().await {
        assert_eq!(message.bytes(), [vm::INCOMING]);
        let stream = StdStream::from(message.fd.unwrap());
        let stream = UnixStream::from_std(stream).unwrap();
        let (read, write) = stream.into_split();
        let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
        let mut turn = 0;
        let lives = loop {
            match program(&mut reader, &mut writer, turn).await {
                Then::Idle => turn += 1,
                then => break then != Then::Die,
            }
        };
        drop((reader, writer));
        if !lives {
            // The streams of a process that dies are closed one after the other.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return;
        }
        if channel.send(&[vm::READY], None).await.is_err() {
            return;
        }
    }
}

async fn head(writer: &mut Writer, status: u16, fields: &[(&str, &str)]) {
    let _ = writer.frames(&response(status, fields)).await;
}

fn response(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let head = ResponseHead {
        status,
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    };
    let mut bytes = Vec::new();
    head.encode(&mut bytes).unwrap();
    bytes
}

/// What the guest does with the stream of a request.
#[derive(PartialEq)]
enum Then {
    Close,
    /// It has said that it waits for the next one on it.
    Idle,
    Die,
}

/// What the guest does is in the path. Of each stream it may have several requests, of which this is number `turn`.
async fn program(reader: &mut Reader, writer: &mut Writer, turn: u32) -> Then {
    let request = match reader.next().await {
        Ok(Frame::Request(request)) => request,
        Err(_) if turn > 0 => return Then::Close,
        _ => panic!("no request"),
    };
    let path = request.path_with_query.clone();
    match path.as_str() {
        // The request as it is seen.
        "/show" => {
            head(writer, 200, &[("content-type", "text/plain")]).await;
            writer.body(show(&request).as_bytes()).await.unwrap();
            writer.end().await.unwrap();
        }
        // The body, as it comes, and its trailers.
        "/echo" => {
            head(writer, 200, &[("trailer", "x-sum")]).await;
            loop {
                match reader.next().await {
                    Ok(Frame::Body(bytes)) => {
                        if writer.body(bytes).await.is_err() {
                            break;
                        }
                    }
                    Ok(Frame::Trailers(fields)) => {
                        let mut bytes = Vec::new();
                        encode_fields(&fields, &mut bytes).unwrap();
                        writer.frames(&bytes).await.unwrap();
                        break;
                    }
                    Ok(Frame::End) => {
                        let _ = writer.end().await;
                        break;
                    }
                    Ok(Frame::Failed(_)) | Err(_) => break,
                    Ok(other) => panic!("{other:?}"),
                }
            }
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            head(writer, 200, &[]).await;
            let _ = writer.end().await;
        }
        // Endless, until nobody listens.
        "/zeros" => {
            head(writer, 200, &[]).await;
            while writer.body(&[0; 65536][..]).await.is_ok() {}
        }
        "/length" => {
            head(writer, 200, &[("content-length", "5")]).await;
            writer.body(&b"hello"[..]).await.unwrap();
            writer.end().await.unwrap();
        }
        "/two-lengths" => head(writer, 200, &[("content-length", "5"), ("content-length", "6")]).await,
        "/early-hints" => head(writer, 103, &[]).await,
        "/trap" => {}
        "/trap-late" => {
            head(writer, 200, &[]).await;
            writer.body(&b"begin"[..]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        "/die" => return Then::Die,
        // As a guest does it: the end and that it is idle in one write, or in two.
        "/again" | "/again-later" => {
            while matches!(reader.next().await, Ok(Frame::Body(_))) {}
            head(writer, 200, &[]).await;
            writer.body(turn.to_string().as_bytes()).await.unwrap();
            let (end, idle) = (FrameHead::END.to_bytes(), FrameHead::IDLE.to_bytes());
            if path == "/again" {
                let _ = writer.frames(&[end, idle].concat()).await;
            } else {
                let _ = writer.frames(&end).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = writer.frames(&idle).await;
            }
            return Then::Idle;
        }
        // It says that it is idle, and goes on.
        "/too-much" => {
            head(writer, 200, &[]).await;
            let (end, idle) = (FrameHead::END.to_bytes(), FrameHead::IDLE.to_bytes());
            let _ = writer.frames(&[end, idle, end].concat()).await;
        }
        "/nonsense" => writer.frames(&[0xff; 64]).await.unwrap(),
        // It waits for a body that does not come.
        "/hang" => while matches!(reader.next().await, Ok(Frame::Body(_))) {},
        "/spin" => tokio::time::sleep(Duration::from_secs(3600)).await,
        // A response to HEAD or 204 that has a body all the same.
        "/no-content" => {
            head(writer, 204, &[]).await;
            writer.body(&b"hello"[..]).await.unwrap();
            writer.end().await.unwrap();
        }
        // Head and end in one write, as a guest sends them.
        "/empty" => {
            let bytes = [response(200, &[]), FrameHead::END.to_bytes().to_vec()].concat();
            writer.frames(&bytes).await.unwrap();
        }
        // Works on after the answer.
        "/after" => {
            head(writer, 200, &[]).await;
            writer.end().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // The whole body is read before the answer.
        "/count" => {
            let mut sum = 0;
            while let Ok(Frame::Body(bytes)) = reader.next().await {
                sum += bytes.len();
            }
            head(writer, 200, &[]).await;
            writer.body(sum.to_string().as_bytes()).await.unwrap();
            writer.end().await.unwrap();
        }
        // It wants nothing of the body.
        "/ignore" => {
            head(writer, 200, &[]).await;
            writer.end().await.unwrap();
        }
        _ => head(writer, 404, &[("content-length", "0")]).await,
    }
    Then::Close
}

fn show(request: &RequestHead) -> String {
    let mut text = format!(
        "{} {} {} {} {}\n",
        request.id, request.method, request.scheme, request.authority, request.path_with_query
    );
    for (name, value) in &request.fields {
        text += &format!("{name}: {}\n", String::from_utf8_lossy(value));
    }
    text
}
