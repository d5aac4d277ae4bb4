//! Each fault is planted once, and named with its place.

use super::harness::{module, run, run_on};
use crate::exec::{Program, Shape, launch};
use crate::faults::{Fault, FaultKind};
use crate::memory::Memory;

const TILE: &str = ".shared .align 16 .b8 tile[256];";
/// `%r2` is the address of the thread's word in shared memory.
const MINE: &str = "mov.u32 %r0, tile; shl.b32 %r1, %r30, 2; add.u32 %r2, %r0, %r1;";

#[track_caller]
fn fault(declarations: &str, body: &str, block: u32, kind: FaultKind) -> Fault {
    let found =
        *run(declarations, body, block).err().unwrap_or_else(|| panic!("no fault in {body}"));
    assert_eq!(found.kind, kind, "{found}");
    found
}

#[test]
fn accesses_out_of_bounds_are_named() {
    let found = fault("", "ld.global.u32 %r0, [%x30+4096];", 1, FaultKind::OutOfBounds);
    assert!(found.message.contains("offset 4096 of an allocation of 4096 bytes"), "{found}");
    assert_eq!((found.kernel.as_str(), found.line), ("k", 10));
    assert!(found.text.contains("ld.global.u32 %r0, [%x30+4096];"), "{found}");
    // The last of 33 threads, in the second warp, stores beyond the end.
    let body = "mad.wide.u32 %x0, %r30, 128, %x31; st.global.u32 [%x0], 1;";
    assert_eq!(fault("", body, 33, FaultKind::OutOfBounds).thread, [32, 0, 0]);
    fault("", "add.u64 %x0, %x30, -4; ld.global.u8 %r0, [%x0];", 1, FaultKind::OutOfBounds);
    fault("", "ld.global.u32 %r0, [0];", 1, FaultKind::OutOfBounds);
    fault(TILE, "st.shared.u32 [tile+256], 1;", 1, FaultKind::OutOfBounds);
    fault(TILE, "mov.u32 %r0, -4; st.shared.u32 [%r0], 1;", 1, FaultKind::OutOfBounds);
    fault("", "mov.u64 %x0, 4096; ld.param.u32 %r0, [%x0];", 1, FaultKind::OutOfBounds);
    fault(
        "",
        ".local .align 4 .b8 depot[8]; mov.u64 %x0, depot; ld.local.u32 %r0, [%x0+8];",
        1,
        FaultKind::OutOfBounds,
    );
}

#[test]
fn a_row_of_lanes_that_runs_over_the_end_names_the_first_beyond() {
    let body =
        "mad.wide.u32 %x0, %r30, 16, %x30; ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%x0+4000];";
    let found = fault("", body, 32, FaultKind::OutOfBounds);
    // 4000 + 16 * 6 is 4096.
    assert!(found.thread[0] >= 6, "{found}");
}

#[test]
fn misaligned_accesses_are_named() {
    fault("", "ld.global.u32 %r0, [%x30+2];", 1, FaultKind::Misaligned);
    fault(
        "",
        "mad.wide.u32 %x0, %r30, 8, %x31; st.global.v4.u32 [%x0], {%r30, %r30, %r30, %r30};",
        2,
        FaultKind::Misaligned,
    );
    fault(
        "",
        "mad.wide.u32 %x0, %r30, 4, %x30; ld.global.u32 %r0, [%x0+2];",
        32,
        FaultKind::Misaligned,
    );
    fault(TILE, "st.shared.v2.u32 [tile+4], {%r30, %r30};", 1, FaultKind::Misaligned);
    fault(TILE, "atom.shared.add.u32 %r0, [tile+2], 1;", 1, FaultKind::Misaligned);
}

#[test]
fn reads_of_what_was_never_written_are_named() {
    fault(TILE, "ld.shared.u32 %r0, [tile];", 1, FaultKind::NeverWritten);
    // A byte of four is missing.
    fault(
        TILE,
        "st.shared.u16 [tile], %h0; st.shared.u8 [tile+2], %h0; ld.shared.u32 %r0, [tile];",
        1,
        FaultKind::NeverWritten,
    );
    fault(
        "",
        ".local .align 4 .b8 depot[8]; mov.u64 %x0, depot; st.local.u32 [%x0], 1; ld.local.u32 %r0, [%x0+4];",
        1,
        FaultKind::NeverWritten,
    );
    // What an earlier block wrote into shared memory is not there for the next.
    let body = "mov.u32 %r0, %ctaid.x; setp.eq.u32 %p0, %r0, 0; @%p0 st.shared.u32 [tile], 1; ld.shared.u32 %r1, [tile];";
    let found = run_on(&module(TILE, body), 2, 1, &[0], 4).err().unwrap();
    assert_eq!((found.kind, found.block), (FaultKind::NeverWritten, [1, 0, 0]), "{found}");
    // Global memory that neither the host nor a kernel has written.
    let mut memory = Memory::new(1 << 20);
    let program = Program::load(&module("", "ld.global.f32 %f0, [%x30+8];"), &mut memory).unwrap();
    let from = memory.allocate(64).unwrap();
    memory.write(from, &[0; 8]).unwrap();
    let shape = Shape { grid: [1; 3], block: [1; 3], dynamic_shared: 0, dynamic_shared_limit: 0 };
    let parameters = [from.to_le_bytes(), from.to_le_bytes(), [0; 8]].concat();
    let found = launch(&program, 0, &shape, &parameters, &mut memory).unwrap_err();
    assert_eq!(found.kind, FaultKind::NeverWritten, "{found}");
}

