//! The machine-readable output of `maskfit eda`: `eda.toml` and `duplicates.csv`.

use base::{table, task::Scope};
use data::{NearDuplicate, Similarity, Survey};
use serde::Serialize;

use super::Look;

/// `eda.toml`.
#[derive(Serialize)]
struct Statistics<'a> {
    data: &'a str,
    #[serde(flatten)]
    survey: &'a Survey,
    findings: Vec<String>,
    duplicates: Duplicates,
}

/// Numbers of duplicate pairs.
#[derive(Default, Serialize)]
pub(super) struct Duplicates {
    /// Number of images that were compared with only some of the images similar to them.
    pub(super) n_crowded: usize,
    pub(super) same_bytes: Kind,
    pub(super) same_pixels: Kind,
    pub(super) near: Kind,
}

#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Kind {
    pub(super) within_a_group: usize,
    pub(super) across_groups: usize,
    /// Pairs with different labels, of either kind.
    pub(super) labels_differ: usize,
}

impl Look {
    pub(super) fn duplicates(&self) -> Duplicates {
        let mut counts = Duplicates { n_crowded: self.survey.n_crowded, ..Duplicates::default() };
        for pair in &self.survey.near_duplicates {
            let kind = match pair.likeness {
                Similarity::SameBytes => &mut counts.same_bytes,
                Similarity::SamePixels => &mut counts.same_pixels,
                Similarity::Near => &mut counts.near,
            };
            match self.is_across_groups(pair) {
                true => kind.across_groups += 1,
                false => kind.within_a_group += 1,
            }
            kind.labels_differ += usize::from(self.labels_differ(pair));
        }
        counts
    }

    pub(super) fn statistics(&self) -> String {
        let findings = self.findings.0.iter();
        let statistics = Statistics {
            data: &self.place,
            survey: &self.survey,
            findings: findings.map(|it| format!("{}: {}", it.place, it.problem)).collect(),
            duplicates: self.duplicates(),
        };
        toml::to_string(&statistics).expect("statistics serialise to TOML")
    }

    pub(super) fn duplicates_csv(&self) -> String {
        let header = [
            "likeness",
            "bits",
            "image_a",
            "image_b",
            "group_a",
            "group_b",
            "class_a",
            "class_b",
            "labels_differ",
        ];
        let row = |pair: &NearDuplicate| {
            let [a, b] = self.examples(pair);
            let likeness = match pair.likeness {
                Similarity::SameBytes => "same_bytes",
                Similarity::SamePixels => "same_pixels",
                Similarity::Near => "near",
            };
            let group = |it: usize| self.manifest.groups[it].clone();
            let class = |it| self.manifest.task.class_name(it, Scope::Joint);
            [
                likeness.to_owned(),
                pair.distance.to_string(),
                a.name.clone(),
                b.name.clone(),
                group(a.group),
                group(b.group),
                class(a.class),
                class(b.class),
                self.labels_differ(pair).to_string(),
            ]
        };
        table::text(header, self.survey.near_duplicates.iter().map(row))
    }
}
