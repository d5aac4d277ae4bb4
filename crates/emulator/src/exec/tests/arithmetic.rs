//! Integers, bits, floating-point numbers.

use super::harness::{check, evaluate, f, g};
use crate::faults::FaultKind;

const MINUS: u64 = u64::MAX;
const NAN: u64 = 0x7fff_ffff;

#[test]
fn integers_wrap_and_widen() {
    check(&[
        ("add.s32 %r3, %r0, %r1;", "%r3", [0xffff_ffff, 2, 0], 1),
        ("add.sat.s32 %r3, %r0, %r1;", "%r3", [0x7fff_ffff, 2, 0], 0x7fff_ffff),
        ("sub.u16 %h3, %h0, %h1;", "%h3", [1, 3, 0], 0xfffe),
        ("add.s64 %x3, %x0, -1;", "%x3", [0, 0, 0], MINUS),
        ("mul.lo.s32 %r3, %r0, %r1;", "%r3", [0x1_0001, 0x1_0001, 0], 0x2_0001),
        ("mul.hi.u32 %r3, %r0, %r1;", "%r3", [0x8000_0000, 6, 0], 3),
        ("mul.hi.s32 %r3, %r0, %r1;", "%r3", [0xffff_ffff, 5, 0], 0xffff_ffff),
        ("mul.hi.u64 %x3, %x0, %x1;", "%x3", [1 << 63, 6, 0], 3),
        ("mul.wide.s32 %x3, %r0, %r1;", "%x3", [0xffff_ffff, 7, 0], -7i64 as u64),
        ("mul.wide.u32 %x3, %r0, %r1;", "%x3", [0xffff_ffff, 2, 0], 0x1_ffff_fffe),
        ("mul.wide.u16 %r3, %h0, %h1;", "%r3", [0xffff, 0xffff, 0], 0xfffe_0001),
        ("mul.wide.s16 %r3, %h0, %h1;", "%r3", [0xffff, 3, 0], 0xffff_fffd),
        ("mad.lo.s32 %r3, %r0, %r1, %r2;", "%r3", [3, 4, 5], 17),
        ("mad.wide.s32 %x3, %r0, %r1, %x2;", "%x3", [0xffff_ffff, 4, 10], 6),
        ("mad.hi.u32 %r3, %r0, %r1, %r2;", "%r3", [0x8000_0000, 4, 5], 7),
        ("div.s32 %r3, %r0, %r1;", "%r3", [-7i32 as u32 as u64, 2, 0], -3i32 as u32 as u64),
        ("div.u32 %r3, %r0, %r1;", "%r3", [0xffff_fff9, 2, 0], 0x7fff_fffc),
        ("rem.s32 %r3, %r0, %r1;", "%r3", [-7i32 as u32 as u64, 2, 0], 0xffff_ffff),
        ("rem.u64 %x3, %x0, %x1;", "%x3", [1 << 40, 1000, 0], (1 << 40) % 1000),
        ("min.s32 %r3, %r0, %r1;", "%r3", [0xffff_ffff, 1, 0], 0xffff_ffff),
        ("min.u32 %r3, %r0, %r1;", "%r3", [0xffff_ffff, 1, 0], 1),
        ("max.s64 %x3, %x0, %x1;", "%x3", [MINUS, 1, 0], 1),
        ("max.u16 %h3, %h0, %h1;", "%h3", [0x8000, 1, 0], 0x8000),
        ("neg.s32 %r3, %r0;", "%r3", [5, 0, 0], 0xffff_fffb),
        ("abs.s64 %x3, %x0;", "%x3", [-5i64 as u64, 0, 0], 5),
        ("sad.u32 %r3, %r0, %r1, %r2;", "%r3", [2, 9, 100], 107),
    ]);
}

