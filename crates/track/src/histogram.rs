//! How numbers are distributed: how many lie in each of 64 ranges of the same width.
//!
//! Ranges are numpy's: from the least number to the greatest, each without its upper end but the last;
//! around a number that all are, half to each side. Numbers that are none are left out.

/// A distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The ends of the ranges, one more than there are ranges.
    pub edges: Vec<f64>,
    /// How many numbers lie in each.
    pub counts: Vec<u64>,
    /// The least and the greatest.
    pub extremes: [f64; 2],
    /// The sum, and that of the squares.
    pub sums: [f64; 2],
}

const N_RANGES: usize = 64;

impl Histogram {
    /// The distribution of some numbers; none of no numbers.
    pub fn of(numbers: &[f32]) -> Option<Histogram> {
        let numbers = || numbers.iter().filter(|it| it.is_finite()).map(|&it| f64::from(it));
        let least = numbers().reduce(f64::min)?;
        let greatest = numbers().reduce(f64::max)?;
        let (from, to) = match least == greatest {
            true => (least - 0.5, greatest + 0.5),
            false => (least, greatest),
        };
        let mut counts = vec![0; N_RANGES];
        let mut sums = [0.0; 2];
        let scale = N_RANGES as f64 / (to - from);
        for it in numbers() {
            counts[((it - from) * scale).min(N_RANGES as f64 - 1.0) as usize] += 1;
            sums[0] += it;
            sums[1] += it * it;
        }
        let edge = |idx: usize| from + (to - from) * idx as f64 / N_RANGES as f64;
        let edges = (0..=N_RANGES).map(edge).collect();
        Some(Histogram { edges, counts, extremes: [least, greatest], sums })
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn every_number_is_in_its_range() {
        // 0, 1, ..., 64: one in each range, and the greatest with the one before it.
        let numbers: Vec<f32> = (0..=64).map(|it| it as f32).collect();
        let histogram = Histogram::of(&numbers).unwrap();
        assert_eq!(histogram.counts[..63], [1; 63]);
        assert_eq!(histogram.counts[63], 2);
        assert_eq!((histogram.edges[0], histogram.edges[64]), (0.0, 64.0));
        assert_eq!(histogram.sums, [2080.0, 89_440.0]);
    }

    #[test]
    fn equal_numbers_and_none_at_all_are_no_harm() {
        let histogram = Histogram::of(&[2.0, f32::NAN, 2.0]).unwrap();
        assert_eq!((histogram.edges[0], histogram.edges[64]), (1.5, 2.5));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 2);
        assert_eq!(Histogram::of(&[f32::INFINITY]), None);
    }
}
