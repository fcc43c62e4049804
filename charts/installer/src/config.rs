//! What a target's files are to be with Mote, and without.

use std::path::{Path, PathBuf};

use crate::distribution::{Place, Schema, Target};
use crate::error::Error;
use crate::host::Host;
use crate::runtime::{self, DROP_IN_MARK};
use crate::toml::{self, block, imports};

/// One file, as it is and as it is to be; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// Mode of files that were not there.
const MODE: u32 = 0o644;

/// The changes that register the runtime with this shim; empty if it is registered so already.
pub(crate) fn register(host: &Host, target: &Target, shim: &Path) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    match &target.place {
        Place::Block { file, head } => {
            let before = host.read(file)?;
            let rest = match &before {
                Some(text) => split(file, text)?.rest,
                None => head.clone(),
            };
            refuse_foreign(file, &rest, target.schema)?;
            let after = block::append(&rest, &runtime::table(target.schema, shim));
            check(file, &after)?;
            push(&mut changes, file, before, Some(after));
        }
        Place::DropIn { file, main } => {
            // The drop-in first: an import of a file that is not there stops containerd.
            let before = host.read(file)?;
            if before
                .as_ref()
                .is_some_and(|text| !text.starts_with(DROP_IN_MARK))
            {
                return Err(Error::Config {
                    path: file.clone(),
                    reason: "somebody else wrote it; remove or rename it".into(),
                });
            }
            let after = runtime::drop_in(target.schema, shim);
            push(&mut changes, file, before, Some(after));
            if let Some(main) = main {
                let before = host.read(main)?;
                let text = before.clone().unwrap_or_else(|| created_main(file));
                refuse_foreign(main, &text, target.schema)?;
                let after = if imports::cover(main, &text, file)? {
                    text
                } else {
                    imports::add(main, &text, file)?
                };
                check(main, &after)?;
                push(&mut changes, main, before, Some(after));
            }
        }
    }
    Ok(changes)
}

/// The changes that take all of it back, whatever was changed in between; empty if there is nothing.
pub(crate) fn unregister(host: &Host, target: &Target) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    match &target.place {
        Place::Block { file, head } => {
            if let Some(text) = host.read(file)? {
                let parts = split(file, &text)?;
                if parts.block.is_some() {
                    // What was nothing but our start is gone with the block.
                    let ours = head.starts_with(DROP_IN_MARK) && parts.rest == *head;
                    let after = (!ours).then_some(parts.rest);
                    push(&mut changes, file, Some(text), after);
                }
            }
        }
        Place::DropIn { file, main } => {
            if let Some(main) = main
                && let Some(text) = host.read(main)?
            {
                let after = if text == created_main(file) {
                    None
                } else {
                    Some(imports::remove(main, &text, file)?)
                };
                push(&mut changes, main, Some(text), after);
            }
            if let Some(text) = host.read(file)?
                && text.starts_with(DROP_IN_MARK)
            {
                push(&mut changes, file, Some(text), None);
            }
        }
    }
    Ok(changes)
}

/// Makes the changes, in their order; which folders it made.
pub(crate) fn apply(host: &Host, changes: &[Change]) -> Result<Vec<PathBuf>, Error> {
    let mut made = Vec::new();
    for change in changes {
        match &change.after {
            Some(text) => {
                if let Some(dir) = change.path.parent() {
                    made.extend(host.make_dirs(dir)?);
                }
                host.write(&change.path, text.as_bytes(), MODE)?;
            }
            None => host.remove(&change.path)?,
        }
    }
    Ok(made)
}

/// The changes back, in the opposite order.
pub(crate) fn undo(changes: &[Change]) -> Vec<Change> {
    let back = |change: &Change| Change {
        path: change.path.clone(),
        before: change.after.clone(),
        after: change.before.clone(),
    };
    changes.iter().rev().map(back).collect()
}

/// A main file where there was none. It imports the folder, as containerd without a file may do.
fn created_main(drop_in: &Path) -> String {
    let dir = drop_in.parent().unwrap_or(Path::new("/"));
    let pattern = dir.join("*.toml").display().to_string();
    format!("{DROP_IN_MARK}\nversion = 3\nimports = [{pattern:?}]\n")
}

fn push(changes: &mut Vec<Change>, path: &Path, before: Option<String>, after: Option<String>) {
    if before != after {
        changes.push(Change {
            path: path.into(),
            before,
            after,
        });
    }
}

fn split(path: &Path, text: &str) -> Result<block::Parts, Error> {
    block::split(text).map_err(|reason| Error::Config {
        path: path.into(),
        reason,
    })
}

/// A handler of this name that somebody wrote by hand stays theirs.
fn refuse_foreign(path: &Path, text: &str, schema: Schema) -> Result<(), Error> {
    let foreign = if is_template(text) {
        text.lines()
            .any(|line| line.trim().starts_with('[') && line.contains(".containerd.runtimes.mote]"))
    } else {
        toml::has(toml::parse(path, text)?.as_table(), &schema.keys())
    };
    if foreign {
        return Err(Error::Config {
            path: path.into(),
            reason: "it has a runtime \"mote\" that mote-install did not write; remove it first".into(),
        });
    }
    Ok(())
}

/// What would be written must still be TOML: a table that is written in braces, say, cannot be added to.
fn check(path: &Path, text: &str) -> Result<(), Error> {
    if is_template(text) {
        return Ok(());
    }
    match toml::parse(path, text) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::Config {
            path: path.into(),
            reason: format!(
                "the runtime's table cannot be added to it, for its runtimes are written inline: {e}"
            ),
        }),
    }
}

/// A template of k3s or rke2, in Go's language.
fn is_template(text: &str) -> bool {
    text.contains("{{")
}
