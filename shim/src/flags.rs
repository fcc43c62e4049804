//! The command line, in the form of Go's `flag` package (containerd `pkg/shim/shim.go`, `parseFlags`).

/// What containerd passes. Unknown flags are an error, as they are for Go's package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub debug: bool,
    pub version: bool,
    pub info: bool,
    pub namespace: String,
    pub id: String,
    pub bundle: String,
    pub address: String,
    pub publish_binary: String,
    /// `start`, `delete`, or empty for the daemon.
    pub action: String,
}

/// A command line that is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FlagError {
    #[error("unknown flag -{0}; this is a containerd shim, which containerd starts by itself")]
    Unknown(String),
    #[error("flag -{0} needs a value")]
    NoValue(String),
    #[error("flag -{name}: {value:?} is no boolean")]
    NotBool { name: String, value: String },
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// A [`FlagError`] for the first argument that does not fit.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Flags, FlagError> {
    let mut flags = Flags::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(name) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            flags.action = arg;
            break;
        };
        if name.is_empty() {
            flags.action = args.next().unwrap_or_default();
            break;
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let switch = match name {
            "debug" => Some(&mut flags.debug),
            "v" | "version" => Some(&mut flags.version),
            "info" => Some(&mut flags.info),
            _ => None,
        };
        if let Some(switch) = switch {
            *switch = boolean(name, value)?;
            continue;
        }
        let text = match name {
            "namespace" => &mut flags.namespace,
            "id" => &mut flags.id,
            "bundle" => &mut flags.bundle,
            "address" => &mut flags.address,
            "publish-binary" => &mut flags.publish_binary,
            _ => return Err(FlagError::Unknown(name.to_owned())),
        };
        *text = value
            .or_else(|| args.next())
            .ok_or_else(|| FlagError::NoValue(name.to_owned()))?;
    }
    Ok(flags)
}

fn boolean(name: &str, value: Option<String>) -> Result<bool, FlagError> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(FlagError::NotBool {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Flags, FlagError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn as_containerd_calls_it() {
        let flags = parse_words(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a1 -debug start",
        )
        .unwrap();
        assert_eq!(flags.namespace, "k8s.io");
        assert_eq!(flags.address, "/run/c.sock");
        assert_eq!(flags.id, "a1");
        assert!(flags.debug);
        assert_eq!(flags.action, "start");
    }

    #[test]
    fn forms_of_go_flags() {
        let flags = parse_words("--id=x -debug=false -bundle=/b delete rest").unwrap();
        assert_eq!(
            (flags.id.as_str(), flags.debug, flags.bundle.as_str()),
            ("x", false, "/b")
        );
        assert_eq!(flags.action, "delete");
        assert!(parse_words("-v").unwrap().version);
        assert!(parse_words("-info").unwrap().info);
    }

    #[test]
    fn refusals_name_the_flag() {
        assert_eq!(parse_words("-nope"), Err(FlagError::Unknown("nope".into())));
        assert_eq!(parse_words("-id"), Err(FlagError::NoValue("id".into())));
        assert!(matches!(
            parse_words("-debug=maybe"),
            Err(FlagError::NotBool { .. })
        ));
    }
}