#[test]
fn bits_shift_and_move() {
    check(&[
        ("and.b32 %r3, %r0, %r1;", "%r3", [0xff0, 0x0ff, 0], 0x0f0),
        ("or.b64 %x3, %x0, %x1;", "%x3", [1 << 63, 1, 0], 1 << 63 | 1),
        ("xor.b16 %h3, %h0, %h1;", "%h3", [0xffff, 0xff, 0], 0xff00),
        ("not.b32 %r3, %r0;", "%r3", [0, 0, 0], 0xffff_ffff),
        ("shl.b32 %r3, %r0, %r1;", "%r3", [3, 31, 0], 0x8000_0000),
        ("shl.b32 %r3, %r0, %r1;", "%r3", [3, 32, 0], 0),
        ("shr.u32 %r3, %r0, %r1;", "%r3", [0x8000_0000, 31, 0], 1),
        ("shr.s32 %r3, %r0, %r1;", "%r3", [0x8000_0000, 40, 0], 0xffff_ffff),
        ("shr.s16 %h3, %h0, 4;", "%h3", [0x8000, 0, 0], 0xf800),
        ("shr.u64 %x3, %x0, 60;", "%x3", [MINUS, 0, 0], 15),
        ("shf.l.wrap.b32 %r3, %r0, %r1, 8;", "%r3", [0xaabb_ccdd, 0x1122_3344, 0], 0x2233_44aa),
        ("shf.r.clamp.b32 %r3, %r0, %r1, 40;", "%r3", [0xaabb_ccdd, 0x1122_3344, 0], 0x1122_3344),
        ("bfe.u32 %r3, %r0, 4, 8;", "%r3", [0xabcd, 0, 0], 0xbc),
        ("bfe.s32 %r3, %r0, 4, 8;", "%r3", [0xabcd, 0, 0], 0xffff_ffbc),
        ("bfe.s32 %r3, %r0, 24, 16;", "%r3", [0x8000_0000, 0, 0], 0xffff_ff80),
        ("bfe.u64 %x3, %x0, 60, 8;", "%x3", [MINUS, 0, 0], 15),
        ("bfi.b32 %r3, %r0, %r1, 8, 4;", "%r3", [0xff, 0xaaaa_aaaa, 0], 0xaaaa_afaa),
        ("bfi.b64 %x3, %x0, %x1, 32, 32;", "%x3", [7, 5, 0], 7 << 32 | 5),
        ("prmt.b32 %r3, %r0, %r1, 0x5410;", "%r3", [0x3322_1100, 0x7766_5544, 0], 0x5544_1100),
        ("prmt.b32 %r3, %r0, %r1, 0x0009;", "%r3", [0x0000_8000, 0, 0], 0xff),
        (
            "lop3.b32 %r3, %r0, %r1, %r2, 0x96;",
            "%r3",
            [0xff00, 0xf0f0, 0xcccc],
            0xff00 ^ 0xf0f0 ^ 0xcccc,
        ),
        (
            "lop3.b32 %r3, %r0, %r1, %r2, 0xca;",
            "%r3",
            [0xff00, 0xf0f0, 0xcccc],
            (0xff00 & 0xf0f0) | (0xcc),
        ),
        ("popc.b64 %r3, %x0;", "%r3", [MINUS, 0, 0], 64),
        ("clz.b32 %r3, %r0;", "%r3", [1, 0, 0], 31),
        ("brev.b32 %r3, %r0;", "%r3", [1, 0, 0], 0x8000_0000),
        ("bfind.u32 %r3, %r0;", "%r3", [0x10, 0, 0], 4),
        ("bfind.s32 %r3, %r0;", "%r3", [0xffff_ffff, 0, 0], 0xffff_ffff),
        ("mov.b32 %r3, {%h0, %h1};", "%r3", [0x1122, 0x3344, 0], 0x3344_1122),
        ("mov.b64 %x3, {%r0, %r1};", "%x3", [1, 2, 0], 2 << 32 | 1),
        ("mov.b32 {%h3, %h4}, %r0;", "%h4", [0x1122_3344, 0, 0], 0x1122),
        ("mov.b64 {_, %r3}, %x0;", "%r3", [9 << 32, 0, 0], 9),
        (
            "mov.b64 {%h3, %h4, %h5, %h6}, %x0; mov.b64 %x3, {%h6, %h5, %h4, %h3};",
            "%x3",
            [0x1111_2222_3333_4444, 0, 0],
            0x4444_3333_2222_1111,
        ),
        // Parts may replace what they are parts of.
        (
            "mov.b64 {%r0, %r1}, %x0; mov.b64 %x3, {%r1, %r0};",
            "%x3",
            [0x1_0000_0002, 0, 0],
            0x2_0000_0001,
        ),
    ]);
}

