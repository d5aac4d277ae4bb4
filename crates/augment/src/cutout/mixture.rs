//! A Gaussian mixture of colours.
//!
//! As in GrabCut, a pixel belongs to its most likely component only.
//! The initial components come from repeatedly splitting the group of colours with the largest variance in a
//! channel at the mean of that channel: similar to median cut, and deterministic, where others start from a
//! random k-means.

/// The number of Gaussians, as in the paper.
const N: usize = 5;

/// Added to each variance, so that a uniform colour has one: that of rounding, and a little noise.
const LEAST_VARIANCE: f64 = 2.0;

/// A mixture of Gaussians.
pub(super) struct Mixture {
    components: Vec<Component>,
}

struct Component {
    mean: [f32; 3],
    /// Half the inverse covariance: its elements rr, gg, bb, and twice its elements rg, rb, gb.
    quadratic: [f32; 6],
    /// The cost at the mean.
    offset: f32,
}

impl Mixture {
    /// Fits the initial mixture to colours: at least one.
    pub(super) fn of(colours: &[[u8; 3]]) -> Mixture {
        let mut groups = vec![colours.to_vec()];
        while groups.len() < N {
            let spreads = groups.iter().map(|it| Moments::of(it).widest());
            let (widest, (spread, channel, mean)) = spreads
                .enumerate()
                .max_by(|a, b| a.1.0.total_cmp(&b.1.0).then(b.0.cmp(&a.0)))
                .expect("there is at least one group");
            if spread <= LEAST_VARIANCE {
                break;
            }
            let group = groups.swap_remove(widest);
            groups.extend(<[_; 2]>::from(
                group.into_iter().partition::<Vec<_>, _>(|it| f64::from(it[channel]) <= mean),
            ));
        }
        Mixture::of_groups(&groups, colours.len())
    }

    /// Refits the mixture after assigning each colour to its most likely component.
    pub(super) fn refined(&self, colours: &[[u8; 3]]) -> Mixture {
        let mut groups = vec![Vec::new(); self.components.len()];
        for &colour in colours {
            groups[self.best(colour).0].push(colour);
        }
        Mixture::of_groups(&groups, colours.len())
    }

    fn of_groups(groups: &[Vec<[u8; 3]>], n: usize) -> Mixture {
        let groups = groups.iter().filter(|it| !it.is_empty());
        let components = groups.map(|it| Moments::of(it).component(n)).collect();
        Mixture { components }
    }

    /// -ln of the density at a colour, up to a constant.
    pub(super) fn cost(&self, colour: [u8; 3]) -> f32 {
        self.best(colour).1
    }

    fn best(&self, colour: [u8; 3]) -> (usize, f32) {
        let mut best = (0, f32::INFINITY);
        for (idx, it) in self.components.iter().enumerate() {
            let [r, g, b]: [f32; 3] =
                std::array::from_fn(|channel| f32::from(colour[channel]) - it.mean[channel]);
            let [rr, gg, bb, rg, rb, gb] = it.quadratic;
            let cost =
                it.offset + r * (rr * r + rg * g + rb * b) + g * (gg * g + gb * b) + bb * b * b;
            if cost < best.1 {
                best = (idx, cost);
            }
        }
        best
    }
}

/// The number of colours, their mean, and the covariances rr, gg, bb, rg, rb, gb.
struct Moments {
    n: usize,
    mean: [f64; 3],
    covariance: [f64; 6],
}

impl Moments {
    fn of(colours: &[[u8; 3]]) -> Moments {
        // In integers, so the difference of large sums is exact.
        let (mut sums, mut products) = ([0_i64; 3], [0_i64; 6]);
        for it in colours {
            let [r, g, b] = it.map(i64::from);
            for (sum, x) in sums.iter_mut().zip([r, g, b]) {
                *sum += x;
            }
            for (product, x) in products.iter_mut().zip([r * r, g * g, b * b, r * g, r * b, g * b])
            {
                *product += x;
            }
        }
        let n = colours.len();
        let mean = sums.map(|it| it as f64 / n as f64);
        let pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)];
        let covariance = std::array::from_fn(|it| {
            let (a, b) = pairs[it];
            products[it] as f64 / n as f64 - mean[a] * mean[b]
        });
        Moments { n, mean, covariance }
    }

    /// The largest variance, its channel, and the mean of that channel.
    fn widest(&self) -> (f64, usize, f64) {
        let mut widest = 0;
        for channel in 1..3 {
            if self.covariance[channel] > self.covariance[widest] {
                widest = channel;
            }
        }
        (self.covariance[widest], widest, self.mean[widest])
    }

    /// The Gaussian of these colours, which are a part of `n`.
    fn component(&self, n: usize) -> Component {
        let [rr, gg, bb, rg, rb, gb] = self.covariance;
        let [rr, gg, bb] = [rr, gg, bb].map(|it| it + LEAST_VARIANCE);
        // The inverse by cofactors.
        let (c_rr, c_rg, c_rb) = (gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - gg * rb);
        let (c_gg, c_bb, c_gb) = (rr * bb - rb * rb, rr * gg - rg * rg, rg * rb - rr * gb);
        let determinant = rr * c_rr + rg * c_rg + rb * c_rb;
        let half = 0.5 / determinant;
        let quadratic = [
            c_rr * half,
            c_gg * half,
            c_bb * half,
            2.0 * c_rg * half,
            2.0 * c_rb * half,
            2.0 * c_gb * half,
        ];
        let share = self.n as f64 / n as f64;
        Component {
            mean: self.mean.map(|it| it as f32),
            quadratic: quadratic.map(|it| it as f32),
            offset: (0.5 * libm::log(determinant) - libm::log(share)) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mixture;

    #[test]
    fn a_colour_of_the_mixture_is_likelier_than_another() {
        let colours: Vec<[u8; 3]> = (0..90)
            .map(|it| [[200, it % 7, 9], [10, 200 + it % 5, 90]][usize::from(it % 2)])
            .collect();
        let first = Mixture::of(&colours);
        for mixture in [first.refined(&colours), first] {
            for near in [[200, 3, 9], [10, 202, 90]] {
                for far in [[105, 100, 50], [0, 0, 0], [200, 202, 9]] {
                    assert!(mixture.cost(near) + 10.0 < mixture.cost(far), "{near:?} {far:?}");
                }
            }
        }
    }

    #[test]
    fn the_cost_of_one_gaussian_follows_the_formula() {
        // Variances 1 + 2, no covariance: ½ ln 27 at the mean, and ½ 4/3 more at a distance of two.
        let colours = [[1, 1, 1], [3, 3, 1], [1, 3, 3], [3, 1, 3]];
        let mixture = Mixture::of(&colours);
        let at_mean = 0.5 * 27_f32.ln();
        assert!((mixture.cost([2, 2, 2]) - at_mean).abs() < 1e-5);
        assert!((mixture.cost([4, 2, 2]) - at_mean - 2.0 / 3.0).abs() < 1e-5);
    }

    #[test]
    fn a_single_colour_is_a_mixture() {
        let mixture = Mixture::of(&[[7, 7, 7]]);
        assert!(mixture.cost([7, 7, 7]).is_finite() && mixture.cost([0, 255, 0]).is_finite());
    }
}
