//! A synthetic person: the attributes that all of their images share.

use base::{Rng, Seed};
use rand::Rng as _;
use rand_distr::{Distribution as _, Normal};
use serde::{Deserialize, Serialize};

/// The number of people of each age from 18 to 60 in the competition's data.
const AGES: [u32; 43] = [
    192, 407, 267, 41, 58, 72, 62, 82, 44, 15, 25, 16, 17, 3, 7, 5, 13, 19, 8, 3, 14, 6, 20, 7, 13,
    18, 13, 27, 14, 10, 39, 31, 80, 63, 78, 64, 82, 100, 123, 106, 159, 85, 192,
];
const YOUNGEST: u32 = 18;

/// The share of men among the competition's people.
const MEN: f64 = 1042.0 / 2700.0;

/// The standard deviation of the apparent age from the true one, in years.
const AGE_BLUR: f64 = 1.5;

/// The gender, as labelled in the competition's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gender {
    /// `male`.
    Male,
    /// `female`.
    Female,
}

impl Gender {
    /// Returns the name used in the competition's files.
    pub fn name(self) -> &'static str {
        match self {
            Gender::Male => "male",
            Gender::Female => "female",
        }
    }
}

/// An RGB colour, each component in 0..=1.
pub(crate) type Colour = [f32; 3];

