//! A guest that writes what it likes into the shared pages.
#![no_main]

use std::fs::File;

use libfuzzer_sys::fuzz_target;
use mote_abi::layout::{CONTROL_PAGE, MMAP_START, SUBMISSION_RING};
use mote_vmm::device::server::Server;
use mote_vmm::device::stream::Stream;
use mote_vmm::memory::{Reservation, Space};
use mote_vmm::vm::data_gpa;
use vm_memory::Bytes;

fuzz_target!(|data: &[u8]| {
    let Ok(mem) = Reservation::new(32 << 20) else { return };
    let mut space = Space::new(mem, 8 << 20, 32 << 20, 8 << 20);
    space.map(MMAP_START, 1 << 20).expect("room for a megabyte");
    let stream = |path: &str| {
        Stream::new(File::options().read(true).write(path != "/dev/zero").open(path).expect(path).into())
    };
    let mut server = Server::new([stream("/dev/zero"), stream("/dev/null"), stream("/dev/null")]);
    // Each round: indices for the control page, then submissions.
    for round in data.chunks(8 + 4 * 64) {
        let (indices, entries) = round.split_at(round.len().min(8));
        let mem = space.memory();
        let ring = mem.slice(data_gpa(SUBMISSION_RING), 4096).expect("the ring's page");
        ring.write_slice(entries, 0).expect("entries fit");
        let control = mem.slice(data_gpa(CONTROL_PAGE), 4096).expect("the control page");
        control.write_slice(indices, 0).expect("indices fit");
        if server.serve(&space).is_err() {
            return;
        }
    }
});
