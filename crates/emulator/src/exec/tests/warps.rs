//! Branches, loops, calls, exchange between lanes, barriers.

use super::harness::{module, run, run_on};
use crate::faults::FaultKind;

/// The address of a thread's word in the output, and the store of `%r29` to it.
const STORE: &str = "mad.wide.u32 %x29, %r30, 4, %x31; st.global.u32 [%x29], %r29;";

fn words(body: &str, block: u32) -> Vec<u32> {
    let left = run("", &format!("{body}\n{STORE}"), block).unwrap_or_else(|it| panic!("{it}"));
    left.words()[..block as usize].to_vec()
}

#[test]
fn lanes_part_and_meet() {
    // Each thread adds 1 so many times as its number says, then all vote.
    let body = "
        mov.u32 %r29, 0; setp.eq.u32 %p0, %r30, 0; @%p0 bra $done; mov.u32 %r0, %r30;
        $loop: add.u32 %r29, %r29, 1; sub.u32 %r0, %r0, 1; setp.ne.u32 %p1, %r0, 0; @%p1 bra $loop;
        $done: activemask.b32 %r1; setp.ne.u32 %p2, %r1, -1; @%p2 mov.u32 %r29, 1000;";
    assert_eq!(words(body, 32), (0..32).collect::<Vec<u32>>());
}

#[test]
fn some_lanes_return_early() {
    let body = "
        mov.u32 %r29, 5; and.b32 %r0, %r30, 1; setp.eq.u32 %p0, %r0, 0; @%p0 ret;
        activemask.b32 %r29;";
    assert_eq!(
        words(body, 32),
        (0..32).map(|it| if it % 2 == 0 { 0 } else { 0xaaaa_aaaa }).collect::<Vec<u32>>()
    );
}

#[test]
fn a_switch_branches_by_a_table() {
    let body = "
        and.b32 %r0, %r30, 3;
        $ts: .branchtargets $a, $b, $c, $a;
        brx.idx %r0, $ts;
        $a: mov.u32 %r29, 10; bra.uni $end;
        $b: mov.u32 %r29, 11; bra.uni $end;
        $c: mov.u32 %r29, 12;
        $end:";
    assert_eq!(words(body, 8), [10, 11, 12, 10, 10, 11, 12, 10]);
}

#[test]
fn functions_are_called() {
    let function = "
        .func (.param .b32 result) twice(.param .b32 x, .param .align 8 .b8 pair[8])
        { .reg .b32 %r<4>; .reg .pred %p;
          ld.param.u32 %r0, [x]; ld.param.u32 %r1, [pair+4]; setp.gt.u32 %p, %r0, 2; @%p bra $big;
          st.param.b32 [result], %r1; ret;
          $big: add.u32 %r2, %r0, %r0; st.param.b32 [result], %r2; ret; }";
    let call = "
        { .param .b32 p0; .param .align 8 .b8 p1[8]; .param .b32 out0;
          st.param.b32 [p0], %r30; st.param.b32 [p1+4], 77;
          call.uni (out0), twice, (p0, p1); ld.param.b32 %r29, [out0]; }";
    let left = run(function, &format!("{call}{call}{STORE}"), 5).unwrap();
    assert_eq!(left.words()[..5], [77, 77, 77, 6, 8]);
}

#[test]
fn shuffles_follow_their_modes() {
    let shuffle = |text: &str| words(&format!("mov.u32 %r0, %r30; {text}"), 32);
    let all = |f: fn(u32) -> u32| (0..32).map(f).collect::<Vec<u32>>();
    assert_eq!(shuffle("shfl.sync.bfly.b32 %r29|%p0, %r0, 16, 31, -1;"), all(|it| it ^ 16));
    assert_eq!(
        shuffle("shfl.sync.up.b32 %r29|%p0, %r0, 1, 0, -1;"),
        all(|it| it.saturating_sub(1))
    );
    assert_eq!(
        shuffle("shfl.sync.down.b32 %r29|%p0, %r0, 2, 31, -1;"),
        all(|it| if it > 29 { it } else { it + 2 })
    );
    assert_eq!(shuffle("shfl.sync.idx.b32 %r29, %r0, 3, 31, -1;"), all(|_| 3));
    // Segments of 8 lanes: `c` is (32 - 8) << 8 | 31.
    assert_eq!(shuffle("shfl.sync.idx.b32 %r29, %r0, 3, 0x181f, -1;"), all(|it| it / 8 * 8 + 3));
    assert_eq!(
        shuffle("shfl.sync.down.b32 %r1|%p0, %r0, 2, 31, -1; selp.u32 %r29, 1, 0, %p0;"),
        all(|it| u32::from(it < 30))
    );
}

#[test]
fn votes_count_the_lanes_of_their_mask() {
    let vote = |text: &str| words(&format!("setp.lt.u32 %p0, %r30, 4; {text}"), 32);
    assert_eq!(vote("vote.sync.ballot.b32 %r29, %p0, -1;"), [15; 32]);
    assert_eq!(vote("vote.sync.any.pred %p1, %p0, -1; selp.u32 %r29, 1, 0, %p1;"), [1; 32]);
    assert_eq!(vote("vote.sync.all.pred %p1, !%p0, -1; selp.u32 %r29, 1, 0, %p1;"), [0; 32]);
    assert_eq!(vote("redux.sync.add.s32 %r29, %r30, -1;"), [496; 32]);
    assert_eq!(vote("redux.sync.max.u32 %r29, %r30, -1;"), [31; 32]);
    assert_eq!(
        vote("and.b32 %r0, %r30, 1; match.any.sync.b32 %r29, %r0, -1;")[..2],
        [0x5555_5555, 0xaaaa_aaaa]
    );
}

