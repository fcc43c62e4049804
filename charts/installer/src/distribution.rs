//! Which Kubernetes distribution a node has, and where its containerd takes configuration from.
//!
//! Facts as the distributions document them: containerd `docs/cri/config.md` and containerd-config.toml(5); k3s "Advanced
//! options: configuring containerd", which holds for rke2; k0s "Runtime"; MicroK8s' `args/containerd-template.toml`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::host::Host;
use crate::runtime::DROP_IN_MARK;
use crate::toml::{self, imports};

/// Who runs containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Distribution {
    /// containerd as a service of its own: kubeadm, kind, plain.
    Containerd,
    K3s,
    Rke2,
    K0s,
    Microk8s,
}

/// The form of containerd's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Schema {
    /// `version = 2`: containerd 1.x, and 2.x reads it as well.
    V2,
    /// `version = 3` and newer: containerd 2.x.
    V3,
}

/// How the runtime gets into the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Place {
    /// A marked block in `file`. Where that is not there it begins with `head`.
    Block { file: PathBuf, head: String },
    /// A file of its own. `main` is to import it; `None` where the distribution does.
    DropIn { file: PathBuf, main: Option<PathBuf> },
}

/// A containerd that can be told of Mote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) distribution: Distribution,
    pub(crate) schema: Schema,
    pub(crate) place: Place,
}

const K3S: &str = "/var/lib/rancher/k3s/agent/etc/containerd";
const RKE2: &str = "/var/lib/rancher/rke2/agent/etc/containerd";
const K0S_MAIN: &str = "/etc/k0s/containerd.toml";
const K0S_DROP_INS: &str = "/etc/k0s/containerd.d";
const MICROK8S: &str = "/var/snap/microk8s/current/args/containerd-template.toml";
const MAIN: &str = "/etc/containerd/config.toml";
const DROP_IN: &str = "mote.toml";

impl Distribution {
    /// Where containerd listens.
    pub(crate) fn socket(self) -> &'static Path {
        Path::new(match self {
            Distribution::Containerd => "/run/containerd/containerd.sock",
            Distribution::K3s | Distribution::Rke2 => "/run/k3s/containerd/containerd.sock",
            Distribution::K0s => "/run/k0s/containerd.sock",
            Distribution::Microk8s => "/var/snap/microk8s/common/run/containerd.sock",
        })
    }

    /// Units of systemd that may run it; the first that is active is restarted.
    pub(crate) fn units(self) -> &'static [&'static str] {
        match self {
            Distribution::Containerd => &["containerd.service"],
            Distribution::K3s => &["k3s.service", "k3s-agent.service"],
            Distribution::Rke2 => &["rke2-server.service", "rke2-agent.service"],
            Distribution::K0s => &["k0scontroller.service", "k0sworker.service"],
            Distribution::Microk8s => &["snap.microk8s.daemon-containerd.service"],
        }
    }

    fn is_on(self, host: &Host) -> bool {
        match self {
            Distribution::Containerd => {
                host.exists(Path::new(MAIN))
                    || host.is_dir(Path::new("/etc/containerd"))
                    || executable(host).is_some()
            }
            Distribution::K3s => host.is_dir(Path::new(K3S)),
            Distribution::Rke2 => host.is_dir(Path::new(RKE2)),
            Distribution::K0s => host.exists(Path::new(K0S_MAIN)) || host.is_dir(Path::new(K0S_DROP_INS)),
            Distribution::Microk8s => host.exists(Path::new(MICROK8S)),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Distribution::Containerd => "containerd",
            Distribution::K3s => "k3s",
            Distribution::Rke2 => "rke2",
            Distribution::K0s => "k0s",
            Distribution::Microk8s => "microk8s",
        })
    }
}

impl Place {
    /// The file that has our text.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Place::Block { file, .. } | Place::DropIn { file, .. } => file,
        }
    }

    /// All files that may be changed.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let main = match self {
            Place::Block { .. } => None,
            Place::DropIn { main, .. } => main.as_deref(),
        };
        std::iter::once(self.file()).chain(main)
    }
}

