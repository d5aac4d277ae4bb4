//! Exploratory data analysis of a data set before training: image and group counts per class, numbers, sizes,
//! brightness, colours, duplicate and near-duplicate images, and images that cannot be read.
//!
//! Every image is read and decoded once; about 200 bytes are kept of each.

mod difference_hash;
mod grey;
mod near_duplicates;
mod summary;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use augment::{Image, Statistics};
use base::task::Scope;
use rayon::prelude::*;
use serde::Serialize;

pub use near_duplicates::{NEAR, NearDuplicate, NearDuplicates, Similarity, link_hashes};
use summary::ImageSummary;

use crate::{Manifest, Use, measure::ColourSums};

/// The analysis of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// The number of images that may be trained on.
    pub n_images: usize,
    /// The number of groups who have such images.
    pub n_groups: usize,
    /// The per-channel mean and standard deviation of all pixels, scaled to 0..=1; `None` without images.
    #[serde(flatten)]
    pub statistics: Option<Statistics>,
    /// The brightness of the readable images; `None` if there are none.
    pub brightness: Option<Brightness>,
    /// Class counts: of the joint classes, then of each factor.
    pub scopes: Vec<ScopeCount>,
    /// Counts by number, of each numeric factor that has any known numbers.
    pub numbers: Vec<NumberCounts>,
    /// Size counts, most frequent first.
    pub sizes: Vec<SizeCount>,
    /// Images that cannot be read, sorted by name.
    pub unreadable: Vec<Unreadable>,
    /// Duplicates and near-duplicates, most certain first.
    #[serde(skip)]
    pub near_duplicates: Vec<NearDuplicate>,
    /// The number of images similar to so many others that they were not compared with all of them: some of
    /// their near-duplicates may be missing in `near_duplicates`.
    #[serde(skip)]
    pub n_crowded: usize,
}

/// The class counts of a scope.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScopeCount {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes, in order.
    pub classes: Vec<ClassCount>,
}

/// The count of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassCount {
    /// The class name, for example `worn male <30`.
    pub name: String,
    /// The number of images.
    pub n_images: usize,
    /// The number of groups with at least one such image.
    pub n_groups: usize,
}

/// The groups of a numeric factor, by its number: by age, for example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumberCounts {
    /// The factor's name.
    pub factor: String,
    /// The smallest number.
    pub min: f64,
    /// The largest number.
    pub max: f64,
    /// The width of a bin.
    pub width: f64,
    /// The bins that are not empty, in order.
    pub bins: Vec<NumberCount>,
}

/// A bin of the numbers of a factor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumberCount {
    /// Where it begins, a multiple of the width.
    pub from: f64,
    /// The number of groups with at least one such image.
    pub n_groups: usize,
}

/// The number of images of a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// The height in pixels.
    pub height: usize,
    /// The width in pixels.
    pub width: usize,
    /// The number of images.
    pub n_images: usize,
}

/// The distribution of the images' mean grey level, from 0 (black) to 255 (white).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Brightness {
    /// The median over the images.
    pub median: f64,
    /// A histogram: the number of images with a mean in [0, 8), [8, 16), and so on.
    pub bins: Vec<usize>,
    /// The darkest image.
    pub darkest: Extreme,
    /// The brightest image.
    pub brightest: Extreme,
}

/// The darkest or brightest image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extreme {
    /// The image's name.
    pub image: String,
    /// Its mean grey level.
    pub mean: f64,
}

/// An image that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The image's name.
    pub image: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// The width of the bins of [`Brightness::bins`], in grey levels.
const BIN: f64 = 8.0;

/// Analyses every image that is not in the test set.
///
/// The result does not depend on the number of threads.
///
/// - `max_pixels`: images with more are not decoded, and count as unreadable.
/// - `look`: called with every readable image and its position in [`Manifest::examples`], in any order and
///   from several threads.
/// - `progress`: called with the number of images done and the total.
pub fn survey(
    manifest: &Manifest,
    max_pixels: u64,
    look: &(dyn Fn(usize, &Image) + Sync),
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Survey {
    let all = 0..manifest.examples.len();
    let pool: Vec<usize> = all.filter(|&it| manifest.examples[it].usage != Use::Test).collect();
    let n_done = AtomicUsize::new(0);
    let summary = |&idx: &usize| {
        let show = |image: &Image| look(idx, image);
        let summary = ImageSummary::of(&manifest.examples[idx].content, max_pixels, &show);
        progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, pool.len());
        summary
    };
    let summaries: Vec<Result<ImageSummary, String>> = pool.par_iter().map(summary).collect();

    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    for (&idx, summary) in pool.iter().zip(summaries) {
        match summary {
            Ok(it) => readable.push((idx, it)),
            Err(reason) => {
                let image = manifest.examples[idx].name.clone();
                unreadable.push(Unreadable { image, reason });
            }
        }
    }
    let group = |idx: usize| manifest.examples[idx].group;
    let NearDuplicates { near_duplicates, n_crowded } = near_duplicates::find(&readable, &group);
    let colours =
        readable.iter().map(|it| it.1.colours).fold(ColourSums::default(), ColourSums::plus);
    Survey {
        n_images: pool.len(),
        n_groups: pool.iter().map(|&it| group(it)).collect::<BTreeSet<_>>().len(),
        statistics: (!readable.is_empty()).then(|| colours.statistics()),
        brightness: brightness(manifest, &readable),
        scopes: manifest.task.scopes().iter().map(|&it| count(manifest, &pool, it)).collect(),
        numbers: numbers(manifest, &pool),
        sizes: sizes(&readable),
        unreadable,
        near_duplicates,
        n_crowded,
    }
}

