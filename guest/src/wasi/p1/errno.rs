//! Error numbers of WASI 0.1. (wasi_snapshot_preview1 witx, `errno`)

use crate::vm::ring::Errno;

pub(crate) const SUCCESS: i32 = 0;
pub(crate) const BADF: i32 = 8;
pub(crate) const ILSEQ: i32 = 25;
pub(crate) const INVAL: i32 = 28;
pub(crate) const IO: i32 = 29;
pub(crate) const NAMETOOLONG: i32 = 37;
pub(crate) const NOTDIR: i32 = 54;
pub(crate) const NOTSOCK: i32 = 57;
pub(crate) const NOTSUP: i32 = 58;
pub(crate) const OVERFLOW: i32 = 61;
pub(crate) const SPIPE: i32 = 70;

/// Number of Linux (asm-generic/errno-base.h, asm-generic/errno.h) and of WASI.
#[rustfmt::skip]
const NUMBERS: &[(Errno, i32)] = &[
    (1, 63), (2, 44), (3, 71), (4, 27), (5, IO), (6, 60), (7, 1), (8, 45), (9, BADF), (10, 12),
    (11, 6), (12, 48), (13, 2), (14, 21), (16, 10), (17, 20), (18, 75), (19, 43), (20, NOTDIR), (21, 31),
    (22, INVAL), (23, 41), (24, 33), (25, 59), (26, 74), (27, 22), (28, 51), (29, SPIPE), (30, 69), (31, 34),
    (32, 64), (33, 18), (34, 68), (35, 16), (36, NAMETOOLONG), (37, 46), (38, 52), (39, 55), (40, 32), (42, 49),
    (43, 24), (67, 47), (71, 65), (72, 36), (74, 9), (75, OVERFLOW), (84, ILSEQ), (88, NOTSOCK), (89, 17), (90, 35),
    (91, 67), (92, 50), (93, 66), (95, NOTSUP), (97, 5), (98, 3), (99, 4), (100, 38), (101, 40), (102, 39),
    (103, 13), (104, 15), (105, 42), (106, 30), (107, 53), (110, 73), (111, 14), (113, 23), (114, 7), (115, 26),
    (116, 72), (122, 19), (125, 11), (130, 62), (131, 56),
];

/// The number of WASI for one of Linux.
pub(crate) fn from_linux(linux: Errno) -> i32 {
    NUMBERS
        .iter()
        .find(|(number, _)| *number == linux)
        .map_or(IO, |(_, wasi)| *wasi)
}