#[test]
fn comparisons_combine() {
    check(&[
        ("setp.lt.s32 %p0, %r0, %r1;", "%p0", [0xffff_ffff, 1, 0], 1),
        ("setp.lt.u32 %p0, %r0, %r1;", "%p0", [0xffff_ffff, 1, 0], 0),
        ("setp.hs.u64 %p0, %x0, %x1;", "%p0", [MINUS, 1, 0], 1),
        ("setp.eq.b16 %p0, %h0, 7;", "%p0", [0x1_0007, 0, 0], 1),
        ("setp.ne.f32 %p0, %f0, %f1;", "%p0", [NAN, f(1.0), 0], 0),
        ("setp.neu.f32 %p0, %f0, %f1;", "%p0", [NAN, f(1.0), 0], 1),
        ("setp.geu.f64 %p0, %g0, %g1;", "%p0", [g(1.0), g(2.0), 0], 0),
        ("setp.nan.f32 %p0, %f0, %f0;", "%p0", [NAN, 0, 0], 1),
        ("setp.num.f32 %p0, %f0, %f0;", "%p0", [NAN, 0, 0], 0),
        ("setp.eq.f32 %p0, %f0, %f1;", "%p0", [f(0.0), f(-0.0), 0], 1),
        ("setp.ne.u32 %p1, %r0, 0; setp.gt.and.u32 %p0, %r1, 5, %p1;", "%p0", [1, 6, 0], 1),
        ("setp.ne.u32 %p1, %r0, 0; setp.gt.or.u32 %p0, %r1, 5, !%p1;", "%p0", [1, 4, 0], 0),
        ("setp.gt.u32 %p0|%p1, %r0, 5;", "%p1", [4, 0, 0], 1),
        // The second result is of the opposite of the comparison, with the same third operand.
        ("setp.ne.u32 %p0, %r0, 0; setp.gt.and.u32 %p0|%p1, %r1, 5, %p0;", "%p1", [1, 4, 0], 1),
        (
            "setp.ne.u32 %p1, %r0, 0; not.pred %p2, %p1; xor.pred %p0, %p1, %p2;",
            "%p0",
            [1, 0, 0],
            1,
        ),
        ("mov.pred %p0, -1;", "%p0", [0, 0, 0], 1),
        ("setp.lt.bf16 %p0, %h0, %h1;", "%p0", [0x3f80, 0x4000, 0], 1),
        ("setp.gtu.f16 %p0, %h0, %h1;", "%p0", [0x7e00, 0x3c00, 0], 1),
        ("setp.ne.u32 %p1, %r0, 0; selp.b64 %x3, %x1, %x2, %p1;", "%x3", [1, 5, 6], 5),
        (
            "setp.ne.u32 %p1, %r0, 0; mov.u32 %r3, 1; @%p1 mov.u32 %r3, 2; @!%p1 mov.u32 %r3, 3;",
            "%r3",
            [0, 0, 0],
            3,
        ),
    ]);
}

