//! Histograms: the counts of values in 64 bins of equal width.
//!
//! Bins are those of `numpy.histogram`: from the minimum to the maximum, half-open except the last; if all
//! values are equal, 0.5 to each side of them. Values that are not finite are left out.

/// A histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The bin edges, one more than there are bins.
    pub edges: Vec<f64>,
    /// The number of values in each bin.
    pub counts: Vec<u64>,
    /// The minimum and the maximum.
    pub extremes: [f64; 2],
    /// The sum of the values, and the sum of their squares.
    pub sums: [f64; 2],
}

const N_BINS: usize = 64;

impl Histogram {
    /// Returns the histogram of values; `None` if none is finite.
    pub fn of(numbers: &[f32]) -> Option<Histogram> {
        let numbers = || numbers.iter().filter(|it| it.is_finite()).map(|&it| f64::from(it));
        let least = numbers().reduce(f64::min)?;
        let greatest = numbers().reduce(f64::max)?;
        let (from, to) = match least == greatest {
            true => (least - 0.5, greatest + 0.5),
            false => (least, greatest),
        };
        let mut counts = vec![0; N_BINS];
        let mut sums = [0.0; 2];
        let scale = N_BINS as f64 / (to - from);
        for it in numbers() {
            counts[((it - from) * scale).min(N_BINS as f64 - 1.0) as usize] += 1;
            sums[0] += it;
            sums[1] += it * it;
        }
        let edge = |idx: usize| from + (to - from) * idx as f64 / N_BINS as f64;
        let edges = (0..=N_BINS).map(edge).collect();
        Some(Histogram { edges, counts, extremes: [least, greatest], sums })
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn values_are_counted_in_their_bins() {
        // 0, 1, ..., 64: one in each bin, and the maximum in the last with the one before it.
        let numbers: Vec<f32> = (0..=64).map(|it| it as f32).collect();
        let histogram = Histogram::of(&numbers).unwrap();
        assert_eq!(histogram.counts[..63], [1; 63]);
        assert_eq!(histogram.counts[63], 2);
        assert_eq!((histogram.edges[0], histogram.edges[64]), (0.0, 64.0));
        assert_eq!(histogram.sums, [2080.0, 89_440.0]);
    }

    #[test]
    fn constant_and_non_finite_values_are_handled() {
        let histogram = Histogram::of(&[2.0, f32::NAN, 2.0]).unwrap();
        assert_eq!((histogram.edges[0], histogram.edges[64]), (1.5, 2.5));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 2);
        assert_eq!(Histogram::of(&[f32::INFINITY]), None);
    }
}
