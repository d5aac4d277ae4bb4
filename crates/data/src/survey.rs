//! What there is in a data set, before anything is trained on it: how many images and people each
//! class has, ages, sizes, brightness, colours, which images are there twice, and which cannot be
//! read.
//!
//! Every image is read and decoded once; what is kept of it is about 200 bytes.

mod difference_hash;
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

pub use near_duplicates::{Likeness, NEAR, NearDuplicate, NearDuplicates, link_hashes};
use summary::ImageSummary;

use crate::{Manifest, measure::ColourSums};

/// What there is in a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// Those that may be trained on.
    pub n_images: usize,
    /// Those who have such images.
    pub n_people: usize,
    /// The mean and deviation of all pixels, where 1 is the brightest; none without images.
    #[serde(flatten)]
    pub statistics: Option<Statistics>,
    /// Of the images that can be read; none without any.
    pub brightness: Option<Brightness>,
    /// Jointly, then by factor.
    pub scopes: Vec<ScopeCount>,
    /// Youngest first; empty where ages are not known.
    pub ages: Vec<AgeCount>,
    /// The most frequent first.
    pub sizes: Vec<SizeCount>,
    /// In the order of their names.
    pub unreadable: Vec<Unreadable>,
    /// The surest first.
    #[serde(skip)]
    pub near_duplicates: Vec<NearDuplicate>,
    /// Images that look so much like many others that not all of these were compared with them: some
    /// that are nearly the same may be missing among `twins`.
    #[serde(skip)]
    pub n_crowded: usize,
}

/// How often each class of a scope is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScopeCount {
    /// `joint`, or the factor's name.
    pub name: String,
    /// In order.
    pub classes: Vec<ClassCount>,
}

/// How often a class is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassCount {
    /// For example `worn male <30`.
    pub name: String,
    /// Images.
    pub n_images: usize,
    /// People with at least one such image.
    pub n_people: usize,
}

/// How many people are of an age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgeCount {
    /// Full years.
    pub years: u32,
    /// People.
    pub n_people: usize,
}

/// How many images are of a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Images.
    pub n_images: usize,
}

/// The mean grey of images, from 0 (black) to 255 (white).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Brightness {
    /// Half of the images are no brighter.
    pub median: f64,
    /// Images of a mean from 0 to below 8, from 8 to below 16, and so on.
    pub bins: Vec<usize>,
    /// The darkest image.
    pub darkest: Extreme,
    /// The brightest image.
    pub brightest: Extreme,
}

/// An image at an end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extreme {
    /// Its name.
    pub image: String,
    /// Its mean grey.
    pub mean: f64,
}

/// An image that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its name.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// Levels of grey in one bin of [`Brightness::bins`].
const BIN: f64 = 8.0;

/// Looks at every image that may be trained on.
///
/// The result does not depend on the number of threads.
///
/// - `max_pixels`: images with more are not decoded, and count as unreadable.
/// - `look`: is shown every image that can be read, with its position in [`Manifest::examples`], in
///   any order and by several threads.
/// - `progress`: is told how many images of how many are done.
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

    let (mut seen, mut unreadable) = (Vec::new(), Vec::new());
    for (&idx, summary) in pool.iter().zip(summaries) {
        match summary {
            Ok(it) => seen.push((idx, it)),
            Err(reason) => {
                let image = manifest.examples[idx].name.clone();
                unreadable.push(Unreadable { image, reason });
            }
        }
    }
    let person = |idx: usize| manifest.examples[idx].person;
    let NearDuplicates { near_duplicates, n_crowded } = near_duplicates::find(&seen, &person);
    let colours = seen.iter().map(|it| it.1.colours).fold(ColourSums::default(), ColourSums::plus);
    Survey {
        n_images: pool.len(),
        n_people: pool.iter().map(|&it| person(it)).collect::<BTreeSet<_>>().len(),
        statistics: (!seen.is_empty()).then(|| colours.statistics()),
        brightness: brightness(manifest, &seen),
        scopes: manifest.task.scopes().iter().map(|&it| count(manifest, &pool, it)).collect(),
        ages: ages(manifest, &pool),
        sizes: sizes(&seen),
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

fn sizes(seen: &[(usize, ImageSummary)]) -> Vec<SizeCount> {
    let mut counts: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    for (_, summary) in seen {
        *counts.entry(summary.size).or_default() += 1;
    }
    let sizes = counts.into_iter();
    let mut sizes: Vec<SizeCount> =
        sizes.map(|([height, width], n_images)| SizeCount { height, width, n_images }).collect();
    sizes.sort_by_key(|it| Reverse(it.n_images));
    sizes
}

fn brightness(manifest: &Manifest, seen: &[(usize, ImageSummary)]) -> Option<Brightness> {
    let mut means: Vec<(f64, usize)> =
        seen.iter().map(|(idx, summary)| (summary.brightness(), *idx)).collect();
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
