use super::*;
use crate::channel::pair;

fn limits() -> Limits {
    Limits {
        vms: 4,
        queue: 100,
        wait: None,
        idle: Some(Duration::from_secs(10)),
    }
}

fn new() -> (Arc<Pool>, mpsc::UnboundedReceiver<Wish>) {
    let (wishes, wished) = mpsc::unbounded_channel();
    (Pool::new(limits(), wishes), wished)
}

fn vm(id: u32) -> Arc<Vm> {
    // The other end is not looked at here.
    let (ours, theirs) = pair();
    std::mem::forget(theirs);
    Vm::new(id, ours).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_last_used_vm_is_the_next_used() {
    let (pool, _wished) = new();
    for id in 0..3 {
        pool.arrived(vm(id));
    }
    let lease = pool.acquire().await.unwrap();
    assert_eq!(lease.vm().id(), 2);
    drop(lease);
    assert_eq!(pool.acquire().await.unwrap().vm().id(), 2);
    assert_eq!(pool.figures(), (3, 0, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_stands_asks_for_more_and_ever_more() {
    let (pool, mut wished) = new();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { pool.acquire().await })
        })
        .collect();
    tokio::task::yield_now().await;
    let now = Instant::now();
    pool.look(now);
    pool.look(now);
    assert_eq!(wished.try_recv(), Ok(Wish::OneMore));
    assert!(wished.try_recv().is_err(), "one at a time while there is none");
    pool.arrived(vm(0));
    pool.look(now);
    assert!(wished.try_recv().is_err(), "not before it has waited");
    let later = now + PATIENCE;
    pool.look(later);
    pool.look(later);
    assert_eq!(wished.try_recv(), Ok(Wish::OneMore));
    assert!(wished.try_recv().is_err());
    pool.arrived(vm(1));
    pool.look(later);
    pool.look(later);
    pool.look(later);
    assert_eq!(pool.figures(), (2, 2, 0, 8), "no more than the limit");
    for task in waiting {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_leaves_no_gap() {
    let (pool, _wished) = new();
    let gone = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.acquire().await }
    });
    tokio::task::yield_now().await;
    gone.abort();
    let _ = gone.await;
    let next = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.acquire().await }
    });
    tokio::task::yield_now().await;
    pool.arrived(vm(0));
    let lease = next.await.unwrap().unwrap();
    assert_eq!(lease.vm().id(), 0);
    drop(lease);
    assert_eq!(pool.figures(), (1, 0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn vms_that_never_serve_end_the_wait() {
    let (pool, mut wished) = new();
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.acquire().await.map(|_| ()) }
    });
    tokio::task::yield_now().await;
    for _ in 0..FAILURES_MAX {
        let next = pool.look(Instant::now()).unwrap();
        tokio::time::sleep_until(next).await;
        pool.look(Instant::now());
        assert_eq!(wished.try_recv(), Ok(Wish::OneMore));
        pool.failed();
    }
    assert_eq!(waiting.await.unwrap(), Err(Busy::NoVm));
}

#[tokio::test(start_paused = true)]
async fn idle_vms_go_but_for_one() {
    let (pool, _wished) = new();
    let vms: Vec<_> = (0..3).map(vm).collect();
    for vm in &vms {
        pool.arrived(Arc::clone(vm));
    }
    let next = pool.look(Instant::now()).unwrap();
    assert_eq!(next, Instant::now() + Duration::from_secs(10));
    tokio::time::sleep_until(next).await;
    assert_eq!(pool.look(Instant::now()), None);
    assert_eq!(pool.figures(), (1, 0, 1, 0));
    assert!(vms[0].let_go() && vms[1].let_go() && !vms[2].let_go());
}
