//! The commands. Each takes its words, its name first, and answers its exit code; messages have BusyBox's form.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use crate::shell;

/// Runs a command; `None` for a name that is none.
pub fn run(words: &[String]) -> Option<i32> {
    let (name, rest) = words.split_first()?;
    let done = match name.as_str() {
        "[" | "test" => return Some(test(name, rest)),
        "cat" => each(rest, cat),
        "dd" => dd(rest),
        "echo" => echo(rest),
        "exit" => std::process::exit(rest.first().and_then(|code| code.parse().ok()).unwrap_or(0)),
        "false" => return Some(1),
        "hostname" => match rest {
            [] => cat("/etc/hostname"),
            _ => Err("sethostname: Operation not permitted".into()),
        },
        "ls" => ls(rest),
        "sh" => return Some(shell::main(rest)),
        "sleep" => sleep(rest),
        "top" => top(),
        "touch" => each(rest, |path| {
            let file = File::options().create(true).append(true).open(path);
            file.map(drop).map_err(|error| failed(path, &error))
        }),
        "true" => return Some(0),
        _ => return None,
    };
    Some(match done {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("{name}: {message}");
            1
        }
    })
}

/// `path: why`, without the number that Rust adds.
fn failed(path: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("{path}: {text}")
}

fn each(paths: &[String], mut act: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    paths.iter().try_for_each(|path| act(path))
}

fn cat(path: &str) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| failed(path, &error))?;
    io::stdout()
        .write_all(&bytes)
        .map_err(|error| failed("write", &error))
}

fn echo(words: &[String]) -> Result<(), String> {
    let (words, end) = match words.split_first() {
        Some((first, rest)) if first == "-n" => (rest, ""),
        _ => (words, "\n"),
    };
    let mut out = io::stdout();
    let written = write!(out, "{}{end}", words.join(" ")).and_then(|()| out.flush());
    written.map_err(|error| failed("write", &error))
}

/// Names of a folder, sorted, one a line. `-A` shows the hidden ones.
fn ls(words: &[String]) -> Result<(), String> {
    let all = words.iter().any(|word| word == "-A");
    let mut paths: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if paths.is_empty() {
        paths.push(".");
    }
    for path in paths {
        let entries = fs::read_dir(path).map_err(|error| failed(path, &error))?;
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        for name in names.iter().filter(|name| all || !name.starts_with('.')) {
            println!("{name}");
        }
    }
    Ok(())
}

fn sleep(words: &[String]) -> Result<(), String> {
    let word = words.first().map_or("", String::as_str);
    if word == "infinity" {
        top()?;
    }
    let seconds = word.parse().map_err(|_| format!("invalid number {word:?}"))?;
    thread::sleep(Duration::from_secs_f64(seconds));
    Ok(())
}

/// There are no processes that it could show: it stays until it is ended.
fn top() -> Result<(), String> {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Copies `if=` to `of=` through a buffer of `bs=` bytes, with `k` and `M` understood.
fn dd(words: &[String]) -> Result<(), String> {
    let value = |name: &str| {
        words
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let size = value("bs").unwrap_or("512");
    let unit = match size.chars().last() {
        Some('k') => 1 << 10,
        Some('M') => 1 << 20,
        _ => 1,
    };
    let count: usize = size
        .trim_end_matches(['k', 'M'])
        .parse()
        .map_err(|_| format!("invalid number {size:?}"))?;
    // Written to, so that it is memory and not a promise of it.
    let mut buffer = vec![0xff_u8; count * unit];
    let from = value("if").unwrap_or("/dev/stdin");
    let to = value("of").unwrap_or("/dev/stdout");
    let mut input = File::open(from).map_err(|error| failed(from, &error))?;
    let mut output = File::create(to).map_err(|error| failed(to, &error))?;
    loop {
        let read = input.read(&mut buffer).map_err(|error| failed(from, &error))?;
        if read == 0 {
            return Ok(());
        }
        output
            .write_all(&buffer[..read])
            .map_err(|error| failed(to, &error))?;
    }
}

/// `-f`, `-d`, `-e`, and `!` before them.
fn test(name: &str, words: &[String]) -> i32 {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if name == "[" && words.pop() != Some("]") {
        eprintln!("[: missing ]");
        return 2;
    }
    let not = words.first() == Some(&"!");
    let holds = match words[usize::from(not)..] {
        ["-f", path] => fs::metadata(path).is_ok_and(|meta| meta.is_file()),
        ["-d", path] => fs::metadata(path).is_ok_and(|meta| meta.is_dir()),
        ["-e", path] => fs::metadata(path).is_ok(),
        _ => {
            eprintln!("{name}: {words:?} is not understood");
            return 2;
        }
    };
    i32::from(holds == not)
}
