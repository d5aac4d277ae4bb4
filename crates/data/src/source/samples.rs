//! The builder of a manifest: every source adds its images here, and nothing else makes a [`Manifest`] of
//! files.
//!
//! A source gives each image its name, its group and a label for each factor; the builder finds the levels
//! of factors without given ones, sorts groups by name and the images of a group by theirs, and reports what
//! only shows when all images are known. So the order of the source's own files does not matter, and two
//! layouts of the same images give the same manifest.
//!
//! Levels that are found are sorted as whole numbers where all of them are, otherwise as text by code point,
//! as Python's `sorted` and torchvision's `ImageFolder` do.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use base::{
    Task,
    names::{choices, quoted},
    task::{Factor, Scope, Unit},
};

use super::{Context, SourceError};
use crate::{
    findings::Findings,
    manifest::{Attribute, Content, Example, Listed, Manifest, Use},
    names::composed,
    pseudo::PseudoLabels,
    verified::{check_files, remedy as remedy_of},
};

/// All images of a source, while it is being read.
pub(super) struct Samples {
    /// What is wrong with the data.
    pub(super) findings: Findings,
    /// Remarks for the user that are not errors.
    pub(super) notes: Vec<String>,
    task: Task,
    /// The levels of each factor; of those that `task` has none of, in the order in which they were found.
    levels: Vec<Names>,
    attributes: Vec<(String, Names)>,
    groups: Names,
    samples: Vec<Sample>,
}

/// One image.
pub(super) struct Sample {
    /// Its name, unique in the source: relative to the folder of images, with `/`.
    pub(super) name: String,
    /// The encoded image.
    pub(super) content: Content,
    /// Its group, as [`Samples::group`] returns it; `None` if the image is its own.
    pub(super) group: Option<usize>,
    /// A label for each factor.
    pub(super) labels: Vec<Label>,
    /// The labels before label fixes, if fixes changed any.
    pub(super) before: Option<Vec<Label>>,
    /// Whether a label fix leaves the image out; its group is still split.
    pub(super) is_dropped: bool,
    /// A value for each attribute, as [`Samples::attribute`] returns it.
    pub(super) attributes: Vec<u32>,
    /// What it may be used for.
    pub(super) usage: Use,
    /// The sample weight in training.
    pub(super) weight: f32,
}

/// A label of one factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Label {
    /// A level, by position: of a given level in the factor, of one that is found in the order of finding.
    Level(usize),
    /// The number of a numeric factor.
    Number(f64),
}

impl Sample {
    /// An image for training or validation, in a group of its own, with weight 1 and no attributes.
    pub(super) fn new(name: String, content: Content, labels: Vec<Label>) -> Sample {
        Sample {
            name,
            content,
            group: None,
            labels,
            before: None,
            is_dropped: false,
            attributes: Vec::new(),
            usage: Use::Pool,
            weight: 1.0,
        }
    }
}

impl Samples {
    /// Begins with no images.
    ///
    /// - `task`: the factors. One with cuts is numeric; the levels of one with neither cuts nor levels are
    ///   those found in the data.
    /// - `attributes`: the names of the columns kept for reports.
    pub(super) fn new(task: Task, attributes: &[&str]) -> Samples {
        let levels = task.factors.iter().map(|it| Names::of(&it.levels)).collect();
        let attributes = attributes.iter().map(|&it| (it.to_owned(), Names::default())).collect();
        Samples {
            findings: Findings::default(),
            notes: Vec::new(),
            task,
            levels,
            attributes,
            groups: Names::default(),
            samples: Vec::new(),
        }
    }

    /// Parses a label; adds a finding and returns `None` if it is empty, not a number where the factor is
    /// numeric, or not one of the given levels.
    pub(super) fn label(
        &mut self,
        factor: usize,
        text: &str,
        place: impl FnOnce() -> String,
    ) -> Option<Label> {
        let Factor { name, levels, cuts } = &self.task.factors[factor];
        let (problem, remedy) = if text.is_empty() {
            (format!("`{name}` is empty"), "write the label, or remove the row".to_owned())
        } else if !cuts.is_empty() {
            match text.parse::<f64>().ok().filter(|it| it.is_finite()) {
                Some(number) => return Some(Label::Number(number)),
                None => {
                    let remedy = "write a number, or remove the row".to_owned();
                    (format!("`{name}` is `{text}`, which is not a number"), remedy)
                }
            }
        } else if levels.is_empty() {
            return Some(Label::Level(self.levels[factor].add(text)));
        } else {
            match self.levels[factor].get(text) {
                Some(at) => return Some(Label::Level(at)),
                None => {
                    let remedy = format!(
                        "write one of {}, or change its `levels` in `data.source.labels`",
                        choices(levels)
                    );
                    (format!("`{name}` is `{text}`, which is not one of its levels"), remedy)
                }
            }
        };
        self.findings.add(place(), problem, &remedy);
        None
    }

