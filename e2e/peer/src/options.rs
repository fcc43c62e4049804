//! The command line.

use std::net::SocketAddr;

pub(crate) const USAGE: &str =
    "usage: peer run --code CODE [--dir HOST[::GUEST]] [--env NAME=VALUE] [-S allow-ip-name-lookup] FILE [ARG...]
       peer serve --code CODE --addr ADDR:PORT [--dir HOST[::GUEST]] [--env NAME=VALUE] FILE";

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) command: Command,
    /// Host and guest path of each folder.
    pub(crate) dirs: Vec<(String, String)>,
    pub(crate) env: Vec<(String, String)>,
    /// Names may be looked up.
    pub(crate) names: bool,
    /// The compiled program.
    pub(crate) code: String,
    /// The program itself, of which only the name counts.
    pub(crate) file: String,
    /// What follows the file.
    pub(crate) args: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Run,
    Serve(SocketAddr),
}

/// Options end at the file, as with the wasmtime command.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut command = match words.next().as_deref() {
        Some("run") => Command::Run,
        Some("serve") => Command::Serve(SocketAddr::from(([0, 0, 0, 0], 8080))),
        _ => return Err("expected run or serve".into()),
    };
    let (mut dirs, mut env, mut names, mut code) = (Vec::new(), Vec::new(), false, None);
    loop {
        let word = words.next().ok_or("no file was named")?;
        let mut value = || words.next().ok_or(format!("{word} lacks its value"));
        match word.as_str() {
            "--code" => code = Some(value()?),
            "--dir" => {
                let value = value()?;
                let (host, guest) = value.split_once("::").unwrap_or((&value, &value));
                dirs.push((host.to_string(), guest.to_string()));
            }
            "--env" => {
                let value = value()?;
                let (name, value) = value.split_once('=').ok_or("--env takes NAME=VALUE")?;
                env.push((name.to_string(), value.to_string()));
            }
            "-S" => match value()?.as_str() {
                "allow-ip-name-lookup" => names = true,
                other => return Err(format!("no option -S {other} here")),
            },
            "--addr" => {
                let addr = value()?.parse().map_err(|e| format!("--addr: {e}"))?;
                command = Command::Serve(addr);
            }
            option if option.starts_with('-') => return Err(format!("no option {option} here")),
            _ => {
                return Ok(Options {
                    command,
                    dirs,
                    env,
                    names,
                    code: code.ok_or("--code is needed")?,
                    file: word,
                    args: words.collect(),
                });
            }
        }
    }
}
