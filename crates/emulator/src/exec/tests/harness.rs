//! Small kernels as texts, and what they leave in memory.

use crate::counts::Counts;
use crate::exec::{Program, Shape, launch};
use crate::faults::Fault;
use crate::memory::Memory;

/// A module with one kernel `k(in, out, n)`.
pub(super) fn module(declarations: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n{declarations}\n\
         .visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n)\n{{\n\
         .reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<32>; .reg .b64 %x<32>; .reg .f32 %f<16>; .reg .f64 %g<16>;\n\
         ld.param.u64 %x30, [in]; ld.param.u64 %x31, [out]; ld.param.u32 %r31, [n];\n\
         mov.u32 %r30, %tid.x; mov.b16 %h0, 7; mov.u32 %r4, 0; setp.eq.u32 %p1, %r4, 1;\n{body}\nret;\n}}\n"
    )
}

/// What a launch left.
pub(super) struct Left {
    pub(super) out: Vec<u8>,
    pub(super) counts: Counts,
}

impl Left {
    /// The output as words.
    pub(super) fn words(&self) -> Vec<u32> {
        self.out.chunks_exact(4).map(|it| u32::from_le_bytes(it.try_into().unwrap())).collect()
    }
}

/// Launches `k` with `grid` blocks of `block` threads, on an input, and zeros in the output.
pub(super) fn run_on(
    text: &str,
    grid: u32,
    block: u32,
    input: &[u8],
    n_out: usize,
) -> Result<Left, Box<Fault>> {
    let mut memory = Memory::new(1 << 24);
    let program = Program::load(text, &mut memory).unwrap_or_else(|it| panic!("{it}"));
    let from = memory.allocate(input.len() as u64).unwrap();
    memory.write(from, input).unwrap();
    let to = memory.allocate(n_out as u64).unwrap();
    memory.set(to, &[0], n_out as u64).unwrap();
    let mut parameters = [from.to_le_bytes(), to.to_le_bytes()].concat();
    parameters.extend((input.len() as u32).to_le_bytes());
    let shape = Shape {
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        dynamic_shared: 0,
        dynamic_shared_limit: 48 << 10,
    };
    let counts = launch(&program, 0, &shape, &parameters, &mut memory)?;
    let mut out = vec![0; n_out];
    memory.read(to, &mut out).unwrap();
    Ok(Left { out, counts })
}

/// One block, an input of 4 KiB of bytes 0, 1, 2 ... 255, 0, ... and an output of 4 KiB.
pub(super) fn run(declarations: &str, body: &str, block: u32) -> Result<Left, Box<Fault>> {
    let input: Vec<u8> = (0..4096).map(|it| it as u8).collect();
    run_on(&module(declarations, body), 1, block, &input, 4096)
}

/// Runs instructions on three numbers for each thread: as 64 bits in `%x0..%x2`, their low 32 in `%r0..%r2` and
/// `%f0..%f2`, 16 in `%h0..%h2`, all of them as `%g0..%g2`. The result is what `result` holds.
pub(super) fn evaluate(
    text: &str,
    result: &str,
    inputs: &[[u64; 3]],
) -> Result<Vec<u64>, Box<Fault>> {
    let loads: String = (0..3)
        .map(|it| {
            format!(
                "ld.global.u64 %x{it}, [%x10+{}]; cvt.u32.u64 %r{it}, %x{it}; cvt.u16.u32 %h{it}, %r{it};\n\
                 mov.b32 %f{it}, %r{it}; mov.b64 %g{it}, %x{it};\n",
                8 * it
            )
        })
        .collect();
    let store = match &result[1..2] {
        "r" | "f" => format!("st.global.b32 [%x11], {result};"),
        "h" => format!("st.global.b16 [%x11], {result};"),
        "p" => format!("selp.b32 %r29, 1, 0, {result}; st.global.b32 [%x11], %r29;"),
        _ => format!("st.global.b64 [%x11], {result};"),
    };
    let body = format!(
        "mad.wide.u32 %x10, %r30, 24, %x30; mad.wide.u32 %x11, %r30, 8, %x31;\n{loads}{text}\n{store}"
    );
    let input: Vec<u8> = inputs.iter().flatten().flat_map(|it| it.to_le_bytes()).collect();
    let left = run_on(&module("", &body), 1, inputs.len() as u32, &input, 8 * inputs.len())?;
    Ok(left.out.chunks_exact(8).map(|it| u64::from_le_bytes(it.try_into().unwrap())).collect())
}

/// Checks instructions, with the register of their result, on sources and what they give.
#[track_caller]
pub(super) fn check(cases: &[(&str, &str, [u64; 3], u64)]) {
    for (text, result, sources, expected) in cases {
        let got =
            evaluate(text, result, &[*sources]).unwrap_or_else(|it| panic!("{text}: {it}"))[0];
        assert_eq!(got, *expected, "`{text}` of {sources:x?} is {got:#x}, not {expected:#x}");
    }
}

/// The bits of f32.
pub(super) fn f(x: f32) -> u64 {
    x.to_bits().into()
}

/// The bits of f64.
pub(super) fn g(x: f64) -> u64 {
    x.to_bits()
}
