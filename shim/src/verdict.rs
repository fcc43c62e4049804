//! What the end of a VMM means for its container.

use mote_config::Reason;

use crate::exit;

/// What the end of a VMM means for its container.
pub(crate) struct Verdict {
    pub code: u32,
    pub out_of_memory: bool,
    /// The reason, where the exit code alone does not tell it.
    pub message: Option<String>,
}

impl Verdict {
    /// `oom_kills` is how often the kernel has killed in the container's cgroup.
    pub(crate) fn of(ended: Option<mote_config::Exit>, oom_kills: u64) -> Verdict {
        let Some(ended) = ended else {
            return Verdict {
                code: exit::UNKNOWN,
                out_of_memory: false,
                message: Some("the shim lost track of the VMM; its log tells more".to_owned()),
            };
        };
        let code = u32::from(ended.code);
        match ended.reason {
            // The VM kept to its limit, but VMM and VM together did not, or the pod as a whole.
            Reason::Signal if ended.code == mote_config::exit::OOM && oom_kills > 0 => Verdict {
                code,
                out_of_memory: true,
                message: Some("killed by the kernel: the cgroup's memory limit was reached".to_owned()),
            },
            Reason::Exited | Reason::Signal => Verdict {
                code,
                out_of_memory: false,
                message: None,
            },
            Reason::OutOfMemory => Verdict {
                code,
                out_of_memory: true,
                message: ended.message,
            },
            Reason::Trap | Reason::Internal => Verdict {
                code,
                out_of_memory: false,
                message: ended.message,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use mote_config::Stats;

    use super::*;

    fn verdict(code: u8, reason: Reason, oom_kills: u64) -> (u32, bool, bool) {
        let message = Some("why".to_owned());
        let ended = mote_config::Exit {
            code,
            reason,
            message,
            stats: Stats::default(),
        };
        let verdict = Verdict::of(Some(ended), oom_kills);
        (verdict.code, verdict.out_of_memory, verdict.message.is_some())
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(verdict(42, Reason::Exited, 0), (42, false, false));
        assert_eq!(verdict(134, Reason::Trap, 0), (134, false, true));
        assert_eq!(verdict(137, Reason::OutOfMemory, 0), (137, true, true));
        assert_eq!(
            verdict(137, Reason::Signal, 0),
            (137, false, false),
            "a kill by the user"
        );
        assert_eq!(
            verdict(137, Reason::Signal, 1),
            (137, true, true),
            "a kill by the kernel"
        );
        assert_eq!(verdict(143, Reason::Signal, 1), (143, false, false));
        assert_eq!(verdict(125, Reason::Internal, 0), (125, false, true));
        assert_eq!(Verdict::of(None, 0).code, exit::UNKNOWN);
    }
}
