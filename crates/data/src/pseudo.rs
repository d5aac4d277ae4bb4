//! Pseudo-labels: images without labels that are trained on with the predictions of earlier models.
//!
//! ```text
//! image,group,mask,gender,age,confidence,weight            hard: the level of each factor
//! image,group,<name of each joint class>,confidence,weight soft: a distribution over the classes
//! ```
//!
//! `group` is that of the data which an image belongs to, where it is known: while the group is held out, its
//! images are not trained on. Otherwise the image is a group of its own. `group`, `confidence` and `weight` may be
//! missing.
//!
//! Such images are in the training set only. One with the content of an image that is held out is refused
//! ([`held_out_copies`]).
//!
//! Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method", 2013: there the labels are made
//! anew in each step, and their weight increases; here a finished model makes them once.

mod batches;
mod labels;
mod own;
mod table;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use base::text;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::table::Row;
pub use self::{
    batches::PseudoImages,
    labels::PseudoLabels,
    own::{copies, file_hashes, groups_in, held_out_copies},
    table::PseudoTable,
};
use crate::{
    Content, Context, Example, Findings, Manifest, SourceError, Use,
    verified::{check_images, remedy},
};

/// `[data] pseudo`: images that are trained on with the labels of a file of `maskfit pseudo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pseudo {
    /// The file; empty for none.
    pub file: PathBuf,
    /// The folder of its images.
    pub images: PathBuf,
    /// The maximum share of a batch.
    pub share: f64,
    /// The weight of each image in the loss, times that in the file.
    pub weight: f64,
}

impl Pseudo {
    /// Returns whether there are any.
    pub fn is_on(&self) -> bool {
        !self.file.as_os_str().is_empty()
    }

    /// Returns what is wrong with the settings, if anything.
    pub fn problem(&self) -> Option<String> {
        let Pseudo { file, images, share, weight } = self;
        if file.as_os_str().is_empty() != images.as_os_str().is_empty() {
            return Some(
                "name both the `file` of labels and the folder of its `images`".to_owned(),
            );
        }
        if !(*share > 0.0 && *share < 1.0) {
            return Some(format!("`share` is between 0 and 1, not {share}"));
        }
        (!(*weight > 0.0 && *weight <= 1.0))
            .then(|| format!("`weight` is above 0 and at most 1, not {weight}"))
    }

    /// Adds the images to a manifest.
    ///
    /// - `opens_images`: whether to check the images, and to compare them with those of the data.
    ///
    /// # Errors
    /// Everything that is wrong with the file and its images.
    pub fn add_to(
        &self,
        manifest: &mut Manifest,
        context: &Context<'_>,
        opens_images: bool,
    ) -> Result<(), SourceError> {
        if !self.is_on() {
            return Ok(());
        }
        let text = text::read(&self.file).map_err(|source| SourceError::Io {
            path: self.file.clone(),
            source,
            remedy: "name a file of `maskfit pseudo` in `data.pseudo.file`",
        })?;
        let mut findings = Findings::default();
        let table = PseudoTable::new(&manifest.task);
        let rows = table.map_err(SourceError::Settings)?.read(&text, &mut findings);
        let images: Vec<(String, Content)> =
            rows.iter().map(|it| (it.image.clone(), self.content(&it.image))).collect();
        self.check(&rows, &images, manifest, &mut findings);
        if opens_images && findings.0.is_empty() {
            for (name, problem) in check_images(&self.images, &images, context) {
                let remedy = remedy(&problem, "replace the file, or remove its row");
                findings.add(name, problem, remedy);
            }
        }
        if !findings.0.is_empty() {
            return Err(SourceError::Findings { root: self.file.clone(), findings });
        }
        let first = manifest.examples.len();
        let copies = match opens_images {
            true => copies(&images, manifest).into_iter().map(|(a, b)| (first + a, b)).collect(),
            false => Vec::new(),
        };
        let is_soft = rows.first().is_some_and(|it| !it.soft.is_empty());
        manifest.notes.push(format!(
            "{}: {} pseudo-labelled images, {}; at most {} % of a batch, with weight {}",
            self.file.display(),
            rows.len(),
            if is_soft { "soft" } else { "hard" },
            (1000.0 * self.share).round() / 10.0,
            self.weight
        ));
        let sha256 = Sha256::digest(&text);
        manifest.pseudo = PseudoLabels {
            images: first..first + rows.len(),
            hash: sha256[..8].iter().map(|it| format!("{it:02x}")).collect(),
            copies,
            soft: rows.iter().flat_map(|it| it.soft.iter().copied()).collect(),
        };
        self.append(rows, images, manifest);
        Ok(())
    }

