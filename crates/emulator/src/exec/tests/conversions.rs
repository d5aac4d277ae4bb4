//! `cvt` and `cvta`.

use super::harness::{check, f, g, run};

#[test]
fn integers_convert() {
    check(&[
        ("cvt.u32.u16 %r3, %h0;", "%r3", [0xffff, 0, 0], 0xffff),
        ("cvt.s32.s16 %r3, %h0;", "%r3", [0xffff, 0, 0], 0xffff_ffff),
        ("cvt.s32.s8 %r3, %r0;", "%r3", [0x80, 0, 0], 0xffff_ff80),
        ("cvt.u32.u8 %r3, %r0;", "%r3", [0x1ff, 0, 0], 0xff),
        ("cvt.s16.s8 %h3, %h0;", "%h3", [0x80, 0, 0], 0xff80),
        ("cvt.u16.u32 %h3, %r0;", "%h3", [0x1_2345, 0, 0], 0x2345),
        ("cvt.s64.s32 %x3, %r0;", "%x3", [0x8000_0000, 0, 0], 0xffff_ffff_8000_0000),
        ("cvt.u64.u32 %x3, %r0;", "%x3", [0x8000_0000, 0, 0], 0x8000_0000),
        ("cvt.u64.u16 %x3, %h0;", "%x3", [0x8000, 0, 0], 0x8000),
        ("cvt.u32.u64 %r3, %x0;", "%r3", [0x1_0000_0005, 0, 0], 5),
        ("cvt.sat.u8.s32 %r3, %r0;", "%r3", [300, 0, 0], 255),
        ("cvt.sat.u8.s32 %r3, %r0;", "%r3", [-3i32 as u32 as u64, 0, 0], 0),
        ("cvt.sat.s32.s64 %r3, %x0;", "%r3", [1 << 40, 0, 0], 0x7fff_ffff),
    ]);
}

#[test]
fn integers_and_floats_convert() {
    check(&[
        ("cvt.rn.f32.s32 %f3, %r0;", "%f3", [-3i32 as u32 as u64, 0, 0], f(-3.0)),
        ("cvt.rn.f32.u32 %f3, %r0;", "%f3", [0xffff_ffff, 0, 0], f(4_294_967_296.0)),
        ("cvt.rz.f32.u32 %f3, %r0;", "%f3", [0xffff_ffff, 0, 0], f(4_294_967_040.0)),
        // 2^24 + 1 is a tie.
        ("cvt.rn.f32.s32 %f3, %r0;", "%f3", [16_777_217, 0, 0], f(16_777_216.0)),
        ("cvt.rp.f32.s32 %f3, %r0;", "%f3", [16_777_217, 0, 0], f(16_777_218.0)),
        ("cvt.rn.f32.u8 %f3, %h0;", "%f3", [0x1ff, 0, 0], f(255.0)),
        // Above a tie by 1 in 2^60: f64 alone would round to it.
        (
            "cvt.rn.f32.u64 %f3, %x0;",
            "%f3",
            [(1 << 60) + (1 << 36) + 1, 0, 0],
            f((1u64 << 60) as f32 + (1u64 << 37) as f32),
        ),
        ("cvt.rn.f64.s64 %g3, %x0;", "%g3", [-5i64 as u64, 0, 0], g(-5.0)),
        ("cvt.rzi.s32.f32 %r3, %f0;", "%r3", [f(-2.7), 0, 0], -2i32 as u32 as u64),
        ("cvt.rni.s32.f32 %r3, %f0;", "%r3", [f(2.5), 0, 0], 2),
        ("cvt.rmi.s32.f32 %r3, %f0;", "%r3", [f(-2.1), 0, 0], -3i32 as u32 as u64),
        ("cvt.rpi.s32.f32 %r3, %f0;", "%r3", [f(2.1), 0, 0], 3),
        ("cvt.rzi.s32.f32 %r3, %f0;", "%r3", [f(1e20), 0, 0], 0x7fff_ffff),
        ("cvt.rzi.u32.f32 %r3, %f0;", "%r3", [f(-5.0), 0, 0], 0),
        ("cvt.rzi.u32.f32 %r3, %f0;", "%r3", [f(f32::NAN), 0, 0], 0),
        ("cvt.rni.sat.u8.f32 %r3, %f0;", "%r3", [f(254.5), 0, 0], 254),
        ("cvt.rzi.s64.f64 %x3, %g0;", "%x3", [g(-1e15), 0, 0], -1_000_000_000_000_000i64 as u64),
        ("cvt.rni.f32.f32 %f3, %f0;", "%f3", [f(2.5), 0, 0], f(2.0)),
        ("cvt.rmi.f32.f32 %f3, %f0;", "%f3", [f(-0.5), 0, 0], f(-1.0)),
        ("cvt.sat.f32.f32 %f3, %f0;", "%f3", [f(7.0), 0, 0], f(1.0)),
    ]);
}

