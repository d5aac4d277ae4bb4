//! Pseudo-random numbers shared by Rust and the golden scripts, so that golden files need no inputs.
//!
//! number_i = 2 · (mix(fnv1a(name) + i) >> 11) / 2^53 - 1, in -1..1, where `mix` is the finaliser
//! of SplitMix64. `tests/golden/shared_numbers.py` implements the same formula in numpy.

/// The first `n` numbers of the sequence called `name`, uniform in -1..1.
pub fn numbers(name: &str, n: usize) -> Vec<f64> {
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let number = |idx: u64| {
        let mut z = start.wrapping_add(idx.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..n as u64).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn are_centred_and_spread() {
        let xs = numbers("test", 10_000);
        let mean = xs.iter().sum::<f64>() / 1e4;
        let square = xs.iter().map(|x| x * x).sum::<f64>() / 1e4;
        // Uniform in -1..1: mean 0 and mean square 1/3, each to three standard errors.
        assert!(mean.abs() < 0.018 && (square - 1.0 / 3.0).abs() < 0.009, "{mean} {square}");
    }
}
