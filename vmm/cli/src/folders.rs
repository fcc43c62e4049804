//! Folders of the host that a program is granted, and whom its files are reached as.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
};

use anyhow::Context;
use mote_config::User;

use crate::options::Dir;

/// Opens a folder without reading it: what is in it is reached by the rights of the user who runs this.
pub(crate) fn open(dir: &Dir) -> anyhow::Result<File> {
    let option = if dir.read_only { "--dir-ro" } else { "--dir" };
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(&dir.host)
        .with_context(|| format!("{option} {}: the folder cannot be opened", dir.host))
}

/// The user who runs this, for a program whose files are to be his.
pub(crate) fn caller() -> anyhow::Result<User> {
    // SAFETY: neither has preconditions.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let groups = groups().context("cannot read the groups of this process")?;
    Ok(User { uid, gid, groups })
}

fn groups() -> io::Result<Vec<u32>> {
    // SAFETY: with a size of 0 the list is not written.
    let n = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut list = vec![0; usize::try_from(n).map_err(|_| io::Error::last_os_error())?];
    // SAFETY: the list has room for n groups, none of which this one thread can add.
    let n = unsafe { libc::getgroups(n, list.as_mut_ptr()) };
    list.truncate(usize::try_from(n).map_err(|_| io::Error::last_os_error())?);
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_no_folder_is_named() {
        for host in ["/does-not-exist", "/dev/null"] {
            let error = open(&Dir::read_only(host).unwrap()).unwrap_err();
            assert!(
                format!("{error:#}").starts_with(&format!("--dir-ro {host}: ")),
                "{error:#}"
            );
        }
        open(&Dir::writable("/").unwrap()).unwrap();
        // SAFETY: no preconditions.
        assert_eq!(caller().unwrap().uid, unsafe { libc::geteuid() });
    }
}
