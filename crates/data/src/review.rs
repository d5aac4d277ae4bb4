//! Tables of label issues for manual review, and the reviewer's decisions applied to the data.
//!
//! ```text
//! group,image,factor,given,suggested,score,decision
//! 000012_female_Drawn_58,all,age,30-59,>=60,0.0213,fix
//! 000031_male_Drawn_25,000031_male_Drawn_25/normal.jpg,mask,incorrect,not worn,0.0004,weight 0.5
//! ```
//!
//! A decision is `fix` (the label becomes that of `suggested`, which the reviewer may have changed to
//! another level), `drop` (left out entirely), `weight 0.5` (a sample weight in training, 0 to not train on
//! it), or `keep`; empty means `keep`. `all` means all images of a group. For a numeric factor `suggested`
//! may be a number, such as the age 47; a range alone leaves the number unknown, so that other cuts do not
//! change the decision.
//!
//! Files are never changed: decisions are applied to the manifest each time that the data is read.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use base::{
    Task,
    records::{Record, Records},
    table,
    task::{Factor, Scope},
    text,
};
use serde::{Deserialize, Serialize};

use crate::{Example, Manifest};

/// A table of label issues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Review {
    /// The rows, the likeliest errors first.
    pub rows: Vec<Reviewed>,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reviewed {
    /// Its line in the file that it was read from; 0 if it was not read from a file.
    #[serde(skip)]
    pub line: usize,
    /// The group's name.
    pub group: String,
    /// The image's name, or `all` if the label is the group's.
    pub image: String,
    /// The factor's name.
    pub factor: String,
    /// The level in the data.
    pub given: String,
    /// The predicted level; or, of a numeric factor, a number entered by the reviewer.
    pub suggested: String,
    /// The support for the given level.
    pub score: f64,
    /// The reviewer's decision; empty before the review.
    #[serde(default)]
    pub decision: String,
}

/// A reviewer's decision on a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// The label stays.
    Keep,
    /// The label becomes the suggested level.
    Fix,
    /// The images are left out.
    Drop,
    /// The images get this sample weight in training.
    Weight(f32),
}

/// Stands for all images of a group.
const ALL: &str = "all";

/// The columns of a table.
const HEADER: [&str; 7] = ["group", "image", "factor", "given", "suggested", "score", "decision"];

impl Reviewed {
    /// Parses the decision.
    ///
    /// # Errors
    /// A text that is not a decision.
    pub fn decided(&self) -> Result<Decision, String> {
        let mut words = self.decision.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None | Some("keep"), None, None) => Ok(Decision::Keep),
            (Some("fix"), None, None) => Ok(Decision::Fix),
            (Some("drop"), None, None) => Ok(Decision::Drop),
            (Some("weight"), Some(number), None) => {
                let weight = number.parse().ok().filter(|it: &f32| (0.0..=1.0).contains(it));
                let weight = weight.map(Decision::Weight);
                weight.ok_or_else(|| format!("a weight must be from 0 to 1, not `{number}`"))
            }
            _ => Err(format!(
                "unknown decision `{}`: write `fix`, `drop`, `keep` or `weight 0.5`",
                self.decision
            )),
        }
    }
}

impl Review {
    /// Formats the table as CSV.
    pub fn to_csv(&self) -> String {
        let row = |it: &Reviewed| {
            let Reviewed { group, image, factor, given, suggested, score, decision, line: _ } = it;
            let score = score.to_string();
            [group, image, factor, given, suggested, &score, decision].map(String::clone)
        };
        table::text(HEADER, self.rows.iter().map(row))
    }

    /// Reads a table.
    ///
    /// # Errors
    /// A file that cannot be read, or is not such a table.
    pub fn read(path: &Path) -> Result<Review, String> {
        let text = text::read(path)
            .map_err(|err| format!("{err}: `data.reviewed` names tables of `maskfit labels`"))?;
        Review::parse(&text)
    }