#[test]
fn floats_of_all_widths_convert() {
    check(&[
        ("cvt.f64.f32 %g3, %f0;", "%g3", [f(0.1), 0, 0], g(f64::from(0.1f32))),
        ("cvt.rn.f32.f64 %f3, %g0;", "%f3", [g(0.1), 0, 0], f(0.1)),
        ("cvt.rz.f32.f64 %f3, %g0;", "%f3", [g(1.0 - 1e-12), 0, 0], f(1.0f32.next_down())),
        ("cvt.rn.f32.f64 %f3, %g0;", "%f3", [g(1e300), 0, 0], f(f32::INFINITY)),
        ("cvt.f32.f16 %f3, %h0;", "%f3", [0x0001, 0, 0], f(2f32.powi(-24))),
        ("cvt.f32.f16 %f3, %h0;", "%f3", [0xfc00, 0, 0], f(f32::NEG_INFINITY)),
        ("cvt.f32.f16 %f3, %h0;", "%f3", [0x7e00, 0, 0], 0x7fff_ffff),
        ("cvt.f32.bf16 %f3, %h0;", "%f3", [0x3fc0, 0, 0], f(1.5)),
        ("cvt.rn.f16.f32 %h3, %f0;", "%h3", [f(65520.0), 0, 0], 0x7c00),
        ("cvt.rz.f16.f32 %h3, %f0;", "%h3", [f(65520.0), 0, 0], 0x7bff),
        // Half of the smallest subnormal is a tie with 0; a little more is not.
        ("cvt.rn.f16.f32 %h3, %f0;", "%h3", [f(2f32.powi(-25)), 0, 0], 0),
        ("cvt.rn.f16.f32 %h3, %f0;", "%h3", [f(2f32.powi(-25) * 1.0001), 0, 0], 1),
        (
            "cvt.rn.f16.f64 %h3, %g0;",
            "%h3",
            [g(1.0 + 2f64.powi(-11) + 2f64.powi(-40)), 0, 0],
            0x3c01,
        ),
        ("cvt.rn.bf16.f32 %h3, %f0;", "%h3", [0x3f80_8000, 0, 0], 0x3f80),
        ("cvt.rn.bf16.f32 %h3, %f0;", "%h3", [0x3f80_8001, 0, 0], 0x3f81),
        ("cvt.rn.bf16.f32 %h3, %f0;", "%h3", [0x7fff_ffff, 0, 0], 0x7fff),
        ("cvt.rn.bf16.f32 %h3, %f0;", "%h3", [0x7f7f_ffff, 0, 0], 0x7f80),
        ("cvt.rz.bf16.f32 %h3, %f0;", "%h3", [0x3f80_ffff, 0, 0], 0x3f80),
        ("cvt.rn.relu.bf16.f32 %h3, %f0;", "%h3", [f(-1.0), 0, 0], 0),
        // The first source is the high half.
        ("cvt.rn.bf16x2.f32 %r3, %f0, %f1;", "%r3", [f(1.0), f(2.0), 0], 0x3f80_4000),
        ("cvt.rn.f16x2.f32 %r3, %f0, %f1;", "%r3", [f(1.0), f(2.0), 0], 0x3c00_4000),
        ("cvt.rn.f16.s32 %h3, %r0;", "%h3", [2049, 0, 0], 0x6800),
        ("cvt.rzi.s32.f16 %r3, %h0;", "%r3", [0xc100, 0, 0], -2i32 as u32 as u64),
    ]);
}

#[test]
fn generic_addresses_find_their_space() {
    // A shared, a local and a global address through the same load.
    let body = "
        .local .align 4 .b8 depot[8];
        mov.u64 %x0, depot; cvta.local.u64 %x1, %x0; st.local.u32 [%x0+4], 7; ld.u32 %r0, [%x1+4];
        mov.u32 %r1, tile; cvt.u64.u32 %x2, %r1; cvta.shared.u64 %x3, %x2; st.u32 [%x3], 8; ld.shared.u32 %r2, [tile];
        cvta.to.shared.u64 %x4, %x3; ld.shared.u32 %r3, [%x4];
        cvta.to.global.u64 %x5, %x30; ld.u32 %r4, [%x5]; ld.const.u32 %r5, [table+4]; ld.global.u32 %r6, [number];
        st.global.v4.u32 [%x31], {%r0, %r2, %r3, %r4}; st.global.v2.u32 [%x31+16], {%r5, %r6};";
    let declarations = ".shared .align 4 .b8 tile[4];\n.const .align 4 .u32 table[3] = {5, 6};\n.global .u32 number = 0x9;";
    let left = run(declarations, body, 1).unwrap();
    assert_eq!(left.words()[..6], [7, 8, 8, 0x0302_0100, 6, 9]);
}
