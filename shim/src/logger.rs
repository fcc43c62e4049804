//! The daemon's log: lines in logrus' text form on the `log` FIFO of the bundle, which containerd copies into its own
//! (containerd `core/runtime/v2/shim_unix.go`, `openShimLog`).

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

static LOGGER: OnceLock<Fifo> = OnceLock::new();

/// Name of the FIFO in the bundle.
const FILE: &str = "log";

/// Sends `log`'s records to the FIFO in the working directory. Without one nothing is logged.
pub(crate) fn init(debug: bool, namespace: &str, id: &str) {
    // Open for reading too, and without blocking: a containerd that is gone or slow must never hold up the shim, so
    // lines that the FIFO cannot take are lost.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(FILE);
    let Ok(file) = file else { return };
    let logger = LOGGER.get_or_init(|| Fifo {
        file,
        suffix: format!(" id={id} namespace={namespace} runtime=mote"),
    });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(if debug {
            LevelFilter::Debug
        } else {
            LevelFilter::Info
        });
    }
}

struct Fifo {
    file: File,
    suffix: String,
}

impl Log for Fifo {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The protocol's own chatter is of no use to operators.
        metadata.level() <= Level::Warn || metadata.target().starts_with("containerd_shim_mote")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(
                SystemTime::now(),
                record.level(),
                &record.args().to_string(),
                &self.suffix,
            );
            let _ = (&self.file).write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(now: SystemTime, level: Level, message: &str, suffix: &str) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    };
    format!(
        "time=\"{}\" level={level} msg={message:?}{suffix}\n",
        rfc3339(now)
    )
}

/// UTC, to the nanosecond.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = String::with_capacity(30);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
    );
    text
}

/// Days since 1970-01-01 as a date of the Gregorian calendar, by 400-year cycles that start on a 1st of March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let cycle = days / 146_097;
    let day_of_cycle = days % 146_097;
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_are_single_and_dated() {
        let at = UNIX_EPOCH + Duration::new(1_709_210_096, 5);
        assert_eq!(
            line(at, Level::Warn, "two\nlines \"q\"", " id=a"),
            "time=\"2024-02-29T12:34:56.000000005Z\" level=warning msg=\"two\\nlines \\\"q\\\"\" id=a\n"
        );
    }

    #[test]
    fn dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }
}
