//! Who runs executables of ours, by what /proc says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;
use crate::host::Host;
use crate::release::{EXECUTABLES, SHIM, Store};

/// Processes that run files of one release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Users {
    /// Processes that run the shim: one for each pod.
    pub(crate) shims: Vec<u32>,
    /// Others: micro-VMs, compilers, servers.
    pub(crate) others: Vec<u32>,
}

impl Users {
    pub(crate) fn is_empty(&self) -> bool {
        self.shims.is_empty() && self.others.is_empty()
    }
}

/// Processes by the release that they run. A file is told by its device and inode, as it has other names in other mount
/// namespaces.
pub(crate) fn users(host: &Host, store: &Store) -> Result<BTreeMap<String, Users>, Error> {
    let mut files = BTreeMap::new();
    let mut found = BTreeMap::new();
    for id in store.all(host)? {
        for name in EXECUTABLES {
            let path = host.real(&store.dir(&id).join(name))?;
            if let Ok(meta) = fs::metadata(path) {
                files.insert((meta.dev(), meta.ino()), (id.clone(), name));
            }
        }
        found.insert(id, Users::default());
    }
    let proc = Path::new("/proc");
    for entry in fs::read_dir(proc).map_err(Error::io("read", proc))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Gone by now, or a thread of the kernel.
        let Ok(meta) = fs::metadata(entry.path().join("exe")) else {
            continue;
        };
        if let Some((id, name)) = files.get(&(meta.dev(), meta.ino()))
            && let Some(users) = found.get_mut(id)
        {
            let list = if *name == SHIM {
                &mut users.shims
            } else {
                &mut users.others
            };
            list.push(pid);
        }
    }
    Ok(found)
}
