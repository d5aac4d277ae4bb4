//! Matrices, asynchronous copies and counts.

use super::harness::{module, run, run_on};
use crate::faults::FaultKind;
use half::{bf16, f16};

/// A is 16 x 16 and B is 16 x 8, of small whole numbers, so that all sums are exact.
fn product(kind: &str, number: fn(f32) -> u16, k: usize) {
    let a = |i: usize, k: usize| ((i * 7 + k * 3) % 11) as f32 - 5.0;
    let b = |k: usize, j: usize| ((k * 5 + j * 2) % 7) as f32 - 3.0;
    // Rows of A, then columns of B, as the registers want them.
    let mut input = Vec::new();
    (0..16).for_each(|i| (0..k).for_each(|it| input.extend(number(a(i, it)).to_le_bytes())));
    (0..8).for_each(|j| (0..k).for_each(|it| input.extend(number(b(it, j)).to_le_bytes())));
    let two_k = 2 * k;
    let (b_at, half) = (16 * two_k, 8 * two_k);
    let registers =
        if k == 16 { "{%r10, %r11, %r12, %r13}, {%r14, %r15}" } else { "{%r10, %r11}, {%r14}" };
    let far = if k == 16 {
        format!(
            "ld.global.u32 %r12, [%x1+16]; ld.global.u32 %r13, [%x1+{}]; ld.global.u32 %r15, [%x1+{}];",
            half + 16,
            b_at + 16
        )
    } else {
        String::new()
    };
    let body = format!(
        "shr.u32 %r0, %r30, 2; and.b32 %r1, %r30, 3;
         mad.wide.u32 %x0, %r0, {two_k}, %x30; mad.wide.u32 %x1, %r1, 4, %x0;
         ld.global.u32 %r10, [%x1]; ld.global.u32 %r11, [%x1+{half}]; ld.global.u32 %r14, [%x1+{b_at}]; {far}
         mov.f32 %f0, 0f3F800000; mov.f32 %f1, 0f00000000;
         mma.sync.aligned.m16n8k{k}.row.col.f32.{kind}.{kind}.f32 {{%f2, %f3, %f4, %f5}}, {registers}, {{%f0, %f1, %f1, %f1}};
         mad.wide.u32 %x2, %r0, 32, %x31; mad.wide.u32 %x3, %r1, 8, %x2;
         st.global.v2.f32 [%x3], {{%f2, %f3}}; st.global.v2.f32 [%x3+256], {{%f4, %f5}};"
    );
    let left =
        run_on(&module("", &body), 1, 32, &input, 16 * 8 * 4).unwrap_or_else(|it| panic!("{it}"));
    for (at, got) in left.words().into_iter().enumerate() {
        let (i, j) = (at / 8, at % 8);
        let sum: f32 = (0..k).map(|it| a(i, it) * b(it, j)).sum();
        let plus = if i < 8 && j % 2 == 0 { 1.0 } else { 0.0 };
        assert_eq!(f32::from_bits(got), sum + plus, "{kind}, row {i}, column {j}");
    }
    assert_eq!((left.counts.mma, left.counts.mma_products), (1, 16 * 8 * k as u64));
}

#[test]
fn matrix_products_are_those_of_their_layout() {
    product("bf16", |it| bf16::from_f32(it).to_bits(), 16);
    product("f16", |it| f16::from_f32(it).to_bits(), 16);
    product("f16", |it| f16::from_f32(it).to_bits(), 8);
    product("bf16", |it| bf16::from_f32(it).to_bits(), 8);
}

/// Shared memory gets the input's first 512 bytes, 16 a thread: four matrices of 8 rows of 16 bytes.
const FILL: &str = "
    mov.u32 %r0, tile; shl.b32 %r1, %r30, 4; add.u32 %r2, %r0, %r1; mad.wide.u32 %x0, %r30, 16, %x30;
    ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%x0]; st.shared.v4.u32 [%r2], {%r3, %r4, %r5, %r6};";
const TILE: &str = ".shared .align 16 .b8 tile[512];";

#[test]
fn matrices_are_loaded_by_rows_or_columns() {
    let input: Vec<u8> = (0..256u16).flat_map(u16::to_le_bytes).collect();
    let load = |modifiers: &str| {
        let body = format!(
            "{FILL} bar.sync 0; ldmatrix.sync.aligned.m8n8.x4{modifiers}.shared.b16 {{%r10, %r11, %r12, %r13}}, [%r2];
             mad.wide.u32 %x1, %r30, 16, %x31; st.global.v4.u32 [%x1], {{%r10, %r11, %r12, %r13}};"
        );
        run_on(&module(TILE, &body), 1, 32, &input, 512).unwrap_or_else(|it| panic!("{it}"))
    };
    let (rows, columns) = (load(""), load(".trans"));
    for lane in 0..32u32 {
        for matrix in 0..4u32 {
            let at = (lane * 4 + matrix) as usize;
            let (line, column) = (lane / 4, lane % 4 * 2);
            let number = |i: u32, j: u32| matrix * 64 + i * 8 + j;
            assert_eq!(rows.words()[at], number(line, column) | number(line, column + 1) << 16);
            assert_eq!(columns.words()[at], number(column, line) | number(column + 1, line) << 16);
        }
    }
    assert_eq!(rows.counts.bank_conflicts, 0);
    // Not the whole warp.
    let part = format!(
        "{FILL} bar.sync 0; setp.lt.u32 %p0, %r30, 8; @%p0 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r10}}, [%r2];"
    );
    assert_eq!(run(TILE, &part, 32).err().map(|it| it.kind), Some(FaultKind::WarpSync));
    // Without the barrier, lanes read the rows that others wrote; the address is each lane's own, so this is none.
    run(TILE, &format!("{FILL} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r10}}, [%r2];"), 32)
        .unwrap();
}

