//! Combines several roots into one source: photographs, and in addition further ones, or synthetic images
//! for training only.
//!
//! ```toml
//! [data.source]
//! kind  = "several"
//! roots = [
//!     { source = { kind = "mask_profiles", root = "photographs" } },
//!     { source = { kind = "synthetic_people", n_people = 500 }, name = "more", share = 0.3, use = "train" },
//! ]
//! ```
//!
//! The first root is the main data set: its groups and images come first and keep their names, so that the
//! same groups are held out, runs with and without further roots are comparable, and reviewed tables still
//! find their labels. The names of groups and images of another root begin with `<name>/`; its groups are
//! different from those of the first root, unless `same_groups` is set.
//!
//! All roots have the same factors; classes are matched by name, and so are the attributes of the first root.
//! Images that two roots share, by path or in memory, would put a group into both sets of a split, and are
//! refused.

mod attributes;
mod classes;
mod shared;

use std::collections::{HashMap, HashSet};

use base::{Seed, task::Unit};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use self::classes::Levels;
use super::{Context, Source, SourceConfig, SourceError};
use crate::{
    Example, Finding, Findings, Listed, Manifest, Use,
    manifest::{add, shared as shared_levels},
};

/// `source = { kind = "several", roots = [...] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Several {
    /// The sources; the first and those with `use = "all"` are split.
    pub roots: Vec<Root>,
    /// The seed for choosing the groups of each `share`.
    pub seed: u64,
}

/// One of several sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// A source of any other kind.
    pub source: SourceConfig,
    /// The root's name, and the prefix of the names of its groups and images if it is not the first; if
    /// empty, `roots[1]` and so on.
    #[serde(default)]
    pub name: String,
    /// The share of its groups to use, of those who may be trained on; 1 if omitted. A larger share includes
    /// a smaller one.
    #[serde(default = "everybody")]
    pub share: f64,
    /// What its images are used for.
    #[serde(default, rename = "use")]
    pub purpose: Purpose,
    /// Whether groups with the same name as in the first root are the same groups, for example in edited
    /// copies of the first root's images. Their images are not trained on while the group is held out.
    #[serde(default)]
    pub same_groups: bool,
}

/// What the images of a root are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// As in its source: training, validation or test.
    #[default]
    All,
    /// Training in every fold, its source's own validation set included. Groups in its source's test set are
    /// left out.
    Train,
}

fn everybody() -> f64 {
    1.0
}

impl Source for Several {
    fn list(&self, context: &Context<'_>) -> Result<(Manifest, Findings), SourceError> {
        let (manifests, findings): (Vec<_>, Vec<_>) =
            self.each(|it| it.list(context))?.into_iter().unzip();
        let mut all = Findings::default();
        for (idx, findings) in findings.into_iter().enumerate() {
            let named =
                |it: Finding| Finding { place: format!("{}: {}", self.name(idx), it.place), ..it };
            all.0.extend(findings.0.into_iter().map(named));
        }
        Ok((self.join(manifests).map_err(SourceError::Settings)?, all))
    }

    fn read(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        let manifests = self.each(|it| it.read(context))?;
        self.join(manifests).map_err(SourceError::Settings)
    }
}

impl Several {
    /// Returns the name of a root.
    fn name(&self, idx: usize) -> String {
        match self.roots[idx].name.as_str() {
            "" => format!("roots[{idx}]"),
            name => name.to_owned(),
        }
    }

