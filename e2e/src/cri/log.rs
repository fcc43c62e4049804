//! The log format of CRI: `TIME STREAM TAG TEXT`, where tag P means that the line goes on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// What a container wrote, put together again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub stdout: String,
    pub stderr: String,
}

impl Log {
    /// Reads a log file.
    ///
    /// # Errors
    /// If it is missing, or a line is not in the format.
    pub fn read(path: &Path) -> Result<Log> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Log::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Log> {
        let mut log = Log::default();
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ');
            let time = parts.next().unwrap_or_default();
            ensure!(time.len() >= 20 && time.contains('T'), "no time in {line:?}");
            let stream = match parts.next() {
                Some("stdout") => &mut log.stdout,
                Some("stderr") => &mut log.stderr,
                _ => bail!("no stream in {line:?}"),
            };
            let tag = parts.next().unwrap_or_default();
            stream.push_str(parts.next().unwrap_or_default());
            match tag.split(':').next() {
                Some("F") => stream.push('\n'),
                Some("P") => {}
                _ => bail!("no tag in {line:?}"),
            }
        }
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::Log;

    #[test]
    fn parts_of_a_line_join() {
        let log = Log::parse(
            "2026-01-02T03:04:05.123456789Z stdout P one \n\
             2026-01-02T03:04:05.123456789Z stderr F bad\n\
             2026-01-02T03:04:05.123456789+02:00 stdout F line\n\
             2026-01-02T03:04:05.123456789+02:00 stdout F \n",
        )
        .unwrap();
        assert_eq!(
            log,
            Log {
                stdout: "one line\n\n".into(),
                stderr: "bad\n".into()
            }
        );
        assert!(Log::parse("hello\n").is_err());
    }
}
