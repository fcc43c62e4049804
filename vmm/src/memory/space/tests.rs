use super::*;
use vm_memory::Bytes;

const FIRST: u64 = 8 << 20;

fn space(limit: u64) -> Space {
    Space::new(Reservation::new(64 << 20).unwrap(), FIRST, 16 << 20, limit)
}

#[test]
fn the_limit_can_change() {
    let mut s = space(4 << 20);
    s.map(MMAP_START, 4 << 20).unwrap();
    let more = MMAP_START + (4 << 20);
    assert!(matches!(
        s.map(more, PAGE_SIZE),
        Err(SpaceError::Limit { limit: 4_194_304, .. })
    ));
    s.set_limit(6 << 20);
    s.map(more, LARGE_PAGE_SIZE).unwrap();
    s.set_limit(1 << 20);
    assert!(matches!(
        s.map(more + LARGE_PAGE_SIZE, PAGE_SIZE),
        Err(SpaceError::Limit { .. })
    ));
    s.unmap(MMAP_START, 6 << 20).unwrap();
    s.map(MMAP_START, 1 << 20).unwrap();
    s.set_limit(u64::MAX);
    assert!(
        matches!(s.map(MMAP_START, 1 << 30), Err(SpaceError::Limit { .. })),
        "the reservation is the end of all"
    );
}

#[test]
fn memory_grows_in_place_and_reads_back() {
    let mut s = space(32 << 20);
    s.map(MMAP_START, 3 * PAGE_SIZE).unwrap();
    s.resolve(MMAP_START, 8, true).unwrap()[0]
        .write_obj(7u64, 0)
        .unwrap();
    s.map(MMAP_START + 3 * PAGE_SIZE, LARGE_PAGE_SIZE).unwrap();
    assert_eq!(
        s.resolve(MMAP_START, 8, false).unwrap()[0]
            .read_obj::<u64>(0)
            .unwrap(),
        7
    );
    assert_eq!(s.peak(), LARGE_PAGE_SIZE + 3 * PAGE_SIZE);
    let parts = s.resolve(MMAP_START + 5, LARGE_PAGE_SIZE, true).unwrap();
    assert_eq!(
        parts.iter().map(VolatileSlice::len).sum::<usize>() as u64,
        LARGE_PAGE_SIZE
    );
}

#[test]
fn behind_the_last_page_nothing_resolves() {
    let mut s = space(32 << 20);
    s.map(MMAP_START, PAGE_SIZE).unwrap();
    assert!(s.resolve(MMAP_START + PAGE_SIZE - 4, 4, true).is_ok());
    assert!(s.resolve(MMAP_START + PAGE_SIZE - 4, 5, true).is_err());
    assert!(s.resolve(u64::MAX - 2, 5, true).is_err());
}

#[test]
fn the_limit_counts_only_new_pages() {
    let mut s = space(4 * PAGE_SIZE);
    s.map(MMAP_START, 4 * PAGE_SIZE).unwrap();
    s.map(MMAP_START, 4 * PAGE_SIZE).unwrap();
    assert!(matches!(
        s.map(MMAP_START, 5 * PAGE_SIZE),
        Err(SpaceError::Limit { .. })
    ));
    s.unmap(MMAP_START, 2 * PAGE_SIZE).unwrap();
    s.map(MMAP_START + (1 << 30), 2 * PAGE_SIZE).unwrap();
}

#[test]
fn unmapped_frames_come_back_zeroed() {
    let mut s = space(32 << 20);
    s.map(MMAP_START, PAGE_SIZE).unwrap();
    s.resolve(MMAP_START, 8, true).unwrap()[0]
        .write_obj(7u64, 0)
        .unwrap();
    s.unmap(MMAP_START, LARGE_PAGE_SIZE).unwrap();
    assert!(s.resolve(MMAP_START, 8, false).is_err());
    s.map(MMAP_START, PAGE_SIZE).unwrap();
    assert_eq!(
        s.resolve(MMAP_START, 8, false).unwrap()[0]
            .read_obj::<u64>(0)
            .unwrap(),
        0
    );
}

#[test]
fn a_frame_is_of_one_piece_for_good() {
    let mut s = space(8 << 20);
    let (one, other) = (MMAP_START, MMAP_START + (1 << 30));
    let frame = |s: &Space, at| s.translate(at, 1, true).map(|(gpa, _)| gpa);
    let (whole, part) = (LARGE_PAGE_SIZE, 3 * PAGE_SIZE);
    s.map(one, whole).unwrap();
    let first = frame(&s, one);
    // Large, gone, in part, large again page by page.
    for (map, unmap) in [(0, whole), (part, part), (whole, PAGE_SIZE), (whole, whole)] {
        s.map(one, map).unwrap();
        assert!(map == 0 || frame(&s, one) == first);
        s.unmap(one, unmap).unwrap();
        assert_eq!(frame(&s, one), None);
        s.map(other, whole).unwrap();
        assert!(frame(&s, other).is_some() && frame(&s, other) != first);
        s.unmap(other, whole).unwrap();
    }
}

#[test]
fn mapping_again_takes_no_tables() {
    let mut s = space(8 << 20);
    for _ in 0..10_000 {
        s.map(MMAP_START, LARGE_PAGE_SIZE).unwrap();
        s.unmap(MMAP_START, LARGE_PAGE_SIZE).unwrap();
        s.map(MMAP_START + LARGE_PAGE_SIZE, LARGE_PAGE_SIZE).unwrap();
        s.unmap(MMAP_START + LARGE_PAGE_SIZE, PAGE_SIZE).unwrap();
    }
    assert_eq!(s.next_frame, FIRST + 2 * LARGE_PAGE_SIZE);
}

#[test]
fn foreign_ranges_are_refused() {
    let mut s = space(32 << 20);
    for (address, len) in [
        (0, PAGE_SIZE),
        (0x20_0000, PAGE_SIZE),
        (MMAP_START + 1, PAGE_SIZE),
        (MMAP_START, 1),
        (MMAP_END, PAGE_SIZE),
        (u64::MAX - PAGE_SIZE + 1, PAGE_SIZE),
        (HEAP_END - PAGE_SIZE, 2 * PAGE_SIZE),
    ] {
        assert!(
            matches!(s.map(address, len), Err(SpaceError::Range { .. })),
            "{address:#x}"
        );
        assert!(
            matches!(s.unmap(address, len), Err(SpaceError::Range { .. })),
            "{address:#x}"
        );
    }
}

#[test]
fn read_only_regions_are_not_writable() {
    let mut s = space(32 << 20);
    s.map_fixed(4 << 30, 2 << 20, PAGE_SIZE, Access::Read).unwrap();
    assert!(s.resolve(4 << 30, 8, false).is_ok());
    assert!(s.resolve(4 << 30, 8, true).is_err());
}
