//! Which rows are mixed with which, and whether parameters are sampled per batch, pair or example.

use base::Rng;
use rand::{
    Rng as _,
    seq::{IndexedRandom as _, SliceRandom as _},
};
use serde::{Deserialize, Serialize};

use super::{Extras, Level, MixPlan};

/// What shares one sample of the parameters: whether to mix, how much, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Per {
    /// All rows of the batch.
    Batch,
    /// The first row and the last, the second and the second to last, and so on; the middle row of an odd
    /// batch is not mixed.
    Pair,
    /// Each row on its own.
    Example,
}

/// The partner whose image is mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Partner {
    /// The batch in random order.
    Shuffled,
    /// The batch in reverse order; the middle image of an odd batch is its own partner.
    Flipped,
    /// Any image of the training set, sampled for each row. Twice as many images are loaded where all rows are
    /// mixed.
    Any,
}

/// The settings of a pairing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pairing {
    /// The probability of mixing.
    pub(super) p: f64,
    pub(super) per: Per,
    pub(super) partner: Partner,
}

impl Pairing {
    /// The images outside of the batch that partners are sampled from; `None` for the batch's own.
    ///
    /// - `level`: the level that they are to be of.
    pub(super) fn from<'a>(&self, level: Option<&'a Level>) -> Option<Extras<'a>> {
        level.map(Extras::Level).or_else(|| (self.partner == Partner::Any).then_some(Extras::Any))
    }

    /// Returns the rows to mix, each with the image of its partner and the result of `sample`.
    ///
    /// Rows that are already mixed are left out.
    ///
    /// - `pool`: the examples that partners are sampled from; empty for the batch's own.
    pub(super) fn sample<T: Copy>(
        &self,
        plan: &mut MixPlan,
        pool: &[usize],
        rng: &mut Rng,
        sample: impl Fn(&mut Rng) -> T,
    ) -> Vec<(usize, usize, T)> {
        let n = plan.rows.len();
        let mut partners: Vec<usize> = (0..n).collect();
        match self.partner {
            Partner::Shuffled => partners.shuffle(rng),
            Partner::Flipped => partners.reverse(),
            Partner::Any => {}
        }
        let mut maybe = || (rng.random::<f64>() < self.p).then(|| sample(rng));
        let sampled: Vec<Option<T>> = match self.per {
            Per::Batch => vec![maybe(); n],
            Per::Example => (0..n).map(|_| maybe()).collect(),
            Per::Pair => {
                let half: Vec<Option<T>> = (0..n / 2).map(|_| maybe()).collect();
                let middle = (n % 2 == 1).then_some(None);
                half.iter().copied().chain(middle).chain(half.iter().rev().copied()).collect()
            }
        };
        let mixed = partners.into_iter().zip(sampled).enumerate();
        let mixed = mixed.filter_map(|(row, (partner, it))| it.map(|it| (row, partner, it)));
        let mut mixed: Vec<_> = mixed.filter(|&(row, _, _)| plan.is_free(row)).collect();
        for (_, partner, _) in &mut mixed {
            if let Some(&example) = pool.choose(rng) {
                *partner = plan.add_extra(example);
            }
        }
        mixed
    }

    /// Returns what is wrong with the settings, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        if self.per == Per::Pair && self.partner != Partner::Flipped {
            return Some("`per = \"pair\"` requires `partner = \"flipped\"`".to_owned());
        }
        probability_problem(self.p)
    }
}

/// Returns what is wrong with the setting `p`, if anything.
pub(super) fn probability_problem(p: f64) -> Option<String> {
    (!(0.0..=1.0).contains(&p)).then(|| format!("`p` must be a probability from 0 to 1, not {p}"))
}

/// Returns what is wrong with the setting `alpha`, if anything.
pub(super) fn alpha_problem(alpha: f64) -> Option<String> {
    let range = 0.01..=1000.0;
    (!range.contains(&alpha)).then(|| format!("`alpha` must be from 0.01 to 1000, not {alpha}"))
}

#[cfg(test)]
mod tests {
    use base::{Rng, Seed, mix::whole};
    use rand::Rng as _;

    use super::{MixPlan, Pairing, Partner, Per};

    fn sample(n: usize, p: f64, per: Per, partner: Partner) -> Vec<(usize, usize, f64)> {
        let mut plan = MixPlan { size: [4, 4], rows: whole(n), extras: vec![] };
        let sample = |rng: &mut Rng| rng.random::<f64>();
        Pairing { p, per, partner }.sample(&mut plan, &[], &mut Seed(0).stream("mix"), sample)
    }

    #[test]
    fn parameters_are_sampled_per_batch_pair_or_example() {
        let sampled = |per| -> Vec<f64> {
            sample(5, 1.0, per, Partner::Flipped).into_iter().map(|it| it.2).collect()
        };
        let all = sampled(Per::Batch);
        assert!(all.len() == 5 && all.iter().all(|it| *it == all[0]), "{all:?}");
        let pairs = sampled(Per::Pair);
        assert!(pairs.len() == 4 && pairs[0] == pairs[3] && pairs[1] == pairs[2], "{pairs:?}");
        let each = sampled(Per::Example);
        assert!(each.len() == 5 && each.windows(2).all(|it| it[0] != it[1]), "{each:?}");
    }

    #[test]
    fn partners_are_the_flipped_or_shuffled_batch() {
        let partners = |partner| -> Vec<usize> {
            sample(9, 1.0, Per::Batch, partner).into_iter().map(|it| it.1).collect()
        };
        assert_eq!(partners(Partner::Flipped), [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        let mut shuffled = partners(Partner::Shuffled);
        assert!(!shuffled.is_sorted());
        shuffled.sort_unstable();
        assert_eq!(shuffled, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn any_partner_is_an_extra_image_of_the_pool() {
        let pool: Vec<usize> = (100..110).collect();
        let mut plan = MixPlan { size: [4, 4], rows: whole(400), extras: vec![] };
        let pairing = Pairing { p: 0.5, per: Per::Example, partner: Partner::Any };
        let mixed = pairing.sample(&mut plan, &pool, &mut Seed(0).stream("mix"), |_| ());
        // The extra images follow the batch, in the order of the mixed rows.
        assert!((150..250).contains(&mixed.len()) && plan.extras.len() == mixed.len());
        assert!(mixed.iter().map(|it| it.1).eq(400..400 + mixed.len()));
        let n_of = |example| plan.extras.iter().filter(|it| **it == example).count();
        assert!(pool.iter().all(|&it| n_of(it) > 5), "{:?}", plan.extras);
        assert!(Pairing { per: Per::Pair, ..pairing }.problem().is_some());
    }

    #[test]
    fn rows_are_mixed_with_probability_p() {
        let n = sample(2000, 0.3, Per::Example, Partner::Shuffled).len();
        assert!((540..660).contains(&n), "{n} of 2000");
        assert_eq!(sample(2000, 0.0, Per::Example, Partner::Flipped), []);
    }
}
