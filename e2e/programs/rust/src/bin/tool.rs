//! A small tool: what a Rust program does with standard streams, files, clocks and the processor. Its output depends
//! on nothing but its arguments, its input and the folder it is given.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::fmt::Debug;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("echo") => return echo(rest),
        Some("files") => files(Path::new(rest.first().map_or("/data", String::as_str))),
        Some("clocks") => clocks(),
        Some("compute") => compute(),
        Some("trap") => {
            println!("about to panic");
            panic!("as asked");
        }
        Some("deep") => println!("{}", deeper(1)),
        other => {
            eprintln!("tool: no command {other:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn echo(args: &[String]) -> ExitCode {
    for (index, arg) in args.iter().enumerate() {
        println!("arg {}: {arg}", index + 1);
    }
    for (name, value) in std::env::vars().collect::<BTreeMap<_, _>>() {
        println!("env: {name}={value}");
    }
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input).expect("stdin can be read");
    println!("stdin: {} bytes, sha256 {}", input.len(), sha256(&input));
    eprintln!("tool: echoed");
    ExitCode::from(args.first().and_then(|code| code.parse().ok()).unwrap_or(0))
}

/// Prints what a step gave, in the words of the operating system.
fn step<T: Debug>(what: &str, result: io::Result<T>) {
    match result {
        Ok(value) => println!("{what}: {value:?}"),
        Err(error) => println!("{what}: {:?}, {error}", error.kind()),
    }
}

// Rust offers links on WASI in unstable modules only; its C library has them.
unsafe extern "C" {
    fn symlink(target: *const c_char, link: *const c_char) -> c_int;
}