    /// Returns the group of this name.
    pub(super) fn group(&mut self, name: &str) -> usize {
        self.groups.add(name)
    }

    /// Returns the value of an attribute.
    pub(super) fn attribute(&mut self, idx: usize, value: &str) -> u32 {
        self.attributes[idx].1.add(value) as u32
    }

    /// Adds an image, in any order.
    pub(super) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Whether no image has been added.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Builds the manifest, and returns everything that is wrong with it and with the source.
    ///
    /// It has no images if the factors have no classes, or too many.
    pub(super) fn build(self) -> (Manifest, Findings) {
        let Samples { mut findings, mut notes, mut task, levels, attributes, groups, mut samples } =
            self;
        let mut ranks = Vec::with_capacity(levels.len());
        for (factor, names) in task.factors.iter_mut().zip(levels) {
            let is_found = factor.levels.is_empty();
            let (sorted, rank) = if is_found { names.sorted() } else { names.in_order() };
            factor.levels = sorted;
            ranks.push((is_found, rank));
        }
        if let Some(problem) = task.problem() {
            // Without images, why there are none has been reported.
            if !samples.is_empty() {
                findings.add("the labels", problem, "name other label columns");
            }
            return (Manifest { notes, ..Manifest::new(task, Vec::new(), Vec::new()) }, findings);
        }
        let (mut groups, rank) = groups.sorted_as_text();
        samples.iter_mut().for_each(|it| it.group = it.group.map(|group| rank[group]));
        samples.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| a.name.cmp(&b.name)));
        for it in &mut samples {
            if it.group.is_none() {
                groups.push(it.name.clone());
                it.group = Some(groups.len() - 1);
            }
            for label in
                it.labels.iter_mut().zip(&ranks).chain(it.before.iter_mut().flatten().zip(&ranks))
            {
                if let (Label::Level(at), (_, rank)) = label {
                    *at = rank[*at];
                }
            }
        }
        check_sides(&groups, &samples, &mut findings);
        let n_valid = samples.iter().filter(|it| it.usage == Use::Valid && !it.is_dropped).count();
        if n_valid > 0 {
            notes.push(format!(
                "the data states its validation set ({n_valid} images), so `data.split` is not used"
            ));
        }
        let is_found: Vec<bool> = ranks.iter().map(|it| it.0).collect();
        check_levels(&task, &is_found, &samples, &mut findings, &mut notes);
        notes.extend(task.factors.iter().filter_map(alike_note));

        let class = |labels: &[Label]| {
            let level = |(label, factor): (&Label, &Factor)| match *label {
                Label::Level(at) => at,
                Label::Number(number) => Factor::level_of(number, &factor.cuts),
            };
            task.class_of(&labels.iter().zip(&task.factors).map(level).collect::<Vec<_>>())
        };
        let pool = samples.iter().filter(|it| it.usage == Use::Pool);
        let pool = pool.map(|it| (group_of(it), class(it.before.as_ref().unwrap_or(&it.labels))));
        let listed = Listed::of(&task, &groups, pool);
        // Groups of which something is left.
        let mut place = vec![None; groups.len()];
        let mut n_groups = 0;
        for it in samples.iter().filter(|it| !it.is_dropped) {
            place[group_of(it)].get_or_insert_with(|| {
                n_groups += 1;
                n_groups - 1
            });
        }
        let kept = groups.into_iter().zip(&place).filter(|it| it.1.is_some());
        let groups: Vec<String> = kept.map(|it| it.0).collect();
        let is_numeric = task.numeric().next().is_some();
        let (attributes, value_ranks): (Vec<_>, Vec<_>) = attributes
            .into_iter()
            .map(|(name, values)| {
                let (values, rank) = values.sorted();
                (Attribute { name, values }, rank)
            })
            .unzip();
        let example = |it: Sample| {
            let group = place[group_of(&it)]?;
            let number = |label: &Label| match *label {
                Label::Number(number) => number,
                Label::Level(_) => f64::NAN,
            };
            let values = it.attributes.iter().zip(&value_ranks);
            let kept = Example {
                group,
                class: class(&it.labels),
                numbers: if is_numeric {
                    it.labels.iter().map(number).collect()
                } else {
                    Vec::new()
                },
                attributes: values.map(|(&it, rank)| rank[it as usize] as u32).collect(),
                name: it.name,
                content: it.content,
                usage: it.usage,
                weight: it.weight,
                hash: None,
            };
            (!it.is_dropped).then_some(kept)
        };
        let examples: Vec<Example> = samples.into_iter().filter_map(example).collect();
        let pseudo = PseudoLabels::default();
        let manifest =
            Manifest { task, groups, examples, listed, attributes, notes, pseudo, cache: None };
        (manifest, findings)
    }
}