#[test]
fn floats_round_once_and_know_their_edges() {
    let tiny = f32::from_bits(1);
    check(&[
        ("add.f32 %f3, %f0, %f1;", "%f3", [f(1.0), f(6e-8), 0], f(1.0 + f32::EPSILON)),
        ("add.rz.f32 %f3, %f0, %f1;", "%f3", [f(1.0), f(6.1e-8), 0], f(1.0)),
        ("add.rp.f32 %f3, %f0, %f1;", "%f3", [f(1.0), f(1e-20), 0], f(1.0 + f32::EPSILON)),
        ("sub.f32 %f3, %f0, %f1;", "%f3", [f(f32::INFINITY), f(f32::INFINITY), 0], NAN),
        ("mul.f32 %f3, %f0, %f1;", "%f3", [f(tiny), f(0.5), 0], 0),
        ("mul.f32 %f3, %f0, %f1;", "%f3", [f(tiny), f(3.0), 0], 3),
        ("mul.ftz.f32 %f3, %f0, %f1;", "%f3", [f(-tiny), f(3.0), 0], f(-0.0)),
        ("mul.rm.f32 %f3, %f0, %f1;", "%f3", [f(tiny), f(-0.5), 0], f(-tiny)),
        // (1 + 2^-12)^2 - 1 - 2^-11 is 2^-24, and 0 if the product is rounded first.
        (
            "fma.rn.f32 %f3, %f0, %f0, %f1;",
            "%f3",
            [f(1.0 + 1.0 / 4096.0), f(-1.0 - 1.0 / 2048.0), 0],
            f(1.0 / 16_777_216.0),
        ),
        ("fma.rn.sat.f32 %f3, %f0, %f0, %f1;", "%f3", [f(3.0), f(-20.0), 0], 0),
        ("add.sat.f32 %f3, %f0, %f1;", "%f3", [NAN, f(1.0), 0], 0),
        ("div.rn.f32 %f3, %f0, %f1;", "%f3", [f(1.0), f(3.0), 0], f(1.0 / 3.0)),
        ("div.full.f32 %f3, %f0, %f1;", "%f3", [f(1.0), f(0.0), 0], f(f32::INFINITY)),
        ("div.approx.f32 %f3, %f0, %f1;", "%f3", [f(2e38), f(1e38), 0], 0),
        ("div.approx.f32 %f3, %f0, %f1;", "%f3", [f(6.0), f(3.0), 0], f(2.0)),
        ("rcp.approx.f32 %f3, %f0;", "%f3", [f(4.0), 0, 0], f(0.25)),
        ("sqrt.rn.f32 %f3, %f0;", "%f3", [f(2.0), 0, 0], f(2.0f32.sqrt())),
        ("sqrt.approx.f32 %f3, %f0;", "%f3", [f(-1.0), 0, 0], NAN),
        ("rsqrt.approx.f32 %f3, %f0;", "%f3", [f(0.25), 0, 0], f(2.0)),
        ("ex2.approx.f32 %f3, %f0;", "%f3", [f(-3.0), 0, 0], f(0.125)),
        ("ex2.approx.f32 %f3, %f0;", "%f3", [f(128.0), 0, 0], f(f32::INFINITY)),
        ("ex2.approx.f32 %f3, %f0;", "%f3", [f(f32::NEG_INFINITY), 0, 0], 0),
        ("ex2.approx.f32 %f3, %f0;", "%f3", [f(-149.0), 0, 0], 1),
        ("ex2.approx.ftz.f32 %f3, %f0;", "%f3", [f(-149.0), 0, 0], 0),
        ("ex2.approx.f32 %f3, %f0;", "%f3", [NAN, 0, 0], NAN),
        ("lg2.approx.f32 %f3, %f0;", "%f3", [f(8.0), 0, 0], f(3.0)),
        ("lg2.approx.f32 %f3, %f0;", "%f3", [f(0.0), 0, 0], f(f32::NEG_INFINITY)),
        ("sin.approx.f32 %f3, %f0;", "%f3", [f(0.0), 0, 0], 0),
        ("cos.approx.f32 %f3, %f0;", "%f3", [f(0.0), 0, 0], f(1.0)),
        ("tanh.approx.f32 %f3, %f0;", "%f3", [f(100.0), 0, 0], f(1.0)),
        ("neg.f32 %f3, %f0;", "%f3", [f(0.0), 0, 0], f(-0.0)),
        ("abs.f32 %f3, %f0;", "%f3", [f(-2.0), 0, 0], f(2.0)),
        ("min.f32 %f3, %f0, %f1;", "%f3", [NAN, f(1.0), 0], f(1.0)),
        ("min.f32 %f3, %f0, %f1;", "%f3", [f(0.0), f(-0.0), 0], f(-0.0)),
        ("max.f32 %f3, %f0, %f1;", "%f3", [f(-0.0), f(0.0), 0], f(0.0)),
        ("max.NaN.f32 %f3, %f0, %f1;", "%f3", [f(1.0), NAN, 0], NAN),
        ("max.f32 %f3, %f0, %f1;", "%f3", [0xffc0_0000, NAN, 0], NAN),
        ("copysign.f32 %f3, %f0, %f1;", "%f3", [f(-1.0), f(5.0), 0], f(-5.0)),
        ("mov.f32 %f3, 0f3F800000;", "%f3", [0; 3], f(1.0)),
    ]);
}

#[test]
fn the_exponential_is_right_everywhere() {
    let inputs: Vec<[u64; 3]> = (0..1000).map(|it| [f(it as f32 * 0.2531 - 126.4), 0, 0]).collect();
    let got = evaluate("ex2.approx.f32 %f3, %f0;", "%f3", &inputs).unwrap();
    for (input, got) in inputs.iter().zip(got) {
        let x = f32::from_bits(input[0] as u32);
        let (want, got) = (f64::from(x).exp2(), f64::from(f32::from_bits(got as u32)));
        assert!((got / want - 1.0).abs() < 1.2e-7, "2^{x} = {got:e}, not {want:e}");
    }
}

