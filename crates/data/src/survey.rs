//! Exploratory data analysis of a data set before training: image and person counts per class, ages, sizes,
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

use crate::{Manifest, measure::ColourSums};

/// The analysis of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// The number of images that may be trained on.
    pub n_images: usize,
    /// The number of people who have such images.
    pub n_people: usize,
    /// The per-channel mean and standard deviation of all pixels, scaled to 0..=1; `None` without images.
    #[serde(flatten)]
    pub statistics: Option<Statistics>,
    /// The brightness of the readable images; `None` if there are none.
    pub brightness: Option<Brightness>,
    /// Class counts: of the joint classes, then of each factor.
    pub scopes: Vec<ScopeCount>,
    /// Age counts, youngest first; empty if ages are unknown.
    pub ages: Vec<AgeCount>,
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
    /// The number of people with at least one such image.
    pub n_people: usize,
}

/// The number of people of an age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgeCount {
    /// The age in full years.
    pub years: u32,
    /// The number of people.
    pub n_people: usize,
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

/// Analyses every image that may be trained on.
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
    let pool: Vec<usize> = all.filter(|&it| manifest.examples[it].usage.may_train()).collect();
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
    let person = |idx: usize| manifest.examples[idx].person;
    let NearDuplicates { near_duplicates, n_crowded } = near_duplicates::find(&readable, &person);
    let colours =
        readable.iter().map(|it| it.1.colours).fold(ColourSums::default(), ColourSums::plus);
    Survey {
        n_images: pool.len(),
        n_people: pool.iter().map(|&it| person(it)).collect::<BTreeSet<_>>().len(),
        statistics: (!readable.is_empty()).then(|| colours.statistics()),
        brightness: brightness(manifest, &readable),
        scopes: manifest.task.scopes().iter().map(|&it| count(manifest, &pool, it)).collect(),
        ages: ages(manifest, &pool),
        sizes: sizes(&readable),
        unreadable,
        near_duplicates,
        n_crowded,
    }
}

fn count(manifest: &Manifest, pool: &[usize], scope: Scope) -> ScopeCount {
    let task = &manifest.task;
    let mut n_images = vec![0; task.n_classes_of(scope)];
    let mut people = vec![BTreeSet::new(); n_images.len()];
    for example in pool.iter().map(|&it| &manifest.examples[it]) {
        let class = task.project(example.class, scope);
        n_images[class] += 1;
        people[class].insert(example.person);
    }
    let names = task.class_names(scope).into_iter();
    let counts = names.zip(n_images).zip(people).map(|((name, n_images), people)| ClassCount {
        name,
        n_images,
        n_people: people.len(),
    });
    ScopeCount { name: task.scope_name(scope).to_owned(), classes: counts.collect() }
}

fn ages(manifest: &Manifest, pool: &[usize]) -> Vec<AgeCount> {
    let images = pool.iter().map(|&it| &manifest.examples[it]);
    let people: BTreeMap<usize, f64> = images.filter_map(|it| Some((it.person, it.age?))).collect();
    let mut counts = BTreeMap::new();
    for age in people.into_values() {
        *counts.entry(age as u32).or_default() += 1;
    }
    counts.into_iter().map(|(years, n_people)| AgeCount { years, n_people }).collect()
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