/// Looks where containerd takes its configuration from.
pub(crate) fn find(
    host: &Host,
    distribution: Option<Distribution>,
    config: Option<&Path>,
) -> Result<Target, Error> {
    if let Some(config) = config {
        return plain(host, distribution.unwrap_or(Distribution::Containerd), config);
    }
    let distribution = match distribution {
        Some(named) => named,
        None => only_one(host)?,
    };
    match distribution {
        Distribution::Containerd => plain(host, distribution, Path::new(MAIN)),
        Distribution::K3s => rancher(host, distribution, Path::new(K3S)),
        Distribution::Rke2 => rancher(host, distribution, Path::new(RKE2)),
        Distribution::K0s => k0s(host),
        Distribution::Microk8s => microk8s(host),
    }
}

/// A distribution with a containerd of its own goes before a plain one: Docker brings that along, too.
fn only_one(host: &Host) -> Result<Distribution, Error> {
    use Distribution::{Containerd, K0s, K3s, Microk8s, Rke2};
    let found: Vec<Distribution> = [K3s, Rke2, K0s, Microk8s]
        .into_iter()
        .filter(|d| d.is_on(host))
        .collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] if Containerd.is_on(host) => Ok(Containerd),
        [] => Err(Error::NoContainerd {
            root: host.root().into(),
            looked: "not in /etc/containerd, nor of k3s, rke2, k0s or microk8s",
        }),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Error::Ambiguous {
                root: host.root().into(),
                found: names.join(", "),
            })
        }
    }
}

fn plain(host: &Host, distribution: Distribution, main: &Path) -> Result<Target, Error> {
    let text = host.read(main)?;
    let schema = match &text {
        Some(text) => cri_is_on(main, text).and_then(|()| schema(host, main, text))?,
        None => unwritten(host, main)?,
    };
    let dir = main.parent().unwrap_or(Path::new("/"));
    let place = match schema {
        // Before 2.0 a drop-in replaces the whole section of a plugin.
        Schema::V2 => Place::Block {
            file: main.into(),
            head: format!("{DROP_IN_MARK}\nversion = 2\n"),
        },
        Schema::V3 => Place::DropIn {
            file: dir.join("conf.d").join(DROP_IN),
            main: Some(main.into()),
        },
    };
    Ok(Target {
        distribution,
        schema,
        place,
    })
}

/// k3s and rke2 write `config.toml` anew at each start: from a template if there is one, else from one built in.
fn rancher(host: &Host, distribution: Distribution, dir: &Path) -> Result<Target, Error> {
    let rendered = dir.join("config.toml");
    let Some(text) = host.read(&rendered)? else {
        return Err(Error::Config {
            path: rendered,
            reason: format!("it is not there yet; start {distribution} once, so that it tells its version"),
        });
    };
    let schema = schema(host, &rendered, &text)?;
    let (template, drop_ins) = match schema {
        Schema::V2 => ("config.toml.tmpl", "config.toml.d"),
        Schema::V3 => ("config-v3.toml.tmpl", "config-v3.toml.d"),
    };
    let drop_in = dir.join(drop_ins).join(DROP_IN);
    // Newer versions import a folder. With version 2 a drop-in would replace the section.
    let place = if schema == Schema::V3 && imports::cover(&rendered, &text, &drop_in)? {
        Place::DropIn {
            file: drop_in,
            main: None,
        }
    } else {
        Place::Block {
            file: dir.join(template),
            head: format!("{DROP_IN_MARK}\n{{{{ template \"base\" . }}}}\n"),
        }
    };
    Ok(Target {
        distribution,
        schema,
        place,
    })
}