    fn content(&self, name: &str) -> Content {
        Content::File(self.images.join(name))
    }

    /// Reports images that are missing or of groups of the test set, and names that are taken.
    fn check(
        &self,
        rows: &[Row],
        images: &[(String, Content)],
        manifest: &Manifest,
        findings: &mut Findings,
    ) {
        let names: HashSet<&str> = manifest.examples.iter().map(|it| it.name.as_str()).collect();
        let test = manifest.examples.iter().filter(|it| it.usage == Use::Test);
        let test: HashSet<&str> = test.map(|it| manifest.groups[it.group].as_str()).collect();
        let is_file = |(_, content): &(String, Content)| match content {
            Content::File(path) => path.is_file(),
            Content::Memory(_) => true,
        };
        let exist: Vec<bool> = images.par_iter().map(is_file).collect();
        for (row, exists) in rows.iter().zip(exist) {
            let place = || format!("line {}", row.line);
            if !exists {
                let problem =
                    format!("there is no file `{}` in {}", row.image, self.images.display());
                findings.add(place(), problem, "correct `data.pseudo.images`, or remove the row");
            }
            if test.contains(row.group.as_str()) {
                let (one, group) = (manifest.task.unit.one(), &row.group);
                let problem =
                    format!("`{}` is of {one} `{group}`, who is in the test set", row.image);
                findings.add(place(), problem, "remove the row");
            }
            if names.contains(named(&row.image).as_str()) {
                let problem = format!("the data has an image `{}` too", named(&row.image));
                findings.add(place(), problem, "rename the file");
            }
        }
    }

    /// Adds checked rows as examples.
    fn append(&self, rows: Vec<Row>, images: Vec<(String, Content)>, manifest: &mut Manifest) {
        let n_factors = manifest.task.factors.len();
        let is_numeric = manifest.task.numeric().next().is_some();
        let numbers = vec![f64::NAN; if is_numeric { n_factors } else { 0 }];
        // The attributes are unknown.
        let unknown = manifest.attributes.iter_mut().map(|it| {
            let known = it.values.iter().position(String::is_empty);
            known.unwrap_or_else(|| {
                it.values.push(String::new());
                it.values.len() - 1
            }) as u32
        });
        let attributes: Vec<u32> = unknown.collect();
        let mut groups: HashMap<String, usize> =
            manifest.groups.iter().cloned().enumerate().map(|(at, it)| (it, at)).collect();
        for (row, (_, content)) in rows.into_iter().zip(images) {
            let group = if row.group.is_empty() { named(&row.image) } else { row.group };
            let next = manifest.groups.len();
            let group = *groups.entry(group).or_insert_with_key(|it| {
                manifest.groups.push(it.clone());
                next
            });
            manifest.examples.push(Example {
                name: named(&row.image),
                content,
                group,
                class: row.class,
                numbers: numbers.clone(),
                attributes: attributes.clone(),
                usage: Use::Train,
                weight: (row.weight * self.weight) as f32,
                hash: None,
            });
        }
    }
}

/// Returns the name of an image in the manifest, which differs from those of the data.
fn named(image: &str) -> String {
    format!("pseudo/{image}")
}

#[cfg(test)]
mod tests;