fn count(manifest: &Manifest, pool: &[usize], scope: Scope) -> ScopeCount {
    let task = &manifest.task;
    let mut n_images = vec![0; task.n_classes_of(scope)];
    let mut groups = vec![BTreeSet::new(); n_images.len()];
    for example in pool.iter().map(|&it| &manifest.examples[it]) {
        let class = task.project(example.class, scope);
        n_images[class] += 1;
        groups[class].insert(example.group);
    }
    let names = task.class_names(scope).into_iter();
    let counts = names.zip(n_images).zip(groups).map(|((name, n_images), groups)| ClassCount {
        name,
        n_images,
        n_groups: groups.len(),
    });
    ScopeCount { name: task.scope_name(scope).to_owned(), classes: counts.collect() }
}

fn numbers(manifest: &Manifest, pool: &[usize]) -> Vec<NumberCounts> {
    let counts = |idx: usize| {
        let factor = &manifest.task.factors[idx];
        let images = pool.iter().map(|&it| &manifest.examples[it]);
        let known = images.filter_map(|it| Some((it.group, it.number(idx)?)));
        let known: Vec<(usize, f64)> = known.filter(|it| it.1.is_finite()).collect();
        let width = bin_width(known.iter().map(|it| it.1).chain(factor.cuts.iter().copied()));
        let bins: BTreeSet<(i64, usize)> =
            known.iter().map(|&(group, it)| ((it / width).floor() as i64, group)).collect();
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        bins.into_iter().for_each(|(bin, _)| *counts.entry(bin).or_default() += 1);
        // Division by a whole number: 3 / 10 rather than 3 · 0.1.
        let from = |bin: i64| match width < 1.0 {
            true => bin as f64 / (1.0 / width).round(),
            false => bin as f64 * width,
        };
        let bins = counts.into_iter();
        let bins: Vec<NumberCount> =
            bins.map(|(bin, n_groups)| NumberCount { from: from(bin), n_groups }).collect();
        let [min, max] = ends(known.iter().map(|it| it.1));
        let factor = factor.name.clone();
        (!bins.is_empty()).then_some(NumberCounts { factor, min, max, width, bins })
    };
    manifest.task.numeric().filter_map(counts).collect()
}

/// Returns the smallest and the largest number.
fn ends(numbers: impl Iterator<Item = f64>) -> [f64; 2] {
    let wider = |[min, max]: [f64; 2], it: f64| [min.min(it), max.max(it)];
    numbers.fold([f64::INFINITY, f64::NEG_INFINITY], wider)
}

/// The maximum number of bins between the smallest and the largest of the numbers.
const MOST_BINS: f64 = 200.0;

/// Returns the width of the bins of these numbers: 1 where that gives neither few bins of broken numbers nor
/// too many, and otherwise 1, 2 or 5 times a power of ten.
fn bin_width(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let [min, max] = ends(numbers.clone());
    let range = max - min;
    let is_whole = || numbers.clone().all(|it| it.fract() == 0.0);
    if range <= 0.0 || range <= MOST_BINS && (range >= 10.0 || is_whole()) {
        return 1.0;
    }
    let power = 10_f64.powf((range / MOST_BINS).log10().floor());
    let widths = [1.0, 2.0, 5.0].map(|it| it * power);
    widths.into_iter().find(|it| range / it <= MOST_BINS).unwrap_or(10.0 * power)
}

fn sizes(images: &[(usize, ImageSummary)]) -> Vec<SizeCount> {
    let mut counts: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    for (_, summary) in images {
        *counts.entry(summary.size).or_default() += 1;
    }
    let sizes = counts.into_iter();
    let mut sizes: Vec<SizeCount> =
        sizes.map(|([height, width], n_images)| SizeCount { height, width, n_images }).collect();
    sizes.sort_by_key(|it| Reverse(it.n_images));
    sizes
}

fn brightness(manifest: &Manifest, images: &[(usize, ImageSummary)]) -> Option<Brightness> {
    let mut means: Vec<(f64, usize)> =
        images.iter().map(|(idx, summary)| (summary.brightness(), *idx)).collect();
    means.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut bins = vec![0; (256.0 / BIN) as usize];
    means.iter().for_each(|&(mean, _)| bins[(mean / BIN) as usize] += 1);
    let extreme =
        |&(mean, idx): &(f64, usize)| Extreme { image: manifest.examples[idx].name.clone(), mean };
    Some(Brightness {
        median: means.get(means.len().saturating_sub(1) / 2)?.0,
        bins,
        darkest: extreme(means.first()?),
        brightest: extreme(means.last()?),
    })
}

#[cfg(test)]
mod tests;
