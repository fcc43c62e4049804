//! Reads what `mote-vmm` reports. A guest may have taken it over: every length is bounded, nothing is assumed.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    os::fd::OwnedFd,
};

use mote_config::{Exit, Report};

/// Longest report; the message in it is cut to [`MESSAGE`].
const LINE: u64 = 256 << 10;

/// Most that is read at all.
const TOTAL: u64 = 1 << 20;

/// Longest message in bytes that is handed on.
const MESSAGE: usize = 32 << 10;

/// The reports as they come, until the VMM has ended or sends something else.
#[derive(Debug)]
pub(crate) struct Reports {
    reader: BufReader<std::io::Take<File>>,
}

impl Reports {
    pub(crate) fn new(pipe: OwnedFd) -> Reports {
        Reports {
            reader: BufReader::new(File::from(pipe).take(TOTAL)),
        }
    }

    pub(crate) fn next(&mut self) -> Option<Report> {
        let mut line = Vec::new();
        (&mut self.reader).take(LINE).read_until(b'\n', &mut line).ok()?;
        if line.pop() != Some(b'\n') {
            return None;
        }
        Report::from_line(std::str::from_utf8(&line).ok()?).ok()
    }

    /// The exit report, if it comes.
    pub(crate) fn exit(mut self) -> Option<Exit> {
        loop {
            if let Report::Exited(mut exit) = self.next()? {
                exit.message = exit.message.map(clean);
                return Some(exit);
            }
        }
    }
}

/// `text` without control characters that a terminal would obey, cut to a bounded length.
fn clean(mut text: String) -> String {
    if text.len() > MESSAGE {
        let end = text.floor_char_boundary(MESSAGE);
        text.truncate(end);
        text.push_str(" [cut]");
    }
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mote_config::{Reason, Stats};
    use std::io::Write;

    fn read(bytes: &[u8]) -> Option<Exit> {
        let (read, mut write) = std::io::pipe().unwrap();
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || {
            let _ = write.write_all(&bytes);
        });
        let exit = Reports::new(read.into()).exit();
        writer.join().unwrap();
        exit
    }

    fn exit(message: &str) -> Exit {
        Exit {
            code: 134,
            reason: Reason::Trap,
            message: Some(message.into()),
            stats: Stats::default(),
        }
    }

    #[test]
    fn the_exit_comes_after_the_start() {
        let lines = Report::Started.to_line() + &Report::Exited(exit("trap\n\u{1b}[2J")).to_line();
        assert_eq!(
            read(lines.as_bytes()).unwrap().message.unwrap(),
            "trap\n\u{fffd}[2J"
        );
    }

    #[test]
    fn nonsense_floods_and_silence_are_no_reports() {
        assert!(read(b"").is_none());
        assert!(read(b"{\"event\":\"exited\"").is_none());
        assert!(read(b"hello\n").is_none());
        assert!(read(&vec![b'x'; 3 << 20]).is_none());
        assert!(read(Report::Started.to_line().repeat(100_000).as_bytes()).is_none());
        let long = Report::Exited(exit(&"y".repeat(100_000))).to_line();
        assert!(read(long.as_bytes()).unwrap().message.unwrap().len() < MESSAGE + 10);
    }
}