/// The group of a sample, when every sample has one.
fn group_of(sample: &Sample) -> usize {
    sample.group.unwrap_or_default()
}

/// Reports groups with images in more than one of training, validation and test.
fn check_sides(groups: &[String], samples: &[Sample], findings: &mut Findings) {
    let side = |usage: Use| match usage {
        Use::Pool | Use::Train => (1, "training"),
        Use::Valid => (2, "validation"),
        Use::Test => (4, "test"),
    };
    let mut sides = vec![0_u8; groups.len()];
    samples
        .iter()
        .filter(|it| !it.is_dropped)
        .for_each(|it| sides[group_of(it)] |= side(it.usage).0);
    for (group, sides) in groups.iter().zip(sides).filter(|it| it.1.count_ones() > 1) {
        let all = [Use::Train, Use::Valid, Use::Test].map(side);
        let names: Vec<&str> = all.iter().filter(|it| sides & it.0 != 0).map(|it| it.1).collect();
        let problem = format!("has images in the {} sets", names.join(" and "));
        let remedy = "put all images of a group into one set, or group them differently";
        findings.add(format!("group `{group}`"), problem, remedy);
    }
}

/// Reports tasks of one class, and notes levels that were found only outside of the training images.
fn check_levels(
    task: &Task,
    is_found: &[bool],
    samples: &[Sample],
    findings: &mut Findings,
    notes: &mut Vec<String>,
) {
    if task.n_classes() == 1 && !samples.is_empty() {
        let factors = quoted(task.factors.iter().map(|it| &it.name));
        let problem = format!("all images have the same: `{}`", task.class_names(Scope::Joint)[0]);
        findings.add(factors, problem, "name a label that differs between images");
    }
    for (idx, factor) in task.factors.iter().enumerate().filter(|it| is_found[it.0]) {
        let mut is_trained = vec![false; factor.levels.len()];
        for it in samples.iter().filter(|it| it.usage.may_train() && !it.is_dropped) {
            if let Label::Level(at) = it.labels[idx] {
                is_trained[at] = true;
            }
        }
        let pairs = factor.levels.iter().zip(is_trained);
        let absent: Vec<String> = pairs.filter(|it| !it.1).map(|it| it.0.clone()).collect();
        if !absent.is_empty() {
            let (name, n) = (&factor.name, absent.len());
            notes.push(format!(
                "levels of `{name}` without training images: {n}: {}",
                quoted(&absent)
            ));
        }
    }
}

/// Describes classes whose names look alike, and which may be meant as one.
fn alike_note(factor: &Factor) -> Option<String> {
    let mut by_look: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for level in &factor.levels {
        let words: Vec<&str> = level.split_whitespace().collect();
        let look = composed(&words.join(" ")).to_lowercase();
        by_look.entry(look).or_default().push(level);
    }
    let alike: Vec<String> =
        by_look.into_values().filter(|it| it.len() > 1).map(|it| it.join("` and `")).collect();
    (!alike.is_empty()).then(|| {
        format!(
            "classes of `{}` that differ only in case, spaces or Unicode form: {}: if they are meant as one, \
             give it one name",
            factor.name,
            quoted(&alike)
        )
    })
}

/// What a group is called where the source has groups, or has none.
pub(super) fn unit(has_groups: bool) -> Unit {
    if has_groups { Unit::Group } else { Unit::Image }
}