fn make_symlink(target: &str, link: &Path) -> io::Result<()> {
    let link = CString::new(link.to_str().expect("paths here are UTF-8"))?;
    let target = CString::new(target)?;
    // SAFETY: both are strings that end in a zero and live until the call returns.
    match unsafe { symlink(target.as_ptr(), link.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn list(what: &str, dir: &Path) {
    let mut entries: Vec<String> = match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| match entry {
                Ok(entry) => describe(&entry),
                Err(error) => format!("{error}"),
            })
            .collect(),
        Err(error) => return println!("{what}: {error}"),
    };
    entries.sort();
    println!(
        "{what}: {} entries, sha256 {:.16}",
        entries.len(),
        sha256(entries.join("\n").as_bytes())
    );
    if entries.len() < 32 {
        entries.iter().for_each(|entry| println!("  {entry}"));
    }
}

fn describe(entry: &fs::DirEntry) -> String {
    let (name, kind) = (entry.file_name(), entry.file_type());
    // The size of a folder is the file system's own affair.
    let size = entry
        .metadata()
        .ok()
        .filter(|meta| !meta.is_dir())
        .map(|meta| meta.len());
    format!("{name:?} {kind:?} {size:?}")
}

fn files(dir: &Path) {
    let work = dir.join("work");
    let at = |name: &str| work.join(name);
    let digest = |name: &str| fs::read(at(name)).map(|bytes| (bytes.len(), sha256(&bytes)));
    step("create", fs::create_dir(&work));
    step("create again", fs::create_dir(&work));
    step("create all", fs::create_dir_all(at("deep/er/still")));
    step("write", fs::write(at("a.txt"), "first line\n"));
    let append = OpenOptions::new().append(true).open(at("a.txt"));
    step(
        "append",
        append.and_then(|mut file| file.write_all(b"second line\n")),
    );
    step("read", fs::read_to_string(at("a.txt")));
    step(
        "create new",
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(at("a.txt"))
            .map(drop),
    );

    let big: Vec<u8> = (0..1_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    step("write 1 MiB", fs::write(at("big.bin"), &big));
    step("read 1 MiB", digest("big.bin"));
    step("patch", patch(&at("big.bin")));
    step("read patched", digest("big.bin"));
    let stat = fs::metadata(at("big.bin"));
    step("size", stat.as_ref().map(fs::Metadata::len).map_err(clone));
    let modified = stat.as_ref().map_err(clone).and_then(fs::Metadata::modified);
    step(
        "modified",
        modified.map(|time| time.duration_since(UNIX_EPOCH).expect("after 1970")),
    );

    step("copy", fs::copy(at("a.txt"), at("copy.txt")));
    step("rename", fs::rename(at("a.txt"), at("deep/b.txt")));
    step("rename over", fs::rename(at("deep/b.txt"), at("copy.txt")));
    step("rename absent", fs::rename(at("absent"), at("c.txt")));
    step("rename directory", fs::rename(at("deep/er"), at("moved")));
    step("hard link", fs::hard_link(at("copy.txt"), at("hard.txt")));
    step("symlink", make_symlink("copy.txt", &at("soft.txt")));
    step("symlink out", make_symlink("../../../etc/passwd", &at("out")));
    step("symlink absolute", make_symlink("/etc/passwd", &at("absolute")));
    step("symlink loop", make_symlink("loop", &at("loop")));
    step("read link", fs::read_link(at("soft.txt")));
    step("through link", fs::read_to_string(at("soft.txt")));
    step("through link out", fs::read_to_string(at("out")));
    step("through loop", fs::read_to_string(at("loop")));
    step(
        "link itself",
        fs::symlink_metadata(at("soft.txt")).map(|meta| meta.file_type().is_symlink()),
    );
    list("list", &work);

    step("absent", File::open(at("absent")).map(drop));
    step("escape by dots", File::open(dir.join("../etc/passwd")).map(drop));
    step(
        "escape by more dots",
        File::open(at("../../etc/passwd")).map(drop),
    );
    step("escape by root", File::open("/etc/passwd").map(drop));
    step("remove full", fs::remove_dir(&work));
    step("remove file as directory", fs::remove_dir(at("copy.txt")));
    step("remove directory as file", fs::remove_file(at("deep")));
    step("remove all", fs::remove_dir_all(at("moved")));
    step("remove", fs::remove_file(at("hard.txt")));
    step("remove again", fs::remove_file(at("hard.txt")));

    step("create many", fs::create_dir(dir.join("many")));
    for n in 0..300 {
        let name = format!("entry with a rather long name, number {n:03}");
        if let Err(error) = fs::write(dir.join("many").join(&name), &name) {
            println!("{name}: {error}");
        }
    }
    list("list many", &dir.join("many"));
}

fn clone(error: &io::Error) -> io::Error {
    error.kind().into()
}

fn patch(path: &Path) -> io::Result<(u64, [u8; 8])> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(700_000))?;
    let mut piece = [0; 8];
    file.read_exact(&mut piece)?;
    file.seek(SeekFrom::Start(100))?;
    file.write_all(b"patched")?;
    let end = file.seek(SeekFrom::End(0))?;
    file.set_len(5000)?;
    file.set_len(6000)?;
    file.sync_all()?;
    let time = UNIX_EPOCH + Duration::from_millis(1_234_567_890_500);
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time))?;
    Ok((end, piece))
}

fn clocks() {
    let before = Instant::now();
    thread::sleep(Duration::from_millis(20));
    println!(
        "slept at least 20 ms: {}",
        before.elapsed() >= Duration::from_millis(20)
    );
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    println!("after 2024: {}", wall.as_secs() > 1_704_067_200);
    let (one, other) = (RandomState::new().hash_one(0), RandomState::new().hash_one(0));
    println!("two numbers differ: {}", one != other);
}

fn compute() {
    let data: Vec<u8> = (0..1_usize << 20).map(|n| (n * 31 ^ n >> 8) as u8).collect();
    println!("sha256 {}", sha256(&data));
    let text = r#"{"name": "möte", "list": [1, 2.5, -3e10, null, true], "nested": {"b": 1, "a": "\u00e9"}}"#;
    let mut value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    value["list"][0] = (1.0 / 3.0).into();
    println!("{value}");
    println!(
        "{}",
        serde_json::from_str::<serde_json::Value>("{\"a\": [1, }").expect_err("no JSON")
    );
    let sum: f64 = (1..=1_000_000).map(|n| 1.0 / (f64::from(n) * f64::from(n))).sum();
    println!("sum {sum:?} {:e} {}", sum, (sum as f32).sqrt());
    let product = (1..=30_u128).product::<u128>();
    println!("30! = {product}, {:?}", u64::try_from(product));
}

#[inline(never)]
fn deeper(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    if frame[2] == 0 {
        0
    } else {
        deeper(frame[1] + 1) + frame[0]
    }
}