/// k0s merges what is in `containerd.d` into its own configuration, unless somebody took that over.
fn k0s(host: &Host) -> Result<Target, Error> {
    let main = Path::new(K0S_MAIN);
    let Some(text) = host.read(main)? else {
        return Err(Error::Config {
            path: main.into(),
            reason: "it is not there yet; start k0s once, so that it tells its version".into(),
        });
    };
    let managed = text
        .lines()
        .any(|line| line.trim_start_matches(['#', ' ']).trim_end() == "k0s_managed=true");
    if !managed {
        return plain(host, Distribution::K0s, main);
    }
    Ok(Target {
        distribution: Distribution::K0s,
        schema: schema(host, main, &text)?,
        place: Place::DropIn {
            file: Path::new(K0S_DROP_INS).join(DROP_IN),
            main: None,
        },
    })
}

/// MicroK8s fills `${...}` in a template, which is TOML before as after.
fn microk8s(host: &Host) -> Result<Target, Error> {
    let file = Path::new(MICROK8S);
    let Some(text) = host.read(file)? else {
        return Err(Error::Config {
            path: file.into(),
            reason: "it is not there".into(),
        });
    };
    Ok(Target {
        distribution: Distribution::Microk8s,
        schema: schema(host, file, &text)?,
        place: Place::Block {
            file: file.into(),
            head: String::new(),
        },
    })
}

/// Docker's package of containerd comes with CRI switched off.
fn cri_is_on(path: &Path, text: &str) -> Result<(), Error> {
    let document = toml::parse(path, text)?;
    let disabled = document
        .as_table()
        .get("disabled_plugins")
        .and_then(|i| i.as_array());
    let cri = disabled
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str())
        .find(|id| {
            matches!(
                *id,
                "cri" | "io.containerd.grpc.v1.cri" | "io.containerd.cri.v1.runtime"
            )
        });
    match cri {
        None => Ok(()),
        Some(id) => Err(Error::Config {
            path: path.into(),
            reason: format!("{id:?} is in its disabled_plugins, so Kubernetes does not use this containerd"),
        }),
    }
}

fn schema(host: &Host, path: &Path, text: &str) -> Result<Schema, Error> {
    let document = toml::parse(path, text)?;
    let table = document.as_table();
    let wrong = |reason: String| Error::Config {
        path: path.into(),
        reason,
    };
    match table.get("version") {
        Some(item) => match item.as_integer() {
            Some(2) => Ok(Schema::V2),
            Some(3..) => Ok(Schema::V3),
            _ => Err(wrong(
                "its version is neither 2 nor 3 or newer; `containerd config migrate` writes it in a newer form".into(),
            )),
        },
        // 2.x takes a file without a version for one of its own form, 1.x for version 1.
        None if toml::has(table, &["plugins", Schema::V3.plugin()]) => Ok(Schema::V3),
        None if major(host) == Some(2) => Ok(Schema::V3),
        None => Err(wrong(
            "it says no version, which containerd 1.x takes for version 1; write `version = 2` if it is of that form, \
             or use `containerd config migrate`"
                .into(),
        )),
    }
}

/// The form for a containerd that has no file yet.
fn unwritten(host: &Host, main: &Path) -> Result<Schema, Error> {
    match major(host) {
        Some(1) => Ok(Schema::V2),
        Some(_) => Ok(Schema::V3),
        None => Err(Error::Config {
            path: main.into(),
            reason: "it is not there, and no containerd that could tell its version; \
                     `containerd config default` writes one"
                .into(),
        }),
    }
}

/// containerd's executable where packages put it.
fn executable(host: &Host) -> Option<PathBuf> {
    [
        "/usr/bin/containerd",
        "/usr/local/bin/containerd",
        "/bin/containerd",
    ]
    .iter()
    .map(Path::new)
    .find(|path| host.exists(path))
    .map(Path::to_path_buf)
}

/// First number of the version of the containerd on the node.
fn major(host: &Host) -> Option<u32> {
    let path = executable(host)?;
    let output = host.command(&path).arg("--version").output().ok()?;
    // "containerd github.com/containerd/containerd v1.7.24 ..."; Debian's is without the v.
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(2)?.trim_start_matches('v');
    version.split('.').next()?.parse().ok()
}

impl Host {
    /// A program of the node, as the node itself would start it.
    fn command(&self, program: &Path) -> Command {
        crate::command::on(self, program)
    }
}