#[test]
fn doubles_compute() {
    check(&[
        ("add.f64 %g3, %g0, %g1;", "%g3", [g(0.1), g(0.2), 0], g(0.1 + 0.2)),
        (
            "fma.rn.f64 %g3, %g0, %g1, %g2;",
            "%g3",
            [g(0.1), g(10.0), g(-1.0)],
            g(0.1f64.mul_add(10.0, -1.0)),
        ),
        ("div.rn.f64 %g3, %g0, %g1;", "%g3", [g(1.0), g(3.0), 0], g(1.0 / 3.0)),
        ("sqrt.rn.f64 %g3, %g0;", "%g3", [g(2.0), 0, 0], g(2f64.sqrt())),
        ("max.f64 %g3, %g0, %g1;", "%g3", [g(f64::NAN), g(2.0), 0], g(2.0)),
        ("neg.f64 %g3, %g0;", "%g3", [g(2.0), 0, 0], g(-2.0)),
        ("rcp.approx.ftz.f64 %g3, %g0;", "%g3", [g(4.0), 0, 0], g(0.25)),
        ("mov.f64 %g3, 0d3FF0000000000000;", "%g3", [0; 3], g(1.0)),
    ]);
}

#[test]
fn halves_compute_and_round_once() {
    check(&[
        // f16: 1 is 3c00; 1 + 2^-11 is a tie, 1 + 2^-11 + 2^-24 is not.
        ("add.f16 %h3, %h0, %h1;", "%h3", [0x3c00, 0x1000, 0], 0x3c00),
        ("add.f16 %h3, %h0, %h1;", "%h3", [0x3c00, 0x1001, 0], 0x3c01),
        ("fma.rn.f16 %h3, %h0, %h1, %h2;", "%h3", [0x3c00, 0x3c00, 0x1001], 0x3c01),
        // 65504 + 16 is a tie with infinity.
        ("add.f16 %h3, %h0, %h1;", "%h3", [0x7bff, 0x4c00, 0], 0x7c00),
        ("mul.f16 %h3, %h0, %h1;", "%h3", [0x0001, 0x3c00, 0], 0x0001),
        ("mul.f16 %h3, %h0, %h1;", "%h3", [0x7c00, 0x0000, 0], 0x7fff),
        ("sub.f16x2 %r3, %r0, %r1;", "%r3", [0x4000_3c00, 0x3c00_3c00, 0], 0x3c00_0000),
        (
            "fma.rn.f16x2 %r3, %r0, %r1, %r2;",
            "%r3",
            [0x4000_3c00, 0x4000_4000, 0x3c00_0000],
            0x4500_4000,
        ),
        ("fma.rn.bf16 %h3, %h0, %h1, %h2;", "%h3", [0x3f80, 0x4000, 0x3f80], 0x4040),
        (
            "fma.rn.bf16x2 %r3, %r0, %r1, %r2;",
            "%r3",
            [0x3f80_4000, 0x4000_4000, 0x3f80_0000],
            0x4040_4080,
        ),
        ("max.bf16x2 %r3, %r0, %r1;", "%r3", [0x7fc0_3f80, 0x4000_4000, 0], 0x4000_4000),
        ("min.NaN.f16 %h3, %h0, %h1;", "%h3", [0x7e00, 0x3c00, 0], 0x7fff),
        ("neg.bf16x2 %r3, %r0;", "%r3", [0x3f80_bf80, 0, 0], 0xbf80_3f80),
        ("abs.f16 %h3, %h0;", "%h3", [0xbc00, 0, 0], 0x3c00),
        ("ex2.approx.f16 %h3, %h0;", "%h3", [0x4000, 0, 0], 0x4400),
        ("tanh.approx.bf16 %h3, %h0;", "%h3", [0x4280, 0, 0], 0x3f80),
        ("fma.rn.relu.f16 %h3, %h0, %h1, %h2;", "%h3", [0xbc00, 0x3c00, 0], 0),
    ]);
}

#[test]
fn an_integer_division_by_zero_is_a_fault() {
    let fault = evaluate("div.s32 %r3, %r0, %r1;", "%r3", &[[1, 1, 0], [1, 0, 0]]).unwrap_err();
    assert_eq!((fault.kind, fault.thread), (FaultKind::Value, [1, 0, 0]), "{fault}");
}
