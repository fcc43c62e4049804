//! `mote cache`.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use mote_launch::Node;
use serde_json::json;

use crate::args;

/// Lists, prunes or clears the cache.
pub(crate) fn cache(args: &args::Cache) -> anyhow::Result<ExitCode> {
    let node = Node::discover()?;
    match args {
        args::Cache::List { json } => list(&node, *json)?,
        args::Cache::Prune { size, json } => {
            prune(&node, size.unwrap_or(node.limits().cache_size), *json)?;
        }
        args::Cache::Clear { json } => prune(&node, 0, *json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(node: &Node, as_json: bool) -> anyhow::Result<()> {
    for entry in node.cached().map_err(mote_launch::Error::from)? {
        if as_json {
            let used = entry
                .used
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let line = json!({
                "key": entry.key, "path": entry.path, "bytes": entry.size, "used": used.as_secs(),
            });
            println!("{line}");
        } else {
            let age = entry.used.elapsed().unwrap_or_default();
            println!("{}  {:>10}  used {} ago", &entry.key, bytes(entry.size), ago(age));
        }
    }
    Ok(())
}

fn prune(node: &Node, most: u64, as_json: bool) -> anyhow::Result<()> {
    let pruned = node.prune(most).map_err(mote_launch::Error::from)?;
    if as_json {
        let line = json!({
            "removed": pruned.removed, "freed": pruned.freed, "left": pruned.left, "left_bytes": pruned.left_bytes,
        });
        println!("{line}");
    } else {
        println!(
            "removed {} of {} programs, {} freed, {} left",
            pruned.removed,
            pruned.removed + pruned.left,
            bytes(pruned.freed),
            bytes(pruned.left_bytes)
        );
    }
    Ok(())
}

fn bytes(n: u64) -> String {
    match n {
        0..1_048_576 => format!("{} KiB", n >> 10),
        _ => format!("{}.{} MiB", n >> 20, ((n & 0xf_ffff) * 10) >> 20),
    }
}

fn ago(age: Duration) -> String {
    match age.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(bytes(512 << 10), "512 KiB");
        assert_eq!(bytes(3 << 19), "1.5 MiB");
        assert_eq!(ago(Duration::from_secs(7200)), "2 h");
    }
}
