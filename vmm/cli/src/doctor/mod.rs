//! `mote doctor`: what this machine lacks, and how to mend it.

mod host;
mod install;
mod kvm;

use std::process::ExitCode;

use serde::Serialize;

use crate::args;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    /// Programs run, but slower or not everywhere.
    Warn,
    /// No program runs.
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            mend: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check {
            name,
            verdict: Verdict::Warn,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check {
            name,
            verdict: Verdict::Fail,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }

    /// `found` holds the way out as well, as the messages of mote-launch do.
    fn failed(name: &'static str, found: impl std::fmt::Display) -> Check {
        Check {
            name,
            verdict: Verdict::Fail,
            found: found.to_string(),
            mend: None,
        }
    }
}

/// Makes all checks and prints them.
pub(crate) fn doctor(args: &args::Doctor) -> anyhow::Result<ExitCode> {
    let mut checks = kvm::checks();
    checks.extend(install::checks());
    checks.extend(host::checks());
    for check in &checks {
        if args.json {
            println!("{}", serde_json::to_string(check)?);
        } else {
            let verdict = match check.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            println!("{verdict}  {}: {}", check.name, check.found);
            if let Some(mend) = &check.mend {
                println!("      -> {mend}");
            }
        }
    }
    let failed = checks.iter().filter(|c| c.verdict == Verdict::Fail).count();
    if !args.json && failed == 0 {
        println!("Programs can run here.");
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