    fn parse(text: &str) -> Result<Review, String> {
        let records = Records::of(text);
        let header = records.header();
        let Ok([group, image, factor, given, suggested, score, decision]) = header.columns(HEADER)
        else {
            return Err(format!(
                "this is not a table of `maskfit labels`: its first line must be `{}`",
                HEADER.join(",")
            ));
        };
        let row = |it: Record| {
            let line = it.line;
            if let Some(problem) = it.problem(&header) {
                return Err(format!("line {line}: {problem}"));
            }
            let field = |column: usize| it.fields[column].to_owned();
            let number = it.fields[score].parse();
            Ok(Reviewed {
                line,
                group: field(group),
                image: field(image),
                factor: field(factor),
                given: field(given),
                suggested: field(suggested),
                score: number.map_err(|_| {
                    format!("line {line}: the score `{}` is not a number", field(score))
                })?,
                decision: field(decision),
            })
        };
        Ok(Review { rows: records.rows().map(row).collect::<Result<_, _>>()? })
    }

    /// Applies all decisions, or none if there are errors; returns a summary.
    ///
    /// # Errors
    /// Every row that cannot be applied, and why.
    pub fn apply(&self, manifest: &mut Manifest) -> Result<String, String> {
        let index = Index::of(manifest);
        // The examples that rows refer to, with their changes.
        let mut changed: HashMap<usize, Example> = HashMap::new();
        let mut dropped = HashSet::new();
        let (mut problems, mut lines) = (Vec::new(), HashMap::new());
        let [mut n_fixed, mut n_dropped, mut n_weighted] = [0; 3];
        for row in &self.rows {
            let line = row.line;
            let mut apply = || {
                let decision = row.decided()?;
                if decision == Decision::Keep {
                    return Ok(());
                }
                let meant = index.meant(row)?;
                let change = match meant.first() {
                    Some(_) => Some(index.change(row, decision)?),
                    None => None,
                };
                for (at, change) in meant.into_iter().zip(change.iter().cycle()) {
                    if let Some(before) = lines.insert((at, change.factor), line) {
                        return Err(format!(
                            "this label has already been decided in line {before}"
                        ));
                    }
                    let unchanged = || manifest.examples[at].clone();
                    change.apply(&manifest.task, changed.entry(at).or_insert_with(unchanged))?;
                    if decision == Decision::Drop {
                        dropped.insert(at);
                    }
                }
                match decision {
                    Decision::Keep => {}
                    Decision::Fix => n_fixed += 1,
                    Decision::Drop => n_dropped += 1,
                    Decision::Weight(_) => n_weighted += 1,
                }
                Ok(())
            };
            if let Err(problem) = apply() {
                problems.push(format!("line {line}: {problem}"));
            }
        }
        if !problems.is_empty() {
            return Err(problems.join("\n  "));
        }
        for (at, example) in changed {
            manifest.examples[at] = example;
        }
        let mut at = 0..;
        manifest.examples.retain(|_| !at.next().is_some_and(|it| dropped.contains(&it)));
        let n_gone = dropped.len();
        Ok(format!(
            "{n_fixed} labels fixed, {n_dropped} dropped ({n_gone} images), {n_weighted} weighted"
        ))
    }
}

/// An index of the manifest's names, to look up the groups and images of each row quickly.
struct Index<'a> {
    manifest: &'a Manifest,
    /// Positions of groups, by name.
    groups: Vec<usize>,
    /// Positions of examples, by the name of their group.
    by_group: Vec<usize>,
    /// Positions of examples, by their own name.
    by_name: Vec<usize>,
    /// The position of each factor, and of each of its levels, by name.
    factors: HashMap<&'a str, (usize, HashMap<&'a str, usize>)>,
}