/// Verifies all files of a listed source; returns its manifest, or everything that is wrong with it.
///
/// - `root`: the folder that the images belong to; findings name files relative to it.
/// - `remedy`: how to fix a damaged file.
///
/// # Errors
/// All findings, of the listing and of the files.
pub(super) fn verified(
    root: &Path,
    (mut manifest, mut findings): (Manifest, Findings),
    remedy: &str,
    context: &Context<'_>,
) -> Result<Manifest, SourceError> {
    let path = |it: &Example| match &it.content {
        Content::File(path) => Some(path.clone()),
        Content::Memory(_) => None,
    };
    let files: Vec<PathBuf> = manifest.examples.iter().filter_map(path).collect();
    let checked = check_files(root, &files, context);
    for (path, problem) in
        files.iter().zip(&checked).filter_map(|it| Some((it.0, it.1.as_ref().err()?)))
    {
        let place = path.strip_prefix(root).unwrap_or(path).display().to_string();
        findings.add(place, problem, remedy_of(problem, remedy));
    }
    if findings.0.is_empty() {
        let hashes: Vec<u64> = checked.into_iter().filter_map(Result::ok).collect();
        manifest.notes.extend(copies_note(&manifest, &hashes));
        let of_files = manifest.examples.iter_mut();
        let of_files = of_files.filter(|it| matches!(it.content, Content::File(_)));
        of_files.zip(hashes).for_each(|(it, hash)| it.hash = Some(hash));
        return Ok(manifest);
    }
    // Line 9 before line 10.
    let key = |place: &str| {
        let text = place.trim_end_matches(|it: char| it.is_ascii_digit());
        (text.to_owned(), place[text.len()..].parse::<u64>().unwrap_or(0))
    };
    findings.0.sort_by_cached_key(|it| (key(&it.place), it.clone()));
    Err(SourceError::Findings { root: root.to_owned(), findings })
}

/// Describes files with the same content that contradict each other: with different labels, or in different
/// groups, so that an image may be trained on and validated on.
///
/// - `hashes`: of the content of each example.
fn copies_note(manifest: &Manifest, hashes: &[u64]) -> Option<String> {
    let mut first: HashMap<u64, usize> = HashMap::with_capacity(hashes.len());
    let (mut by_label, mut by_group) = (Vec::new(), Vec::new());
    for (idx, (it, hash)) in manifest.examples.iter().zip(hashes).enumerate() {
        let other = &manifest.examples[*first.entry(*hash).or_insert(idx)];
        if other.class != it.class {
            by_label.push((other, it));
        } else if other.usage != it.usage
            || other.group != it.group && manifest.task.unit != Unit::Image
        {
            by_group.push((other, it));
        }
    }
    let text = |pairs: &[(&Example, &Example)], how: &str| {
        let (a, b) = pairs.first()?;
        Some(format!("{} {how}, such as `{}` and `{}`", pairs.len(), a.name, b.name))
    };
    let one = manifest.task.unit.one();
    let texts = [
        text(&by_label, "with different labels"),
        text(&by_group, &format!("of a different {one} or set")),
    ];
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    (!texts.is_empty())
        .then(|| format!("copies of another image: {}; `maskfit eda` shows them", texts.join("; ")))
}

/// Different names, each with a position.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    at: HashMap<String, usize>,
}

impl Names {
    fn of(names: &[String]) -> Names {
        let mut these = Names::default();
        names.iter().for_each(|it| {
            these.add(it);
        });
        these
    }

    fn get(&self, name: &str) -> Option<usize> {
        self.at.get(name).copied()
    }

    fn add(&mut self, name: &str) -> usize {
        self.get(name).unwrap_or_else(|| {
            self.at.insert(name.to_owned(), self.names.len());
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// Returns the names in their order, and the position of each in it.
    fn in_order(self) -> (Vec<String>, Vec<usize>) {
        let n = self.names.len();
        (self.names, (0..n).collect())
    }

    /// Returns the names sorted as whole numbers or as text, and the position of each.
    fn sorted(self) -> (Vec<String>, Vec<usize>) {
        let numbers: Option<Vec<i64>> = self.names.iter().map(|it| it.parse().ok()).collect();
        match numbers {
            Some(numbers) => self.sorted_by(|a, b| numbers[a].cmp(&numbers[b])),
            None => self.sorted_as_text(),
        }
    }

    fn sorted_as_text(self) -> (Vec<String>, Vec<usize>) {
        self.sorted_by(|_, _| std::cmp::Ordering::Equal)
    }

    /// Sorts by a comparison of positions, and then by name.
    fn sorted_by(
        mut self,
        compare: impl Fn(usize, usize) -> std::cmp::Ordering,
    ) -> (Vec<String>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by(|&a, &b| compare(a, b).then_with(|| self.names[a].cmp(&self.names[b])));
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| rank[from] = to);
        let names = order.iter().map(|&it| std::mem::take(&mut self.names[it])).collect();
        (names, rank)
    }
}