/// A synthetic person.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their gender.
    pub gender: Gender,
    /// Their age in years.
    pub age: u32,
    /// The seed of what differs between their images.
    pub(crate) seed: Seed,
    pub(crate) skin: Colour,
    pub(crate) hair: Colour,
    /// 0 (full colour) to 1 (white).
    pub(crate) greyness: f32,
    pub(crate) hairstyle: Hairstyle,
    /// How far the hairline recedes, 0 (low) to 1 (no hair).
    pub(crate) hairline: f32,
    /// Half the face's width.
    pub(crate) width: f32,
    /// 0 (pointed) to 1 (square).
    pub(crate) jaw: f32,
    pub(crate) eye_size: f32,
    pub(crate) iris: Colour,
    pub(crate) brow: f32,
    pub(crate) lips: f32,
    pub(crate) beard: Beard,
    pub(crate) glasses: Option<Glasses>,
    /// 0 (smooth) to 1 (deeply lined).
    pub(crate) wrinkles: f32,
    pub(crate) clothes: Clothes,
    pub(crate) backdrop: [Colour; 2],
    /// The number of shapes in the background.
    pub(crate) n_shapes: u32,
    pub(crate) earrings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hairstyle {
    Cropped,
    Parted,
    Curly,
    Bob,
    Long,
    Tied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beard {
    None,
    Stubble,
    Moustache,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Glasses {
    pub(crate) round: bool,
    pub(crate) colour: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clothes {
    pub(crate) colour: Colour,
    pub(crate) collar: bool,
}

/// A logistic curve from 0 to 1 around `middle`.
fn rises(x: f32, middle: f32, width: f32) -> f32 {
    1.0 / (1.0 + (-(x - middle) / width).exp())
}

fn blend(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

impl Person {
    /// Returns the person with a number.
    pub fn new(seed: Seed, number: usize) -> Person {
        let mut rng = seed.stream(&format!("people/{number}"));
        let rng = &mut rng;
        let gender = if rng.random_bool(MEN) { Gender::Male } else { Gender::Female };
        let age = sample_age(rng);
        let blur = Normal::new(0.0, AGE_BLUR).expect("a finite std").sample(rng);
        let looks = (f64::from(age) + blur) as f32;
        // How masculine the person looks: the two distributions overlap slightly.
        let mean = if gender == Gender::Male { 1.0 } else { -1.0 };
        let masculine = (mean + normal(rng, 0.38)) as f32;
        let own_seed = Seed(rng.random());

        let skins =
            [[0.98, 0.86, 0.75], [0.94, 0.78, 0.64], [0.85, 0.66, 0.50], [0.62, 0.44, 0.32]];
        let skin = pick(rng, skins);
        let skin = jitter(rng, skin, 0.05);
        let hairs =
            [[0.08, 0.07, 0.07], [0.20, 0.13, 0.09], [0.38, 0.24, 0.13], [0.62, 0.45, 0.22]];
        let hair = pick(rng, hairs);
        let hair = jitter(rng, hair, 0.04);
        let dyed = looks > 40.0 && rng.random_bool(0.08);
        let greyness = if dyed { 0.0 } else { rises(looks, 57.5, 2.0) };
        let style = (masculine + normal(rng, 0.45) as f32, rng.random::<f32>());
        let hairstyle = match style {
            (m, x) if m > 0.0 => match x {
                x if x < 0.5 => Hairstyle::Cropped,
                x if x < 0.8 => Hairstyle::Parted,
                _ => Hairstyle::Curly,
            },
            // Long hair is more frequent among the young, short curls among the old.
            (_, x) => match x + rises(looks, 50.0, 5.0) * 0.9 - 0.25 {
                x if x < 0.38 => Hairstyle::Long,
                x if x < 0.55 => Hairstyle::Tied,
                x if x < 0.9 => Hairstyle::Bob,
                _ => Hairstyle::Curly,
            },
        };
        let recedes = if masculine > 0.0 { 0.95 } else { 0.15 };
        let hairline =
            (recedes * rises(looks, 54.0, 7.0) + 0.12 * normal(rng, 1.0) as f32).clamp(0.0, 1.0);
        let beard = match masculine > 0.0 && rng.random_bool(0.4) {
            false => Beard::None,
            true => pick(rng, [Beard::Stubble, Beard::Moustache, Beard::Full]),
        };
        let wears_glasses = rng.random_bool(f64::from(0.18 + 0.3 * rises(looks, 47.0, 4.0)));
        let frames = [[0.1, 0.1, 0.12], [0.45, 0.30, 0.15], [0.6, 0.6, 0.62], [0.55, 0.1, 0.15]];
        let glasses = wears_glasses.then(|| Glasses {
            round: rng.random_bool(f64::from(0.3 + 0.4 * (1.0 - rises(looks, 35.0, 4.0)))),
            colour: pick(rng, frames),
        });
        let wrinkles = (0.62 * rises(looks, 42.0, 6.0)
            + 0.4 * rises(looks, 58.0, 1.8)
            + 0.03 * normal(rng, 1.0) as f32)
            .clamp(0.0, 1.0);
        let clothes = Clothes {
            colour: std::array::from_fn(|_| rng.random_range(0.08..0.92)),
            collar: rng.random_bool(f64::from(0.15 + 0.7 * rises(looks, 32.0, 4.0))),
        };
        let vivid: Colour = std::array::from_fn(|_| rng.random_range(0.1..0.95));
        let base = blend(vivid, [rng.random_range(0.2..0.9); 3], rng.random_range(0.2..0.9));
        Person {
            gender,
            age,
            seed: own_seed,
            skin: blend(skin, [0.85, 0.72, 0.66], 0.25 * rises(looks, 58.0, 5.0)),
            hair,
            greyness,
            hairstyle,
            hairline,
            width: 23.5 + 1.5 * masculine + normal(rng, 1.0) as f32,
            jaw: (0.5 + 0.3 * masculine + 0.12 * normal(rng, 1.0) as f32).clamp(0.0, 1.0),
            eye_size: 3.3 - 0.3 * masculine - 0.5 * rises(looks, 45.0, 8.0)
                + 0.25 * normal(rng, 1.0) as f32,
            iris: pick(
                rng,
                [[0.25, 0.15, 0.08], [0.15, 0.1, 0.08], [0.25, 0.4, 0.5], [0.25, 0.4, 0.25]],
            ),
            brow: (1.5 + 0.45 * masculine + 0.2 * normal(rng, 1.0) as f32).max(0.6),
            lips: (0.45 - 0.28 * masculine - 0.15 * rises(looks, 50.0, 6.0)
                + 0.1 * normal(rng, 1.0) as f32)
                .clamp(0.0, 1.0),
            beard,
            glasses,
            wrinkles,
            clothes,
            backdrop: [base, jitter(rng, base, 0.25)],
            n_shapes: rng.random_range(0..6),
            earrings: masculine < 0.0 && rng.random_bool(0.35),
        }
    }
}

fn sample_age(rng: &mut Rng) -> u32 {
    let mut left = rng.random_range(0..AGES.iter().sum::<u32>());
    for (age, &n) in (YOUNGEST..).zip(&AGES) {
        match left.checked_sub(n) {
            Some(rest) => left = rest,
            None => return age,
        }
    }
    unreachable!("a number below the sum lies in one of the bins")
}

fn pick<T: Copy, const N: usize>(rng: &mut Rng, list: [T; N]) -> T {
    list[rng.random_range(0..N)]
}

fn normal(rng: &mut Rng, std: f64) -> f64 {
    Normal::new(0.0, std).expect("a finite std").sample(rng)
}

fn jitter(rng: &mut Rng, colour: Colour, by: f32) -> Colour {
    colour.map(|it| (it + rng.random_range(-by..=by)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{Gender, Person};

    #[test]
    fn ages_and_genders_are_distributed_as_in_the_competition() {
        let people: Vec<Person> = (0..4000).map(|it| Person::new(Seed(0), it)).collect();
        let share = |of: &dyn Fn(&Person) -> bool| {
            people.iter().filter(|it| of(it)).count() as f64 / people.len() as f64
        };
        // Three standard deviations of a proportion of 4,000 are at most 0.024.
        assert!((share(&|it| it.age < 30) - 1281.0 / 2700.0).abs() < 0.024);
        assert!((share(&|it| it.age >= 60) - 192.0 / 2700.0).abs() < 0.013);
        assert!((share(&|it| it.gender == Gender::Male) - 1042.0 / 2700.0).abs() < 0.024);
        assert!(people.iter().all(|it| (18..=60).contains(&it.age)));
    }

    #[test]
    fn wrinkles_increase_with_age_and_overlap() {
        let people: Vec<Person> = (0..4000).map(|it| Person::new(Seed(0), it)).collect();
        let lines = |age| -> Vec<f32> {
            people.iter().filter(|it| it.age == age).map(|it| it.wrinkles).collect()
        };
        let mean = |of: &[f32]| of.iter().sum::<f32>() / of.len() as f32;
        assert!(mean(&lines(25)) < mean(&lines(58)) && mean(&lines(55)) < mean(&lines(60)));
        let most = lines(58).into_iter().fold(0.0, f32::max);
        let least = lines(60).into_iter().fold(1.0, f32::min);
        assert!(most > least, "58 and 60 do not overlap");
    }
}
