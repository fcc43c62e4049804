//! What a parent reads from a VMM that may have been taken over.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_config::Report;

fuzz_target!(|data: &str| {
    if let Ok(report) = Report::from_line(data) {
        assert!(Report::from_line(&report.to_line()).is_ok());
    }
});