#[test]
fn a_missing_barrier_between_warps_is_a_race() {
    let read = "xor.b32 %r3, %r1, 128; add.u32 %r3, %r3, %r0; ld.shared.u32 %r4, [%r3];";
    run(TILE, &format!("{MINE} st.shared.u32 [%r2], %r30; bar.sync 0; {read}"), 64).unwrap();
    // Without the barrier the first warp reads what is not written yet, and the second what is.
    fault(TILE, &format!("{MINE} st.shared.u32 [%r2], %r30; {read}"), 64, FaultKind::NeverWritten);
    let written = format!("{MINE} st.shared.u32 [%r2], %r30; bar.sync 0;");
    let found =
        fault(TILE, &format!("{written} {read} st.shared.u32 [%r2], %r4;"), 64, FaultKind::Race);
    assert!(
        found.message.contains("thread (0, 0, 0)") || found.message.contains("thread (32, 0, 0)"),
        "{found}"
    );
    run(TILE, &format!("{written} {read} bar.sync 0; st.shared.u32 [%r2], %r4;"), 64).unwrap();
}

#[test]
fn a_missing_barrier_within_a_warp_is_a_race() {
    let read = "xor.b32 %r3, %r1, 4; add.u32 %r3, %r3, %r0; ld.shared.u32 %r4, [%r3];";
    let store = format!("{MINE} st.shared.u32 [%r2], %r30;");
    fault(TILE, &format!("{store} {read}"), 32, FaultKind::Race);
    run(TILE, &format!("{store} bar.warp.sync -1; {read}"), 32).unwrap();
    // A shuffle orders no memory.
    fault(
        TILE,
        &format!("{store} shfl.sync.bfly.b32 %r5, %r4, 1, 31, -1; {read}"),
        32,
        FaultKind::Race,
    );
    // A barrier of half of the lanes orders these alone.
    let half = "setp.lt.u32 %p0, %r30, 16; @!%p0 bra $end; bar.warp.sync 0xffff;";
    run(TILE, &format!("{store} {half} {read} $end:"), 32).unwrap();
    let other = "xor.b32 %r3, %r1, 64; add.u32 %r3, %r3, %r0; ld.shared.u32 %r4, [%r3];";
    fault(TILE, &format!("{store} {half} {other} $end:"), 32, FaultKind::Race);
}

#[test]
fn two_threads_that_write_the_same_bytes_are_a_race() {
    fault(TILE, "st.shared.u32 [tile], 1;", 2, FaultKind::Race);
    fault("", "st.global.u32 [%x31], 1;", 2, FaultKind::Race);
    // Halves of a word are not the same bytes.
    run(
        TILE,
        "shl.b32 %r0, %r30, 1; mov.u32 %r1, tile; add.u32 %r1, %r1, %r0; st.shared.u16 [%r1], %h0;",
        64,
    )
    .unwrap();
    // An atomic operation and a plain access.
    fault("", "red.global.add.u32 [%x31], 1; ld.global.u32 %r0, [%x31];", 2, FaultKind::Race);
    run("", "red.global.add.u32 [%x31], 1; bar.sync 0; ld.global.u32 %r0, [%x31];", 64).unwrap();
}

#[test]
fn blocks_that_share_bytes_are_a_race() {
    let blocks = |body: &str| run_on(&module("", body), 2, 1, &[0; 4], 8).err().map(|it| it.kind);
    assert_eq!(blocks("st.global.u32 [%x31], 1;"), Some(FaultKind::BlockRace));
    assert_eq!(
        blocks(
            "ld.global.u32 %r0, [%x31]; mov.u32 %r1, %ctaid.x; setp.eq.u32 %p0, %r1, 1; @%p0 st.global.u32 [%x31], 1;"
        ),
        Some(FaultKind::BlockRace)
    );
    assert_eq!(
        blocks(
            "ld.global.u32 %r0, [%x30]; mov.u32 %r1, %ctaid.x; mad.wide.u32 %x0, %r1, 4, %x31; st.global.u32 [%x0], 1;"
        ),
        None
    );
    assert_eq!(blocks("red.global.add.u32 [%x31], 1;"), None);
    assert_eq!(
        blocks("red.global.add.u32 [%x31], 1; ld.global.u32 %r0, [%x31];"),
        Some(FaultKind::BlockRace)
    );
    // The read-only cache does not see what the launch writes, even after a barrier.
    let own = |load: &str| {
        run("", &format!("st.global.u32 [%x31], 1; bar.sync 0; {load} %r0, [%x31];"), 1)
    };
    own("ld.global.u32").unwrap();
    assert_eq!(own("ld.global.nc.u32").err().map(|it| it.kind), Some(FaultKind::Race));
    // A later launch may read what an earlier one wrote: other tests do.
}

