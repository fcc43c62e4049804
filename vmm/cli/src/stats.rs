//! The line that `mote run --stats` prints.

use mote_config::{Exit, Reason, Stats};
use mote_launch::{Outcome, Program};
use serde::Serialize;

/// [`Stats`] and what the parent knows. Times are microseconds.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    stats: &'a Stats,
    /// From the first KVM call to the first instruction of the guest.
    first_guest_instruction_us: f64,
    exit_code: u8,
    reason: Reason,
    /// CPU features that the code uses.
    features: String,
    /// What the program is.
    kind: &'static str,
    compile: Compile,
}

#[derive(Serialize)]
struct Compile {
    /// The code came from the cache.
    cached: bool,
    /// What the compiler took otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_us: Option<f64>,
    /// From the question for compiled code to the answer, verified.
    lookup_us: f64,
    key: String,
}

/// One line of JSON.
pub(crate) fn line(exit: &Exit, program: &Program, lookup_us: f64) -> String {
    let took = match &program.outcome {
        Outcome::Hit => None,
        Outcome::Compiled { took } | Outcome::Rebuilt { took, .. } => Some(round(took.as_secs_f64() * 1e6)),
    };
    let kind = mote_abi::code::Kind::from_raw(program.header.kind);
    let line = Line {
        stats: &exit.stats,
        first_guest_instruction_us: round(exit.stats.vm_us + exit.stats.entry_us),
        exit_code: exit.code,
        reason: exit.reason,
        features: format!("{:#x}", program.header.features),
        kind: match kind {
            Some(mote_abi::code::Kind::Module) => "module",
            Some(mote_abi::code::Kind::Component) => "component",
            Some(mote_abi::code::Kind::HttpProxy) => "http-proxy",
            Some(mote_abi::code::Kind::CommandAndProxy) => "command-and-http-proxy",
            Some(mote_abi::code::Kind::Script) => "script",
            None => "unknown",
        },
        compile: Compile {
            cached: took.is_none(),
            took_us: took,
            lookup_us: round(lookup_us),
            key: program.key.to_string(),
        },
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// Tenths of a microsecond, as the VMM's own figures have them.
fn round(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stay_readable_as_stats() {
        assert!((round(1118.399) - 1118.4).abs() < 1e-9);
        let stats = Stats {
            vm_us: 1.5,
            ..Stats::default()
        };
        let line = serde_json::to_string(&Line {
            stats: &stats,
            first_guest_instruction_us: 2.0,
            exit_code: 3,
            reason: Reason::Exited,
            features: String::new(),
            kind: "module",
            compile: Compile {
                cached: true,
                took_us: None,
                lookup_us: 1.0,
                key: String::new(),
            },
        })
        .unwrap();
        assert_eq!(serde_json::from_str::<Stats>(&line).unwrap(), stats);
    }
}
