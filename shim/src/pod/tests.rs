//! Lives of tasks in one shim.

use std::path::Path;

use super::*;
use crate::events::Publisher;
use crate::record::Record;
use crate::stdio::Names;

fn pod() -> Arc<Pod> {
    let events = Publisher::start("/nonexistent/ttrpc", "test");
    Pod::new(Context {
        address: "/nonexistent".into(),
        namespace: "test".into(),
        events,
        network: Arc::default(),
    })
}

fn request(bundle: &Path) -> Request {
    Request {
        id: "s1".into(),
        bundle: bundle.into(),
        rootfs: Vec::new(),
        terminal: false,
        io: Names::default(),
        checkpoint: String::new(),
    }
}

const SANDBOX: &str = r#"{"annotations": {"io.kubernetes.cri.container-type": "sandbox"}}"#;

#[tokio::test(flavor = "current_thread")]
async fn a_sandbox_runs_without_a_process() {
    let bundle = tempfile::tempdir().unwrap();
    std::fs::write(bundle.path().join("config.json"), SANDBOX).unwrap();
    let pod = pod();
    assert_eq!(
        pod.create(request(bundle.path()), Vec::new()).await.unwrap(),
        std::process::id()
    );
    let again = pod.create(request(bundle.path()), Vec::new()).await;
    assert!(matches!(again, Err(TaskError::Exists(_))));
    pod.start("s1", "").await.unwrap();
    let task = pod.task("s1").unwrap();
    task.kill("", 28, false).await.unwrap();
    assert_eq!(
        task.process("").unwrap().status().await.exit,
        None,
        "SIGWINCH ends nothing"
    );
    task.kill("", 15, false).await.unwrap();
    assert_eq!(task.process("").unwrap().exit().wait().await.code, 143);
    assert!(matches!(task.kill("", 9, true).await, Err(TaskError::State(_))));
    let saved = Record::load(bundle.path()).unwrap().unwrap();
    assert_eq!(saved.exit.unwrap().code, 143);
    assert_eq!(pod.delete("s1").await.unwrap().1.code, 143);
    // Whoever asks again, because it died before it could make use of the answer, gets the same.
    assert_eq!(pod.delete("s1").await.unwrap().1.code, 143);
    assert_eq!(pod.task("s1").unwrap().pids().await.len(), 1);
    assert_eq!(
        Record::load(bundle.path()).unwrap().unwrap().exit.unwrap().code,
        143
    );
    drop(bundle);
    assert!(matches!(pod.task("s1"), Err(TaskError::NoTask(_))));
}

#[tokio::test(flavor = "current_thread")]
async fn the_daemon_leaves_after_its_last_task() {
    let bundle = tempfile::tempdir().unwrap();
    std::fs::write(bundle.path().join("config.json"), SANDBOX).unwrap();
    let pod = pod();
    pod.create(request(bundle.path()), Vec::new()).await.unwrap();
    pod.shutdown();
    assert!(
        tokio::time::timeout(Duration::from_millis(20), pod.done.notified())
            .await
            .is_err()
    );
    pod.delete("s1").await.unwrap();
    pod.shutdown();
    pod.done.notified().await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_daemon_leaves_if_nobody_needs_it() {
    let limit = Duration::from_millis(20);
    let pod = pod();
    pod.unused(limit).await;
    let bundle = tempfile::tempdir().unwrap();
    std::fs::write(bundle.path().join("config.json"), SANDBOX).unwrap();
    pod.create(request(bundle.path()), Vec::new()).await.unwrap();
    let stays = async |why| {
        let left = tokio::time::timeout(5 * limit, pod.unused(limit)).await;
        assert!(left.is_err(), "{why}");
    };
    stays("there is a task").await;
    pod.delete("s1").await.unwrap();
    stays("its bundle is there").await;
    drop(bundle);
    pod.unused(limit).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_create_frees_the_id_and_leaves_nothing() {
    let bundle = tempfile::tempdir().unwrap();
    std::fs::write(bundle.path().join("config.json"), "{}").unwrap();
    let pod = pod();
    for _ in 0..2 {
        let error = pod.create(request(bundle.path()), Vec::new()).await.unwrap_err();
        assert!(matches!(error, TaskError::Spec(_)), "{error}");
    }
    assert_eq!(std::fs::read_dir(bundle.path()).unwrap().count(), 1);
}
