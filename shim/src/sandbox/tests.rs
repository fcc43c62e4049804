use super::*;
use crate::create::Context;
use crate::events::Publisher;

fn calls() -> Calls {
    let events = Publisher::start("/nonexistent/ttrpc", "test");
    let pod = Pod::new(Context {
        address: "/nonexistent".into(),
        namespace: "test".into(),
        events,
        network: Arc::default(),
    });
    Calls {
        pod,
        created: OnceLock::new(),
    }
}

fn context() -> TtrpcContext {
    TtrpcContext {
        mh: Default::default(),
        metadata: HashMap::new(),
        timeout_nano: 0,
        connection_data: Default::default(),
    }
}

async fn state(calls: &Calls, id: &str) -> Result<String> {
    let request = SandboxStatusRequest {
        sandbox_id: id.to_owned(),
        ..Default::default()
    };
    Ok(calls.sandbox_status(&context(), request).await?.state)
}

#[tokio::test(flavor = "current_thread")]
async fn a_sandboxs_life() {
    let bundle = tempfile::tempdir().unwrap();
    let calls = calls();
    let id = || "s1".to_owned();
    let create = CreateSandboxRequest {
        sandbox_id: id(),
        bundle_path: bundle.path().display().to_string(),
        netns_path: "/run/netns/n1".to_owned(),
        ..Default::default()
    };
    calls.create_sandbox(&context(), create.clone()).await.unwrap();
    assert!(calls.create_sandbox(&context(), create).await.is_err());
    assert_eq!(state(&calls, "s1").await.unwrap(), NOT_READY);
    let start = StartSandboxRequest {
        sandbox_id: id(),
        ..Default::default()
    };
    let started = calls.start_sandbox(&context(), start).await.unwrap();
    assert_eq!(started.pid, std::process::id());
    assert!(started.created_at.seconds > 0);
    assert_eq!(state(&calls, "s1").await.unwrap(), READY);
    assert!(state(&calls, "other").await.is_err());
    let stop = StopSandboxRequest {
        sandbox_id: id(),
        ..Default::default()
    };
    calls.stop_sandbox(&context(), stop.clone()).await.unwrap();
    // containerd stops a sandbox again when it removes it.
    calls.stop_sandbox(&context(), stop).await.unwrap();
    assert_eq!(state(&calls, "s1").await.unwrap(), NOT_READY);
    let wait = WaitSandboxRequest {
        sandbox_id: id(),
        ..Default::default()
    };
    let ended = calls.wait_sandbox(&context(), wait).await.unwrap();
    assert_eq!(ended.exit_status, 143);
    let shutdown = ShutdownSandboxRequest {
        sandbox_id: id(),
        ..Default::default()
    };
    calls.shutdown_sandbox(&context(), shutdown).await.unwrap();
    calls.pod.wait_done().await;
    let kept = std::fs::read_to_string(bundle.path().join("mote-task.json")).unwrap();
    assert!(
        kept.contains("143"),
        "the exit code stays as long as the bundle: {kept}"
    );
}