#[test]
fn uneven_barriers_are_named() {
    // Half of a warp is in a branch.
    let found = fault(
        "",
        "setp.lt.u32 %p0, %r30, 16; @%p0 bra $end; bar.sync 0; $end: bar.sync 0;",
        32,
        FaultKind::Barrier,
    );
    assert_eq!(found.thread, [16, 0, 0]);
    fault("", "setp.lt.u32 %p0, %r30, 16; @%p0 bar.sync 0;", 32, FaultKind::Barrier);
    // Threads have left.
    fault("", "setp.eq.u32 %p0, %r30, 3; @%p0 ret; bar.sync 0;", 32, FaultKind::Barrier);
    let found =
        fault("", "setp.ge.u32 %p0, %r30, 32; @%p0 ret; bar.sync 0;", 64, FaultKind::Barrier);
    assert!(found.message.contains("warp 1 have left"), "{found}");
    // Warps at different barriers.
    fault(
        "",
        "setp.ge.u32 %p0, %r30, 32; @%p0 bra $other; bar.sync 1; ret; $other: bar.sync 2;",
        64,
        FaultKind::Barrier,
    );
    fault("", "bar.sync 0, 40;", 64, FaultKind::Barrier);
    fault("", "bar.sync 16;", 32, FaultKind::Barrier);
}

#[test]
fn exchange_with_lanes_that_do_not_take_part_is_named() {
    fault(
        "",
        "setp.lt.u32 %p0, %r30, 16; @%p0 shfl.sync.bfly.b32 %r0, %r30, 16, 31, -1;",
        32,
        FaultKind::WarpSync,
    );
    fault(
        "",
        "setp.lt.u32 %p0, %r30, 16; @!%p0 bra $end; shfl.sync.bfly.b32 %r0, %r30, 16, 31, 0xffff; $end:",
        32,
        FaultKind::WarpSync,
    );
    fault("", "vote.sync.any.pred %p0, %p1, 0xffff;", 32, FaultKind::WarpSync);
    fault("", "shfl.sync.bfly.b32 %r0, %r30, 16, 31, -1;", 16, FaultKind::WarpSync);
}

#[test]
fn what_is_unknown_or_forbidden_is_named() {
    fault("", "red.global.add.f32 [%x31], 0f3F800000;", 1, FaultKind::Unsupported);
    fault("", "trap;", 1, FaultKind::Unsupported);
    let mut memory = Memory::new(1 << 20);
    for (body, text) in [
        ("wgmma.fence.sync.aligned;", "not supported: `wgmma"),
        ("mov.u64 %x0, %clock64;", "%clock64"),
        ("add.u32 %r0, %r1;", "2 sources expected"),
        ("add.u32 %r0, %x1, %r2;", "Double register"),
        ("bra $nowhere;", "does not exist"),
        ("ld.global.u32 %r0, [missing];", "`missing` is not declared"),
        ("frobnicate %r0;", "frobnicate"),
        ("@%p1 mov.u32 %r0, 1; add.u32 %r1, %r0, 1;", "may be read before it is written"),
    ] {
        let error = Program::load(&module("", body), &mut memory)
            .err()
            .map(|it| it.to_string())
            .unwrap_or_default();
        assert!(error.contains(text), "{body}: {error}");
    }
    assert!(Program::load("hello", &mut memory).is_err());
}

#[test]
fn endless_loops_end() {
    let found = fault("", "$loop: bra $loop;", 1, FaultKind::Endless);
    assert!(found.text.contains("bra $loop"), "{found}");
}

#[test]
fn launches_of_the_wrong_shape_are_refused() {
    let mut memory = Memory::new(1 << 20);
    let text = ".version 8.0\n.target sm_80\n.visible .entry k(.param .u64 a)\n.maxntid 128, 1, 1\n{ ret; }";
    let program = Program::load(text, &mut memory).unwrap();
    let good = Shape {
        grid: [1; 3],
        block: [128, 1, 1],
        dynamic_shared: 0,
        dynamic_shared_limit: 48 << 10,
    };
    let mut launch = |shape: Shape, n: usize| {
        launch(&program, 0, &shape, &vec![0; n], &mut memory).err().map(|it| it.kind)
    };
    assert_eq!(launch(good, 8), None);
    assert_eq!(launch(good, 4), Some(FaultKind::Launch));
    for shape in [
        Shape { grid: [0, 1, 1], ..good },
        Shape { grid: [1, 65_536, 1], ..good },
        Shape { block: [129, 1, 1], ..good },
        Shape { block: [1, 1, 65], ..good },
        Shape { dynamic_shared: 49 << 10, ..good },
    ] {
        assert_eq!(launch(shape, 8), Some(FaultKind::Launch), "{shape:?}");
    }
}
