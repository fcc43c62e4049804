//! A guest that uses the folder `/d`, with a subcommand for each thing that a test wants to see.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("mix") => mix(),
        Some("two") => two(),
        Some("tree") => tree(),
        Some("denied") => denied(),
        Some("copy") => copy(args.get(2).and_then(|n| n.parse().ok()).unwrap_or(4096)),
        Some("pour-in") => pour_in(number(&args, 2)),
        Some("pour-out") => pour_out(number(&args, 2), number(&args, 3)),
        other => {
            eprintln!("files: no subcommand {other:?}");
            std::process::exit(2);
        }
    }
}

/// Operations of all sizes and kinds on one file, each compared with a model in memory.
fn mix() {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let mut file = options.open("/d/mix").unwrap();
    let (mut model, mut at): (Vec<u8>, usize) = (Vec::new(), 0);
    let mut buffer = vec![0; 300_000];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for i in 0..20_000_u32 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let pick = |n: u64, shift: u32| usize::try_from((random >> shift) % n).unwrap();
        let most = if i % 50 == 0 {
            290_000
        } else {
            [10, 300, 5_000][pick(3, 0)]
        };
        let len = 1 + pick(most, 8);
        match pick(12, 40) {
            0 => {
                at = pick(model.len() as u64 + 100, 20);
                file.seek(SeekFrom::Start(at as u64)).unwrap();
            }
            1 => {
                let size = pick(400_000, 20);
                file.set_len(size as u64).unwrap();
                model.resize(size, 0);
                // A stream that has seen the end stays there until the position is set anew.
                file.seek(SeekFrom::Start(at as u64)).unwrap();
            }
            2..=6 => {
                let data: Vec<u8> = (0..len).map(|k| (k * 7 + i as usize).to_le_bytes()[0]).collect();
                file.write_all(&data).unwrap();
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&data);
                at += len;
            }
            7 => assert_eq!(file.metadata().unwrap().len(), model.len() as u64),
            _ => {
                // See above.
                file.seek(SeekFrom::Start(at as u64)).unwrap();
                let mut done = 0;
                while done < len {
                    match file.read(&mut buffer[done..len]).unwrap() {
                        0 => break,
                        n => done += n,
                    }
                }
                let end = model.len().min(at + len);
                assert!(
                    buffer[..done] == model[at.min(end)..end],
                    "operation {i}, {len} bytes at {at}"
                );
                at += done;
            }
        }
    }
    drop(file);
    assert!(fs::read("/d/mix").unwrap() == model);
    let mut file = OpenOptions::new().append(true).open("/d/mix").unwrap();
    for _ in 0..100 {
        file.write_all(b"tail").unwrap();
    }
    drop(file);
    assert_eq!(fs::metadata("/d/mix").unwrap().len(), model.len() as u64 + 400);
    println!("as expected");
}

/// What one handle writes, another one reads at once.
fn two() {
    let mut writer = File::create("/d/two").unwrap();
    let mut reader = File::open("/d/two").unwrap();
    let mut buffer = [0; 64];
    for i in 0..3_000_u32 {
        let line = format!("{i},");
        writer.write_all(line.as_bytes()).unwrap();
        let len = reader.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], line.as_bytes());
    }
    println!("as expected");
}

/// Directories and many entries.
fn tree() {
    fs::create_dir_all("/d/tree/a/b/c").unwrap();
    for i in 0..2_000 {
        fs::write(format!("/d/tree/a/file{i}"), b"x").unwrap();
    }
    assert_eq!(
        fs::read_dir("/d/tree/a").unwrap().map(Result::unwrap).count(),
        2_001
    );
    fs::rename("/d/tree/a/file7", "/d/tree/moved").unwrap();
    assert_eq!(fs::read("/d/tree/moved").unwrap(), b"x");
    fs::hard_link("/d/tree/moved", "/d/tree/linked").unwrap();
    assert_eq!(fs::metadata("/d/tree/linked").unwrap().len(), 1);
    fs::remove_dir_all("/d/tree").unwrap();
    assert!(fs::metadata("/d/tree").is_err());
    println!("as expected");
}

/// What is tried, and the error.
fn denied() {
    let show = |what: &str, result: io::Result<()>| match result {
        Ok(()) => println!("{what}: done"),
        Err(error) => println!("{what}: {error}"),
    };
    show("read", fs::read("/d/there").map(drop));
    show("create", File::create("/d/new").map(drop));
    show("write", OpenOptions::new().write(true).open("/d/there").map(drop));
    show("mkdir", fs::create_dir("/d/directory"));
    show("rename", fs::rename("/d/there", "/d/moved"));
    show("unlink", fs::remove_file("/d/there"));
    show("above", fs::read("/d/../above").map(drop));
    show("link above", fs::read("/d/up").map(drop));
    show("absolute link", fs::read("/d/absolute").map(drop));
}

/// Copies a file through a buffer of `size` bytes.
fn copy(size: usize) {
    let (mut from, mut to) = (File::open("/d/from").unwrap(), File::create("/d/to").unwrap());
    let mut buffer = vec![0; size];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => break,
            n => to.write_all(&buffer[..n]).unwrap(),
        }
    }
}

fn number(args: &[String], place: usize) -> usize {
    args.get(place).and_then(|n| n.parse().ok()).unwrap_or(4096)
}

/// Reads a file through a buffer of `size` bytes and tells the rate.
fn pour_in(size: usize) {
    let begin = std::time::Instant::now();
    let mut from = File::open("/d/big").unwrap();
    let (mut buffer, mut sum) = (vec![0; size], 0);
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => break,
            n => sum += n,
        }
    }
    rate(sum, begin);
}

/// Writes `sum` bytes through a buffer of `size` bytes and tells the rate.
fn pour_out(size: usize, sum: usize) {
    let begin = std::time::Instant::now();
    let mut to = File::create("/d/poured").unwrap();
    let buffer = vec![7; size];
    for _ in 0..sum / size {
        to.write_all(&buffer).unwrap();
    }
    drop(to);
    rate(sum, begin);
}

/// Bytes and MiB a second.
fn rate(bytes: usize, begin: std::time::Instant) {
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("{bytes} {:.1}", mib / begin.elapsed().as_secs_f64());
}
