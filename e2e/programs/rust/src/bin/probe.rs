//! One guest with a subcommand for each thing that a test wants to see from inside.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = || args.get(2).and_then(|n| n.parse::<u64>().ok());
    match args.get(1).map(String::as_str) {
        Some("args") => args.iter().skip(2).for_each(|arg| println!("{arg}")),
        Some("name") => println!("{}", args[0]),
        Some("env") => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        Some("cat") => cat(),
        Some("exit") => exit(i32::try_from(number().unwrap_or(0)).unwrap_or(-1)),
        Some("clocks") => clocks(),
        Some("random") => random(),
        Some("stderr") => {
            println!("to stdout");
            eprintln!("to stderr");
        }
        Some("big-output") => big_output(number().unwrap_or(1 << 20)),
        Some("spin") => spin(),
        Some("alloc") => alloc(),
        Some("touch") => touch(number().unwrap_or(1)),
        Some("grow") => grow(args.get(2).map_or("/size", String::as_str)),
        Some("loop") => compute(number().unwrap_or(1_000_000_000)),
        Some("sleep") => sleep(number().unwrap_or(1000)),
        Some("lasts") => {
            sleep(number().unwrap_or(0));
            exit(i32::try_from(number_at(&args, 3)).unwrap_or(-1));
        }
        Some("ticks") => ticks(number().unwrap_or(10)),
        Some("terminals") => {
            use std::io::{IsTerminal, stderr, stdin, stdout};
            let is = [stdin().is_terminal(), stdout().is_terminal(), stderr().is_terminal()];
            println!("{} {} {}", is[0], is[1], is[2]);
        }
        Some("panic") => panic!("as asked"),
        Some("read") => args.iter().skip(2).for_each(|path| read(path)),
        Some("write") => match &args[2..] {
            [path, text] => write(path, text),
            _ => exit(2),
        },
        Some("list") => list(args.get(2).map_or("/", String::as_str)),
        Some("watch") => watch(&args[2], number_at(&args, 3)),
        Some("file") => file(args.get(2).map_or("/", String::as_str)),
        other => {
            eprintln!("probe: no subcommand {other:?}");
            exit(2);
        }
    }
}

fn number_at(args: &[String], index: usize) -> u64 {
    args.get(index).and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A file's text, or the error's kind.
fn read(path: &str) {
    match std::fs::read_to_string(path) {
        Ok(text) => println!("{path}: {}", text.trim_end()),
        Err(error) => println!("{path}: {:?}", error.kind()),
    }
}

fn write(path: &str, text: &str) {
    match std::fs::write(path, text) {
        Ok(()) => println!("{path}: written"),
        Err(error) => println!("{path}: {:?}", error.kind()),
    }
}

fn list(path: &str) {
    let mut names: Vec<String> = match std::fs::read_dir(path) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect(),
        Err(error) => return println!("{path}: {:?}", error.kind()),
    };
    names.sort();
    println!("{path}: {}", names.join(" "));
}

/// Prints a file's text whenever it changes, so many times.
fn watch(path: &str, changes: u64) {
    let mut last = String::new();
    for _ in 0..changes {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text != last {
                println!("{}", text.trim_end());
                last = text;
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn cat() {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer = vec![0; 64 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => output.write_all(&buffer[..count]).expect("stdout takes it"),
            Err(error) => panic!("stdin: {error}"),
        }
    }
}

/// Prints what was measured; the test judges it.
fn clocks() {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    println!("wall_ms={}", wall.as_millis());
    let mut last = Instant::now();
    let mut backwards = 0;
    let mut steps = 0;
    for _ in 0..10_000 {
        let now = Instant::now();
        backwards += u32::from(now < last);
        steps += u32::from(now > last);
        last = now;
    }
    println!("backwards={backwards}");
    println!("advanced={}", steps > 0);
    let before = Instant::now();
    thread::sleep(Duration::from_millis(50));
    println!("slept_us={}", before.elapsed().as_micros());
}

/// Keys of two hashers are random numbers of the host, and so is what a map's order rests on.
fn random() {
    let first = RandomState::new().hash_one(0);
    println!("{first:016x}");
    let map: HashMap<u32, u32> = (0..16).map(|n| (n, n)).collect();
    println!("{:?}", map.keys().collect::<Vec<_>>());
}

/// Numbered lines, so that a lost, doubled or torn one shows.
fn big_output(bytes: u64) {
    let mut output = io::stdout().lock();
    let mut written = 0;
    let mut line = 0;
    while written < bytes {
        let text = format!("line {line:010}\n");
        output.write_all(text.as_bytes()).expect("stdout takes it");
        written += text.len() as u64;
        line += 1;
    }
}

fn spin() {
    println!("spinning");
    let mut x = 1u64;
    loop {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// Allocates and touches memory until something gives.
fn alloc() {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![0x5a_u8; 1 << 20]));
        if kept.len() % 16 == 0 {
            println!("{} MiB", kept.len());
        }
    }
}

fn touch(mebibytes: u64) {
    let kept: Vec<Vec<u8>> = (0..mebibytes)
        .map(|_| black_box(vec![0x5a_u8; 1 << 20]))
        .collect();
    println!("touched {} MiB", kept.len());
}

/// Touches as many MiB as a file says, each time that it says something else, and keeps them.
fn grow(path: &str) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    println!("waiting");
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let size = text.trim().parse().unwrap_or(0);
        if size != kept.len() {
            kept.resize_with(size, || black_box(vec![0x5a_u8; 1 << 20]));
            println!("touched {} MiB", kept.len());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A chain of dependent integer operations that no compiler shortens.
fn compute(count: u64) {
    let before = Instant::now();
    let mut x = black_box(88_172_645_463_325_252_u64);
    for _ in 0..count {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    println!("result={:016x}", black_box(x));
    println!("loop_us={}", before.elapsed().as_micros());
}

fn sleep(milliseconds: u64) {
    println!("sleeping");
    io::stdout().flush().expect("stdout takes it");
    thread::sleep(Duration::from_millis(milliseconds));
    println!("awake");
}

/// A neighbour that shows that it lives: a line every 20 ms.
fn ticks(count: u64) {
    for tick in 0..count {
        println!("tick {tick}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn file(path: &str) {
    match std::fs::read_to_string(path) {
        Ok(text) => print!("{text}"),
        Err(error) => println!("no file: {:?}", error.kind()),
    }
}