impl<'a> Index<'a> {
    fn of(manifest: &'a Manifest) -> Index<'a> {
        let Manifest { task, groups, examples, .. } = manifest;
        let levels = |factor: &'a Factor| -> HashMap<&'a str, usize> {
            // Of equal names, the first is used.
            factor.levels.iter().enumerate().rev().map(|(at, it)| (it.as_str(), at)).collect()
        };
        let factors = task.factors.iter().enumerate().rev();
        Index {
            manifest,
            groups: sorted(groups.len(), |it| &groups[it]),
            by_group: sorted(examples.len(), |it| &groups[examples[it].group]),
            by_name: sorted(examples.len(), |it| &examples[it].name),
            factors: factors.map(|(at, it)| (it.name.as_str(), (at, levels(it)))).collect(),
        }
    }

    /// Returns the images that a row refers to, in increasing order.
    fn meant(&self, row: &Reviewed) -> Result<Vec<usize>, String> {
        let Manifest { groups, examples, .. } = self.manifest;
        let group = |at: usize| groups[examples[at].group].as_str();
        let (meant, what) = match row.image.as_str() {
            ALL => (named(&self.by_group, &row.group, group).to_vec(), &row.group),
            name => {
                let mut meant = named(&self.by_name, name, |it| &examples[it].name).to_vec();
                meant.retain(|&it| group(it) == row.group);
                (meant, &row.image)
            }
        };
        // A group may have no images left, if another table dropped them.
        let is_gone = || {
            row.image == ALL
                && !named(&self.groups, &row.group, |it| groups[it].as_str()).is_empty()
        };
        match meant.is_empty() && !is_gone() {
            false => Ok(meant),
            true => Err(format!("the data has no `{what}`")),
        }
    }

    /// Returns the change of a row to each of its images.
    fn change(&self, row: &Reviewed, decision: Decision) -> Result<Change, String> {
        let Some((factor, levels)) = self.factors.get(row.factor.as_str()) else {
            return Err(format!("the data has no factor `{}`", row.factor));
        };
        let (task, factor) = (&self.manifest.task, *factor);
        let what = match decision {
            Decision::Keep | Decision::Drop => What::Nothing,
            Decision::Weight(weight) => What::Weight(weight),
            Decision::Fix => {
                let level = |name: &str| {
                    let known = || task.factors[factor].levels.join(", ");
                    let level = levels.get(name).copied();
                    level.ok_or_else(|| format!("`{name}` is not one of: {}", known()))
                };
                let number = row.suggested.parse::<f64>().ok().filter(|it| it.is_finite());
                let number = number.filter(|_| task.factors[factor].is_numeric());
                let suggested = match number {
                    Some(number) => Factor::level_of(number, &task.factors[factor].cuts),
                    None => level(&row.suggested)?,
                };
                What::Fix { given: level(&row.given)?, suggested, number }
            }
        };
        Ok(Change { factor, what })
    }
}

/// Returns positions sorted by name, those of equal names in increasing order.
fn sorted<'a>(n: usize, name: impl Fn(usize) -> &'a String) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| name(a).cmp(name(b)));
    order
}

/// Returns those of sorted positions that have the name.
fn named<'a, 'b>(order: &'a [usize], name: &str, of: impl Fn(usize) -> &'b str) -> &'a [usize] {
    let from = &order[order.partition_point(|&it| of(it) < name)..];
    &from[..from.partition_point(|&it| of(it) == name)]
}

/// The change to an image by a decision.
struct Change {
    /// The position of the factor.
    factor: usize,
    what: What,
}

/// The kind of change; levels by their position.
enum What {
    Nothing,
    Weight(f32),
    Fix { given: usize, suggested: usize, number: Option<f64> },
}

impl Change {
    fn apply(&self, task: &Task, example: &mut Example) -> Result<(), String> {
        match self.what {
            What::Nothing => {}
            What::Weight(weight) => example.weight = example.weight.min(weight),
            What::Fix { given, suggested, number } => {
                let levels = &task.factors[self.factor].levels;
                let is = task.project(example.class, Scope::Factor(self.factor));
                if is != given && is != suggested {
                    let (is, given) = (&levels[is], &levels[given]);
                    return Err(format!(
                        "the label in the data is `{is}`, not `{given}`: is it other data?"
                    ));
                }
                let mut levels = task.levels_of(example.class);
                levels[self.factor] = suggested;
                example.class = task.class_of(&levels);
                let is_numeric = task.factors[self.factor].is_numeric();
                if is_numeric && (is != suggested || number.is_some()) {
                    example.set_number(self.factor, task.factors.len(), number);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
