//! The cache with a compiler that is a shell script: what it writes is prepared by the test.

use super::*;
use mote_abi::{VERSION, code::MAGIC};
use std::{
    fs::Permissions,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    sync::Barrier,
};

const FACTS: Facts = Facts {
    features: Features(0xff),
    compiler: [7; 32],
};

struct Fixture {
    _temp: tempfile::TempDir,
    node: Node,
    runs: PathBuf,
    wasm: PathBuf,
}

/// A node whose compiler writes `code` for every input, after `script`.
fn fixture(script: &str, code: &[u8]) -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let (bin, runs, wasm) = (
        temp.path().join("bin"),
        temp.path().join("runs"),
        temp.path().join("a.wasm"),
    );
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("code"), code).unwrap();
    std::fs::write(&wasm, b"wasm").unwrap();
    let text = format!(
        "#!/bin/sh\necho run >> {}\n{script}\ncat {}\n",
        runs.display(),
        bin.join("code").display()
    );
    let compiler = bin.join("mote-compile");
    std::fs::write(&compiler, text).unwrap();
    std::fs::set_permissions(&compiler, Permissions::from_mode(0o755)).unwrap();
    let limits = crate::Limits {
        compile_time: Duration::from_secs(20),
        ..Default::default()
    };
    let node = Node::new(bin, temp.path().join("cache"), limits).unwrap();
    Fixture {
        _temp: temp,
        node,
        runs,
        wasm,
    }
}

fn code_for(source: &[u8], features: u64) -> Vec<u8> {
    let payload = vec![0xcc; 5000];
    let header = Header {
        magic: MAGIC,
        abi_version: VERSION,
        kind: 1,
        features,
        payload_len: 5000,
        text_offset: 0,
        text_len: 4096,
        memory_min: 65536,
        source_sha256: Sha256::digest(source).into(),
        payload_sha256: Sha256::digest(&payload).into(),
        wasmtime: [0; 16],
        imports: 0,
    };
    let mut file = header.to_bytes().to_vec();
    file.resize(4096, 0);
    file.extend(payload);
    file
}

impl Fixture {
    fn get(&self) -> Result<Program, Error> {
        let mut file = File::open(&self.wasm).unwrap();
        program(&self.node, &FACTS, &mut Source::new(&mut file, "a.wasm"))
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(&self.runs)
            .unwrap_or_default()
            .lines()
            .count()
    }

    fn path(&self, program: &Program) -> PathBuf {
        self.node.code_dir().join(program.key.file_name())
    }
}

#[test]
fn compiled_once_then_found() {
    let f = fixture("cat > /dev/null", &code_for(b"wasm", 0xff));
    let first = f.get().unwrap();
    assert!(matches!(first.outcome, Outcome::Compiled { .. }));
    assert_eq!(first.header.memory_min, 65536);
    let second = f.get().unwrap();
    assert_eq!(second.outcome, Outcome::Hit);
    assert_eq!(f.runs(), 1);
    assert_eq!(f.node.cached().unwrap().len(), 1);
}

#[test]
fn many_askers_make_one_compilation() {
    let f = fixture("sleep 0.3", &code_for(b"wasm", 0xff));
    let barrier = Barrier::new(8);
    let hits = std::thread::scope(|s| {
        let askers: Vec<_> = (0..8)
            .map(|_| {
                s.spawn(|| {
                    barrier.wait();
                    f.get().unwrap().outcome == Outcome::Hit
                })
            })
            .collect();
        askers
            .into_iter()
            .map(|t| t.join().unwrap())
            .filter(|hit| *hit)
            .count()
    });
    assert_eq!((f.runs(), hits), (1, 7));
}

#[test]
fn whatever_cannot_be_trusted_is_rebuilt() {
    let f = fixture("", &code_for(b"wasm", 0xff));
    let path = f.path(&f.get().unwrap());
    type Spoil<'a> = (&'a str, &'a dyn Fn(&Path));
    let spoil: [Spoil<'_>; 8] = [
        ("digest", &|p| {
            let mut file = File::options().write(true).open(p).unwrap();
            file.seek(SeekFrom::Start(6000)).unwrap();
            file.write_all(b"evil").unwrap();
        }),
        ("shorter", &|p| {
            File::options()
                .write(true)
                .open(p)
                .unwrap()
                .set_len(5000)
                .unwrap()
        }),
        ("shorter than a header", &|p| std::fs::write(p, b"").unwrap()),
        ("mode", &|p| {
            std::fs::set_permissions(p, Permissions::from_mode(0o664)).unwrap()
        }),
        ("another program", &|p| {
            std::fs::write(p, code_for(b"other", 0xff)).unwrap()
        }),
        ("features", &|p| {
            std::fs::write(p, code_for(b"wasm", 0x1ff)).unwrap()
        }),
        ("symbolic link", &|p| {
            std::fs::remove_file(p).unwrap();
            symlink("/etc/passwd", p).unwrap();
        }),
        ("regular file", &|p| {
            std::fs::remove_file(p).unwrap();
            std::fs::create_dir(p).unwrap();
        }),
    ];
    for (part, spoil) in spoil {
        spoil(&path);
        match f.get().unwrap().outcome {
            Outcome::Rebuilt { why, .. } => assert!(why.contains(part), "{part}: {why}"),
            other => panic!("{part}: {other:?}"),
        }
        assert_eq!(f.get().unwrap().outcome, Outcome::Hit, "{part}");
    }
}

#[test]
fn a_refusal_carries_the_compilers_line() {
    let f = fixture("echo 'a.wasm: imports x:y/z@0.1.0' >&2; exit 2", b"");
    let error = f.get().unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(error.to_string(), "a.wasm: imports x:y/z@0.1.0");
    assert_eq!(f.node.cached().unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(f.node.code_dir()).unwrap().count(), 0);
}

#[test]
fn a_compiler_that_fails_leaves_nothing() {
    for (script, part) in [
        ("exit 1", "did not say why"),
        ("kill -9 $$", "signal 9"),
        ("echo boom >&2; exit 1", "boom"),
        ("echo nonsense; exit 0", "not usable"),
    ] {
        let f = fixture(script, b"");
        let error = f.get().unwrap_err();
        assert!(
            !error.is_refusal() && error.to_string().contains(part),
            "{script}: {error}"
        );
        assert_eq!(
            std::fs::read_dir(f.node.code_dir()).unwrap().count(),
            0,
            "{script}"
        );
    }
}

#[test]
fn a_compiler_that_hangs_is_stopped() {
    let mut f = fixture("exec sleep 100", b"");
    let limits = crate::Limits {
        compile_time: Duration::from_millis(200),
        ..Default::default()
    };
    f.node = Node::new(f.node.bin_dir(), f.node.cache_dir(), limits).unwrap();
    assert!(matches!(
        f.get(),
        Err(Error::Compile(CompileError::TimedOut { .. }))
    ));
}