#[test]
fn barriers_exchange_between_warps() {
    // Each thread stores its number and reads that of the thread 32 further on.
    let body = "
        mov.u32 %r0, tile; shl.b32 %r1, %r30, 2; add.u32 %r2, %r0, %r1; st.shared.u32 [%r2], %r30;
        bar.sync 0;
        add.u32 %r3, %r30, 32; and.b32 %r3, %r3, 63; shl.b32 %r3, %r3, 2; add.u32 %r3, %r3, %r0; ld.shared.u32 %r29, [%r3];";
    let left = run(".shared .align 4 .b8 tile[256];", &format!("{body}{STORE}"), 64).unwrap();
    assert_eq!(left.words()[..64], (0..64).map(|it| (it + 32) % 64).collect::<Vec<u32>>());
    assert_eq!(
        (left.counts.barriers, left.counts.shared_read, left.counts.bank_conflicts),
        (1, 256, 0)
    );
}

#[test]
fn barriers_reduce() {
    let body = "setp.lt.u32 %p0, %r30, 40; barrier.cta.red.popc.aligned.u32 %r29, 0, %p0; bar.red.or.pred %p1, 0, !%p0;
        @%p1 add.u32 %r29, %r29, 100; bar.red.and.pred %p1, 0, %p0; @%p1 add.u32 %r29, %r29, 1000;";
    assert_eq!(words(body, 64), [140; 64]);
}

#[test]
fn named_barriers_join_some_warps() {
    // Warps 0 and 1 exchange at barrier 1; warp 2 does not take part.
    let body = "
        mov.u32 %r29, 0; setp.ge.u32 %p0, %r30, 64; @%p0 bra $end;
        mov.u32 %r0, tile; shl.b32 %r1, %r30, 2; add.u32 %r2, %r0, %r1; st.shared.u32 [%r2], %r30;
        bar.sync 1, 64;
        xor.b32 %r3, %r1, 128; add.u32 %r3, %r3, %r0; ld.shared.u32 %r29, [%r3];
        $end:";
    let left = run(".shared .align 4 .b8 tile[256];", &format!("{body}{STORE}"), 96).unwrap();
    assert_eq!(
        left.words()[..96],
        (0..96).map(|it| if it < 64 { it ^ 32 } else { 0 }).collect::<Vec<u32>>()
    );
}

#[test]
fn lanes_wait_for_each_other_at_a_warp_barrier() {
    // The halves of a warp reach the same `bar.warp.sync` one after the other, then exchange.
    let body = "
        mov.u32 %r0, tile; shl.b32 %r1, %r30, 2; add.u32 %r2, %r0, %r1;
        setp.lt.u32 %p0, %r30, 16; @%p0 bra $low;
        st.shared.u32 [%r2], 1; bra.uni $meet;
        $low: st.shared.u32 [%r2], 2;
        $meet: bar.warp.sync -1;
        xor.b32 %r3, %r1, 64; add.u32 %r3, %r3, %r0; ld.shared.u32 %r29, [%r3];";
    let left = run(".shared .align 4 .b8 tile[128];", &format!("{body}{STORE}"), 32).unwrap();
    assert_eq!(left.words()[..32], [[1; 16], [2; 16]].concat());
}

#[test]
fn special_registers_know_their_place() {
    let body = "
        mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %nctaid.x; mov.u32 %r3, %laneid; mov.u32 %r4, %warpid;
        mad.lo.u32 %r5, %r0, %r1, %r30; mul.wide.u32 %x0, %r5, 16; add.u64 %x0, %x0, %x31;
        st.global.v4.u32 [%x0], {%r0, %r2, %r3, %r4};";
    let left = run_on(&module("", body), 3, 40, &[0], 16 * 120).unwrap();
    assert_eq!(left.words()[4 * 119..], [2, 3, 7, 1]);
    assert_eq!((left.counts.blocks, left.counts.threads), (3, 120));
}

#[test]
fn atomics_count() {
    let body = "
        atom.global.add.u32 %r0, [%x31], 2; red.global.max.s32 [%x31+4], %r30; atom.shared.inc.u32 %r1, [tile], 9;
        add.u64 %x0, %x31, 8; atom.global.cas.b64 %x1, [%x0], 0, 5; atom.global.exch.b32 %r2, [%x31+16], 3;";
    let set = "mov.u32 %r9, 0; setp.eq.u32 %p7, %r30, 0; @%p7 st.shared.u32 [tile], 0; bar.sync 0;";
    let left = run(".shared .align 4 .b8 tile[4];", &format!("{set}{body}"), 64).unwrap();
    assert_eq!(left.words()[..5], [128, 63, 5, 0, 3]);
    assert_eq!(left.counts.atomics, 64 * 5);
}

#[test]
fn an_endless_loop_of_exchange_is_named() {
    // Half of the warp waits for the other half at a shuffle that it never reaches.
    let body = "setp.lt.u32 %p0, %r30, 16; @%p0 bra $end; shfl.sync.bfly.b32 %r0, %r30, 1, 31, -1; $end: bar.warp.sync -1;";
    assert_eq!(run("", body, 32).err().map(|it| it.kind), Some(FaultKind::WarpSync));
}
