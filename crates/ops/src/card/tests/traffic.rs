//! The bytes that a training step of EfficientNet's block moves, as the emulator counts them, against the least of the
//! design.
//!
//! Norms, activations and gates are fused into the kernels that read or write a tensor anyway, so the least is that each
//! kernel moves each of its maps once. What is moved besides are partial sums, and the statistics made of them: those of
//! the depthwise kernel's backward pass (a sum of each tap for each tile of an image) and of the gate (five for 64 rows)
//! are the largest, and do not shrink with the batch.

use candle::Result;
use gpu::Storage;

use super::{
    harness::{Params, on_emulator, step},
    networks::inverted_residual,
};
use crate::{Pass, Value};

const DIMS: [usize; 4] = [2, 14, 14, 32];
const WIDE: usize = 192;
const SQUEEZED: usize = 8;

/// What a group of kernels must move.
struct Least {
    /// How their names begin.
    kernels: &'static [&'static str],
    /// Maps of the block's channels, and of the expanded ones.
    maps: [usize; 2],
    /// Bytes of weights and their gradients.
    weights: usize,
}

/// - Products: x and z1; z2 and z3; for the weights of the second g and z2, of the first g1, z1 and x; for the inputs of
///   the second g, z2 and g2, of the first g1, z1, what is added and the result.
/// - Depthwise: z1 and z2; then g2, z2, z1 and g1.
/// - The others: the mean of z2; z3, x and their sum; the norm's sums of g and z3, and the gradient made of these.
///
/// A weight is read twice in bf16, and its gradient written in f32.
const LEAST: [Least; 3] = [
    Least {
        kernels: &["product_", "few_"],
        maps: [7, 9],
        weights: 2 * 8 * WIDE * (DIMS[3] + SQUEEZED),
    },
    Least { kernels: &["depthwise"], maps: [0, 6], weights: 8 * 9 * WIDE },
    Least {
        kernels: &["image_sums", "combine", "norm_sums", "gradient"],
        maps: [8, 1],
        weights: 0,
    },
];

#[test]
fn a_block_of_efficientnet_moves_little_more_than_it_must() -> Result<()> {
    let block =
        |p: &Params, xs: &Value, pass: &Pass<'_>| inverted_residual(p, xs, [WIDE, SQUEEZED], pass);
    on_emulator(Storage::Bf16, true, |card, claim| {
        let params = Params::default();
        step(Some(card), &params, &block, &DIMS)?;
        claim.clear();
        let meter = step(Some(card), &params, &block, &DIMS)?.meter.unwrap_or_default();
        let counted = claim.counts_of_families();
        let rows: usize = DIMS[..3].iter().product();
        let (mut all, mut least_of_all, mut table) = (0, 0, String::new());
        for Least { kernels, maps, weights } in LEAST {
            let least = 2 * rows * (maps[0] * DIMS[3] + maps[1] * WIDE) + weights;
            let of = |name: &str| kernels.iter().any(|it| name.starts_with(it));
            let found = counted.iter().filter(|(name, _)| of(name));
            let bytes: u64 = found.map(|(_, it)| it.memory()).sum();
            table += &format!("{kernels:?}: {bytes} bytes, at least {least}\n");
            assert!(bytes >= least as u64, "what a kernel must read is not counted:\n{table}");
            assert!(bytes as f64 <= 1.06 * least as f64, "more than the design needs:\n{table}");
            all += bytes;
            least_of_all += least;
        }
        let total: u64 = counted.values().map(|it| it.memory()).sum();
        table += &format!("the rest: {} of {total} bytes\n", total - all);
        assert!(total as f64 <= 1.09 * least_of_all as f64, "{table}");

        // The functions that launch the kernels state as much, but for the partial sums.
        let stated = meter.bytes() as f64 / total as f64;
        assert!((0.9..=1.0).contains(&stated), "{stated:.3} of the bytes are stated:\n{table}");
        assert_eq!(meter.launches(), counted.values().map(|it| it.launches).sum::<u64>());
        Ok(())
    })
}