const COPY: &str = "
    mov.u32 %r0, tile; shl.b32 %r1, %r30, 4; add.u32 %r2, %r0, %r1; mad.wide.u32 %x0, %r30, 16, %x30;
    cp.async.cg.shared.global [%r2], [%x0], 16;";
const READ: &str = "
    ld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%r2]; mad.wide.u32 %x1, %r30, 16, %x31; st.global.v4.u32 [%x1], {%r3, %r4, %r5, %r6};";

#[test]
fn asynchronous_copies_arrive_when_waited_for() {
    let input: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let left =
        run(TILE, &format!("{COPY} cp.async.commit_group; cp.async.wait_group 0; {READ}"), 32)
            .unwrap();
    assert_eq!(left.out[..512], input[..512]);
    let left = run(TILE, &format!("{COPY} cp.async.wait_all; {READ}"), 32).unwrap();
    assert_eq!(left.out[..512], input[..512]);
    // Zeros behind the bytes that are asked for; with none the source is not read.
    let partial = COPY.replace(", 16;", ", 16, %r7;").replace(
        "cp.async.cg",
        "setp.lt.u32 %p0, %r30, 4; selp.u32 %r7, 4, 0, %p0; selp.u64 %x0, %x0, 0, %p0; cp.async.cg",
    );
    let left = run(TILE, &format!("{partial} cp.async.wait_all; {READ}"), 32).unwrap();
    assert_eq!(left.out[48..64], [48, 49, 50, 51, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(left.out[64..512], [0; 448]);
}

#[test]
fn asynchronous_copies_are_checked() {
    let kind = |body: &str| run(TILE, body, 32).err().map(|it| it.kind);
    // No wait, a wait that lets the newest group be, and no group at all.
    assert_eq!(
        kind(&format!("{COPY} cp.async.commit_group; {READ}")),
        Some(FaultKind::NeverWritten)
    );
    assert_eq!(
        kind(&format!("{COPY} cp.async.commit_group; cp.async.wait_group 1; {READ}")),
        Some(FaultKind::NeverWritten)
    );
    assert_eq!(
        kind(&format!("{COPY} cp.async.wait_group 0; {READ}")),
        Some(FaultKind::NeverWritten)
    );
    // A wait is no barrier: another thread's copy is not there.
    let other = READ.replace("ld.shared", "xor.b32 %r1, %r1, 16; add.u32 %r2, %r0, %r1; ld.shared");
    assert_eq!(kind(&format!("{COPY} cp.async.wait_all; {other}")), Some(FaultKind::Race));
    assert_eq!(kind(&format!("{COPY} cp.async.wait_all; bar.sync 0; {other}")), None);
    assert_eq!(kind(&COPY.replace("[%x0]", "[%x0+8]")), Some(FaultKind::Misaligned));
    assert_eq!(kind(&COPY.replace("[%x0]", "[%x0+4096]")), Some(FaultKind::OutOfBounds));
}

#[test]
fn traffic_is_counted() {
    let load = |body: &str| run("", body, 32).unwrap().counts;
    let row = load("mad.wide.u32 %x0, %r30, 4, %x30; ld.global.u32 %r0, [%x0];");
    assert_eq!((row.global_read, row.global_sectors, row.global_sectors_least), (128, 4, 4));
    let apart = load("mad.wide.u32 %x0, %r30, 64, %x30; ld.global.u32 %r0, [%x0];");
    assert_eq!((apart.global_read, apart.global_sectors, apart.global_sectors_least), (128, 32, 4));
    let same = load("ld.global.u32 %r0, [%x30];");
    assert_eq!((same.global_read, same.global_sectors, same.global_sectors_least), (128, 1, 1));
    let wide =
        load("mad.wide.u32 %x0, %r30, 16, %x30; ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%x0];");
    assert_eq!(
        (wide.global_read, wide.global_sectors, wide.global_by_width),
        (512, 16, [0, 0, 0, 0, 32])
    );
    // Memory delivers a byte once, however many lanes read it, and not what the launch has written.
    assert_eq!(
        [row, apart, same].map(|it| (it.memory_read, it.memory_written)),
        [(128, 0), (128, 0), (4, 0)]
    );
    let halves =
        "mad.wide.u32 %x0, %r30, 16, %x31; ld.global.u32 %r0, [%x0]; ld.global.u16 %h1, [%x0+2];
                  ld.global.u16 %h2, [%x0+4]; st.global.u32 [%x0], 1; ld.global.u32 %r1, [%x0];
                  st.global.u32 [%x0], 2; st.global.u32 [%x0+8], 3; ld.global.u32 %r2, [%x0+8];";
    let halves = load(halves);
    assert_eq!((halves.memory_read, halves.memory_written), (32 * 6, 32 * 8));
    let sum = load("atom.global.add.u32 %r0, [%x31], 1;");
    assert_eq!((sum.memory_read, sum.memory_written), (4, 4));
    let store = |step: u32| {
        let body = format!(
            "mov.u32 %r0, tile; mad.lo.u32 %r1, %r30, {step}, %r0; st.shared.u32 [%r1], 1;"
        );
        run(".shared .align 4 .b8 tile[4096];", &body, 32).unwrap().counts.bank_conflicts
    };
    // Side by side; every other bank; all in one bank; 33 words apart, which is free of conflicts.
    assert_eq!([store(4), store(8), store(128), store(124)], [0, 1, 31, 0]);
}
