//! The matrix: one test on every containerd.
//!
//! A test is one function over the containerd that it is given; the entries of the matrix run at the same time, because a
//! pod's life is mostly waiting for processes to start. `CONTAINERD` restricts the matrix to one series.
//!
//! | entry | what is different |
//! |---|---|
//! | 1.6 | `containerd.task.v2`; refuses images with Wasm layers at import, so only the forms with a rootfs are tested |
//! | 1.7 | `containerd.task.v2`; the address file instead of `bootstrap.json` |
//! | 2.1 | as 1.7, with the pod's sandbox kept by CRI's own controller |
//! | 2.1, sandbox API | `sandboxer = "shim"`: no task stands for the sandbox |

use std::sync::OnceLock;
use std::thread;

use super::{Containerd, SANDBOXER, Series};

/// Runs a test of pods on each entry.
///
/// # Panics
/// With the names of the entries on which it failed. What failed is in the output above, in a thread with that name.
pub fn each(test: impl Fn(&'static Containerd) + Sync) {
    run(&test, true);
}

/// Runs a test that is not about pods, and therefore not about handlers, on each series.
///
/// # Panics
/// As [`each`].
pub fn each_series(test: impl Fn(&'static Containerd) + Sync) {
    run(&test, false);
}

fn run(test: &(impl Fn(&'static Containerd) + Sync), sandbox_api: bool) {
    let chosen = match Series::chosen() {
        Ok(chosen) => chosen,
        Err(error) => panic!("{error:#}"),
    };
    let series = Series::ALL
        .into_iter()
        .filter(|series| chosen.is_none_or(|chosen| chosen == *series));
    let entries = series.flat_map(|series| {
        let sandboxer = sandbox_api && series == Series::V2_1;
        [Some((series, false)), sandboxer.then_some((series, true))]
    });
    let failed: Vec<String> = thread::scope(|scope| {
        let started: Vec<_> = entries
            .flatten()
            .map(|(series, sandboxer)| {
                let name = entry_name(series, sandboxer);
                let run = move || test(daemon(series, sandboxer));
                let thread = thread::Builder::new().name(name.clone()).spawn_scoped(scope, run);
                (name, thread)
            })
            .collect();
        let failed = started.into_iter().filter_map(|(name, thread)| match thread {
            Ok(thread) => thread.join().is_err().then_some(name),
            Err(error) => Some(format!("{name}: {error}")),
        });
        failed.collect()
    });
    assert!(failed.is_empty(), "failed on {}", failed.join("; "));
}

fn entry_name(series: Series, sandboxer: bool) -> String {
    let api = if sandboxer { ", sandbox API" } else { "" };
    format!("containerd {}{api}", series.name())
}

fn daemon(series: Series, sandboxer: bool) -> &'static Containerd {
    static SANDBOXED: OnceLock<Containerd> = OnceLock::new();
    let daemon = Containerd::of(series);
    match sandboxer {
        true => SANDBOXED.get_or_init(|| daemon.with_handler(SANDBOXER)),
        false => daemon,
    }
}
