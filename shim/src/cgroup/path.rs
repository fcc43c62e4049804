//! `linux.cgroupsPath` to a path below the hierarchies' mount points.

use std::path::PathBuf;

use super::CgroupError;

/// The path, relative to the mount points; `None` for an empty one.
///
/// Two forms are in use: the path itself (cgroupfs driver), and `slice:prefix:name` (systemd driver), which stands
/// for the scope `prefix-name.scope` in a slice (runc `docs/systemd.md`).
///
/// # Errors
/// [`CgroupError::Path`] for a path that leaves the hierarchy or a malformed slice.
pub(crate) fn resolve(path: &str) -> Result<Option<PathBuf>, CgroupError> {
    if path.is_empty() {
        return Ok(None);
    }
    let error = |reason| CgroupError::Path {
        path: path.to_owned(),
        reason,
    };
    let parts: Vec<&str> = path.split(':').collect();
    let resolved = match parts.as_slice() {
        [slice, prefix, name] if !path.starts_with('/') => {
            if name.is_empty() || [*slice, *prefix, *name].iter().any(|p| p.contains('/')) {
                return Err(error("the systemd form is slice:prefix:name"));
            }
            let unit = if name.ends_with(".slice") {
                (*name).to_owned()
            } else if prefix.is_empty() {
                format!("{name}.scope")
            } else {
                format!("{prefix}-{name}.scope")
            };
            expand_slice(slice)
                .ok_or_else(|| error("the slice's name is malformed"))?
                .join(unit)
        }
        _ => PathBuf::from(path.trim_start_matches('/')),
    };
    let plain = |c: std::path::Component<'_>| matches!(c, std::path::Component::Normal(_));
    if resolved.as_os_str().is_empty() || !resolved.components().all(plain) {
        return Err(error("it must name a cgroup below the root, without '..'"));
    }
    Ok(Some(resolved))
}

/// `a-b-c.slice` lies in `a-b.slice` in `a.slice` (systemd.slice(5)).
fn expand_slice(slice: &str) -> Option<PathBuf> {
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    if slice == "-.slice" {
        return Some(PathBuf::new());
    }
    let stem = slice.strip_suffix(".slice")?;
    let mut path = PathBuf::new();
    let mut name = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return None;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(part);
        path.push(format!("{name}.slice"));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> String {
        resolve(path)
            .unwrap()
            .map_or_else(String::new, |p| p.display().to_string())
    }

    #[test]
    fn cgroupfs_form() {
        assert_eq!(
            text("/kubepods/burstable/podabc/123"),
            "kubepods/burstable/podabc/123"
        );
        assert_eq!(text("default/123"), "default/123");
        assert_eq!(text(""), "");
        assert_eq!(text("/odd:name/with:colons"), "odd:name/with:colons");
    }

    #[test]
    fn systemd_form() {
        assert_eq!(
            text("kubepods-burstable-podabc.slice:cri-containerd:123"),
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podabc.slice/cri-containerd-123.scope"
        );
        assert_eq!(text(":x:1"), "system.slice/x-1.scope");
        assert_eq!(text("-.slice:x:1"), "x-1.scope");
        assert_eq!(text("a.slice::1"), "a.slice/1.scope");
    }

    #[test]
    fn malformed_paths_are_refused() {
        for bad in [
            "/",
            "/a/../b",
            "..",
            "a--b.slice:x:1",
            "noslice:x:1",
            "a.slice:x:",
            "a.slice:x:../1",
        ] {
            assert!(matches!(resolve(bad), Err(CgroupError::Path { .. })), "{bad}");
        }
    }
}
