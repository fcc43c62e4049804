//! `mote compile`, and the way from a path to compiled code that `mote run` shares.

use std::{fs::File, io::IsTerminal, path::Path, process::ExitCode};

use anyhow::Context;
use mote_launch::{Node, Outcome, Program, Source};

use crate::{args, progress::Progress};

/// Compiles each file into the cache.
pub(crate) fn compile(args: &args::Compile) -> anyhow::Result<ExitCode> {
    let node = Node::discover()?;
    for path in &args.files {
        let program = program(&node, path)?;
        if std::io::stderr().is_terminal() {
            let how = match &program.outcome {
                Outcome::Hit => "was compiled before".to_string(),
                Outcome::Compiled { took } | Outcome::Rebuilt { took, .. } => {
                    format!("compiled in {:.2} s", took.as_secs_f64())
                }
            };
            eprintln!(
                "{}: {how}, {} KiB of code",
                path.display(),
                program.header.text_len >> 10
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The compiled form of the file at `path`.
pub(crate) fn program(node: &Node, path: &Path) -> anyhow::Result<Program> {
    let name = path.display().to_string();
    let mut file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let meta = file
        .metadata()
        .with_context(|| format!("cannot look at {name}"))?;
    anyhow::ensure!(meta.is_file(), "{name} is not a regular file");
    let _progress = Progress::new(format!("mote: compiling {name}"));
    let program = node.program(&mut Source::new(&mut file, &name))?;
    if let Outcome::Rebuilt { why, .. } = &program.outcome {
        eprintln!("mote: the compiled {name} in the cache was not used ({why}); it has been compiled anew");
    }
    Ok(program)
}