    /// Applies a function to each root; returns all results, or all errors.
    fn each<T>(
        &self,
        of: impl Fn(&dyn Source) -> Result<T, SourceError>,
    ) -> Result<Vec<T>, SourceError> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(SourceError::Settings(problems.join("\n")));
        }
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for (idx, root) in self.roots.iter().enumerate() {
            match of(root.source.get()) {
                Ok(it) => results.push(it),
                Err(err) => errors.push(format!("at `data.source.roots[{idx}]`: {err}")),
            }
        }
        if errors.is_empty() { Ok(results) } else { Err(SourceError::Roots(errors)) }
    }

    /// Returns everything that is wrong with the settings.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut note = |idx: usize, is_wrong: bool, what: &str| {
            if is_wrong {
                problems.push(format!("at `data.source.roots[{idx}]`: {what}"));
            }
        };
        for (idx, root) in self.roots.iter().enumerate() {
            let name = root.name.as_str();
            let is_nested = matches!(root.source, SourceConfig::Several(_));
            note(idx, is_nested, "the source is `several` itself: list its roots here directly");
            let is_share = (0.0..=1.0).contains(&root.share);
            note(idx, !is_share, &format!("`share` must be from 0 to 1, not {}", root.share));
            let is_name = name == name.trim() && !name.contains(['/', '\\']);
            note(
                idx,
                !is_name,
                "`name` must not contain `/` or `\\`, nor begin or end with a space",
            );
            let is_taken = (0..idx).any(|it| self.name(it) == self.name(idx));
            note(idx, is_taken, &format!("another root is already named `{}`", self.name(idx)));
            let is_unsplit = idx == 0 && root.purpose == Purpose::Train;
            note(
                idx,
                is_unsplit,
                "the first root needs images to validate on: put one without `use = \"train\"` first",
            );
            let is_own = idx == 0 && root.same_groups;
            note(
                idx,
                is_own,
                "`same_groups` refers to the first root: set it for the other roots only",
            );
            let earlier = self.roots[..idx].iter().find(|it| has_same_groups(it, root));
            note(
                idx,
                earlier.is_some(),
                "generates the same people as another root: set another `seed`",
            );
        }
        if self.roots.is_empty() {
            let what = "is empty: add sources, as in roots = [{ source = { kind = \"synthetic_people\" } }]";
            problems.push(format!("`data.source.roots` {what}"));
        }
        problems
    }

    /// Joins the manifests of the roots.
    fn join(&self, manifests: Vec<Manifest>) -> Result<Manifest, String> {
        let mut whole = Manifest::new(manifests[0].task.clone(), Vec::new(), Vec::new());
        whole.attributes = manifests[0].attributes.clone();
        let mut roots = Vec::new();
        // The groups of the first root, including those dropped by a label fix.
        let named =
            manifests[0].groups.iter().chain(manifests[0].listed.iter().map(|it| &it.group));
        let first: HashSet<String> = named.cloned().collect();
        for (idx, manifest) in manifests.into_iter().enumerate() {
            self.add(idx, manifest, &first, &mut whole)
                .map_err(|it| format!("at `data.source.roots[{idx}]`: {it}"))?;
            roots.resize(whole.examples.len(), idx);
        }
        shared::check(&whole, &roots)?;
        // Groups in the test set of one root are not trained on in another.
        let scored = whole.examples.iter().filter(|it| it.usage == Use::Test);
        let scored: HashSet<usize> = scored.map(|it| it.group).collect();
        whole.examples.retain(|it| it.usage == Use::Test || !scored.contains(&it.group));
        let scored: HashSet<&String> = scored.iter().map(|&it| &whole.groups[it]).collect();
        whole.listed.retain(|it| !scored.contains(&it.group));
        Ok(whole)
    }

    /// Adds a root.
    ///
    /// - `first`: the names of the groups of the first root.
    fn add(
        &self,
        idx: usize,
        manifest: Manifest,
        first: &HashSet<String>,
        whole: &mut Manifest,
    ) -> Result<(), String> {
        let (root, name) = (&self.roots[idx], self.name(idx));
        let levels = classes::translate(&manifest.task, &whole.task)?;
        let prefix = if idx == 0 { String::new() } else { format!("{name}/") };
        let mut taken = whole.groups.iter().chain(whole.examples.iter().map(|it| &it.name));
        if let Some(other) = taken.find(|it| idx > 0 && it.starts_with(&prefix)) {
            return Err(format!(
                "its names would begin with `{prefix}`, as `{other}` of another root does: set another \
                 `name`"
            ));
        }
        let taken = self.taken(root, &manifest);
        let known = |own: &String| idx > 0 && first.contains(own);
        let named = |own: &String| match root.same_groups && known(own) {
            true => own.clone(),
            false => format!("{prefix}{own}"),
        };
        if root.purpose == Purpose::All {
            add_listed(&manifest, &taken, named, &levels, whole);
        }
        let mut numbers: HashMap<&String, usize> = HashMap::new();
        if root.same_groups {
            numbers = whole.groups.iter().zip(0..).collect();
        }
        let mut n_known = 0;
        let (mut persons, mut more) = (vec![None; manifest.groups.len()], Vec::new());
        for (group, own) in manifest.groups.iter().enumerate().filter(|it| taken.contains(it.1)) {
            n_known += usize::from(known(own));
            let name = named(own);
            persons[group] = numbers.get(&name).copied().or_else(|| {
                more.push(name);
                Some(whole.groups.len() + more.len() - 1)
            });
        }
        drop(numbers);
        whole.groups.extend(more);
        let values = attributes::translate(&manifest.attributes, &mut whole.attributes);
        let of_root = Counts::of(&manifest.examples);
        let n_before = whole.examples.len();
        whole.examples.extend(manifest.examples.into_iter().filter_map(|it| {
            let usage = match (root.purpose, it.usage) {
                (Purpose::All, usage) => usage,
                (Purpose::Train, Use::Pool | Use::Train | Use::Valid) => Use::Train,
                (Purpose::Train, Use::Test) => return None,
            };
            let group = persons[it.group]?;
            let own = manifest.task.levels_of(it.class);
            let class = whole.task.class_of(&levels.of(&own));
            let attributes = attributes::of(&values, &it.attributes);
            let name = format!("{prefix}{}", it.name);
            Some(Example { name, group, class, attributes, usage, ..it })
        }));
        let added = Counts::of(&whole.examples[n_before..]);
        let summary = root.summary(&of_root, &added, n_known, whole.task.unit);
        whole
            .notes
            .extend(manifest.notes.into_iter().chain([summary]).map(|it| format!("{name}: {it}")));
        Ok(())
    }

    /// Returns the names of the groups of a root who are used.
    ///
    /// Each group who may be trained on has a random number, by name: those with the lowest numbers are
    /// used, independent of the order and of other groups. Groups dropped by a label fix are included.
    fn taken(&self, root: &Root, manifest: &Manifest) -> HashSet<String> {
        let of = |is_meant: fn(&Use) -> bool| {
            let examples = manifest.examples.iter().filter(move |it| is_meant(&it.usage));
            examples.map(|it| &manifest.groups[it.group])
        };
        let listed = manifest.listed.iter().map(|it| &it.group);
        let may_train = match root.purpose {
            Purpose::All => of(|it| it.may_train()),
            Purpose::Train => of(|it| *it != Use::Test),
        };
        let may_train: HashSet<&String> = may_train.chain(listed).collect();
        let lot = |name: &String| Seed(self.seed).stream(&format!("share/{name}")).random::<u64>();
        let mut lots: Vec<(u64, &String)> = may_train.into_iter().map(|it| (lot(it), it)).collect();
        lots.sort_unstable();
        lots.truncate((root.share * lots.len() as f64).round() as usize);
        let mut taken: HashSet<String> = lots.into_iter().map(|it| it.1.clone()).collect();
        if root.purpose == Purpose::All {
            taken.extend(of(|it| !it.may_train()).cloned());
        }
        taken
    }
}

