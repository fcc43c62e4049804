//! KVM's binary statistics of a vCPU. (KVM API 4.133, KVM_GET_STATS_FD)

use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

/// `_IO(KVMIO, 0xce)`
const KVM_GET_STATS_FD: libc::Ioctl = 0xaece;

/// Longest table of descriptors that is read; KVM has a few dozen.
const MAX_DESCRIPTORS: usize = 1024;

/// The counter `name` of the vCPU; `None` where the kernel does not have it.
pub(super) fn counter(vcpu: RawFd, name: &str) -> Option<u64> {
    // SAFETY: the request takes no argument and gives a new descriptor or an error.
    let fd = unsafe { libc::ioctl(vcpu, KVM_GET_STATS_FD, 0) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    let file = unsafe { File::from_raw_fd(fd) };

    // struct kvm_stats_header: flags, name_size, num_desc, id_offset, desc_offset, data_offset.
    let mut header = [0; 24];
    file.read_exact_at(&mut header, 0).ok()?;
    let field = |i: usize| {
        header
            .get(i * 4..i * 4 + 4)?
            .try_into()
            .ok()
            .map(u32::from_ne_bytes)
    };
    let name_size = usize::try_from(field(1)?).ok()?;
    let count = usize::try_from(field(2)?).ok()?.min(MAX_DESCRIPTORS);
    let (descriptors, data) = (u64::from(field(4)?), u64::from(field(5)?));

    // struct kvm_stats_desc: flags, exponent and size, offset, bucket_size, then the name.
    let stride = name_size.checked_add(16).filter(|s| *s <= 4096)?;
    let mut table = vec![0; stride * count];
    file.read_exact_at(&mut table, descriptors).ok()?;
    let entry = table.chunks_exact(stride).find(|entry| {
        let raw = &entry[16..];
        raw.split(|b| *b == 0).next() == Some(name.as_bytes())
    })?;
    let offset = u32::from_ne_bytes(entry.get(8..12)?.try_into().ok()?);
    let mut value = [0; 8];
    file.read_exact_at(&mut value, data + u64::from(offset)).ok()?;
    Some(u64::from_ne_bytes(value))
}