/// Adds the groups of a root who may be held out; the stratum of a group of both roots has the levels that
/// both share.
fn add_listed(
    manifest: &Manifest,
    taken: &HashSet<String>,
    named: impl Fn(&String) -> String,
    levels: &Levels,
    whole: &mut Manifest,
) {
    let mut at: HashMap<String, usize> =
        whole.listed.iter().map(|it| it.group.clone()).zip(0..).collect();
    for it in manifest.listed.iter().filter(|it| taken.contains(&it.group)) {
        let (group, stratum) = (named(&it.group), levels.of(&it.stratum));
        let task = &whole.task;
        let class = |own: usize| task.class_of(&levels.of(&manifest.task.levels_of(own)));
        let own = it.counts.iter().map(|&(own, n)| (class(own), n));
        let mut counts = Vec::new();
        let listed = match at.get(&group) {
            Some(&at) => {
                shared_levels(task, &mut whole.listed[at].stratum, &stratum);
                &mut whole.listed[at].counts
            }
            None => &mut counts,
        };
        own.for_each(|(class, n)| add(listed, class, n));
        if !at.contains_key(&group) {
            at.insert(group.clone(), whole.listed.len());
            whole.listed.push(Listed { group, stratum, counts });
        }
    }
}

/// Counts of images and groups.
struct Counts {
    /// Images for training or validation.
    n_images: usize,
    /// Groups who have such images.
    n_groups: usize,
    /// Groups in the test set.
    n_test: usize,
}

impl Counts {
    fn of(examples: &[Example]) -> Counts {
        let (scored, others): (Vec<&Example>, Vec<&Example>) =
            examples.iter().partition(|it| it.usage == Use::Test);
        let n_groups = |of: &[&Example]| of.iter().map(|it| it.group).collect::<HashSet<_>>().len();
        Counts { n_images: others.len(), n_groups: n_groups(&others), n_test: n_groups(&scored) }
    }
}

impl Root {
    /// Describes what the root contributes.
    ///
    /// - `n_known`: the number of its groups with the same name as one of the first root.
    /// - `unit`: what a group is.
    fn summary(&self, root: &Counts, added: &Counts, n_known: usize, unit: Unit) -> String {
        let (one, many) = (unit.one(), unit.many());
        let share =
            if self.share < 1.0 { format!("{} of ", added.n_groups) } else { String::new() };
        let mut text = share + &unit.count(root.n_groups);
        if unit != Unit::Image {
            text += &format!(", {}", Unit::Image.count(added.n_images));
        }
        text += &match (self.purpose, root.n_test) {
            (Purpose::All, 0) => String::new(),
            (Purpose::All, n) => format!("; test set: {}", unit.count(n)),
            (Purpose::Train, 0) => ", training only".to_owned(),
            (Purpose::Train, n) => {
                format!(", training only; test set left out: {}", unit.count(n))
            }
        };
        text += &match (self.same_groups, n_known) {
            (false, 0) => String::new(),
            (false, n) => format!(
                "; same name as a {one} of the first root, treated as different {many}: {n} (set \
                 `same_groups = true` if they are the same)"
            ),
            (true, n) => format!("; {many} of the first root: {n}"),
        };
        text
    }
}

/// Returns whether two roots generate the same groups, without being declared as such by `same_groups`.
fn has_same_groups(a: &Root, b: &Root) -> bool {
    let (SourceConfig::SyntheticPeople(a), SourceConfig::SyntheticPeople(other)) =
        (&a.source, &b.source)
    else {
        return false;
    };
    // A group's name contains the label, which may be wrong.
    let is_declared = b.same_groups && a.wrong_labels == other.wrong_labels;
    a.seed == other.seed && !is_declared
}

#[cfg(test)]
mod tests;
