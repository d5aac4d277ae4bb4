//! Doubtful labels to be reviewed by a person, as a table; and what the person decides, carried out.
//!
//! ```text
//! person,picture,factor,given,suggested,score,decision
//! 000012_female_Drawn_58,all,age,30-59,>=60,0.0213,fix
//! 000031_male_Drawn_25,000031_male_Drawn_25/normal.jpg,mask,incorrect,not worn,0.0004,weight 0.5
//! ```
//!
//! A decision is `fix` (the label becomes what `suggested` says, which may be another level than it
//! was written with), `drop` (left out altogether), `weight 0.5` (counts that much in training, 0 not
//! at all), or `keep`; none is as `keep`. `all` are all pictures of a person. Where a factor cuts
//! ages, `suggested` may be a year, such as 47; a range alone leaves the year unknown, so that no
//! other cut changes what was decided.
//!
//! Data is never changed: a table is carried out on what was read, each time that it is read.

use std::{collections::HashMap, path::Path};

use base::{
    Task,
    records::{Record, Records},
    task::{Factor, Scope},
    text,
};
use serde::{Deserialize, Serialize};

use crate::{Example, Manifest};

/// A table of doubtful labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Review {
    /// The rows, the most doubtful label first.
    pub rows: Vec<Reviewed>,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reviewed {
    /// Its line in the file that it was read from; of what was read from none, 0.
    #[serde(skip)]
    pub line: usize,
    /// Whose label it is.
    pub person: String,
    /// The picture's name, or `all` where the label is the person's.
    pub picture: String,
    /// The factor's name.
    pub factor: String,
    /// The level that the data gives.
    pub given: String,
    /// The level that models say; or of an age, the year that the reviewer says.
    pub suggested: String,
    /// How well the given level is supported.
    pub score: f64,
    /// What the person who looked at it says; empty before.
    #[serde(default)]
    pub decision: String,
}

/// What becomes of a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// It stays.
    Keep,
    /// It becomes the suggested level.
    Fix,
    /// Its pictures are left out.
    Drop,
    /// Its pictures count that much in training.
    Weight(f32),
}

/// Stands for all pictures of a person.
const ALL: &str = "all";

/// The columns of a table.
const HEADER: [&str; 7] =
    ["person", "picture", "factor", "given", "suggested", "score", "decision"];

impl Reviewed {
    /// What was decided.
    ///
    /// # Errors
    /// A word that is no decision.
    pub fn decided(&self) -> Result<Decision, String> {
        let mut words = self.decision.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None | Some("keep"), None, None) => Ok(Decision::Keep),
            (Some("fix"), None, None) => Ok(Decision::Fix),
            (Some("drop"), None, None) => Ok(Decision::Drop),
            (Some("weight"), Some(number), None) => {
                let weight = number.parse().ok().filter(|it: &f32| (0.0..=1.0).contains(it));
                let weight = weight.map(Decision::Weight);
                weight.ok_or_else(|| format!("a weight is from 0 to 1, not `{number}`"))
            }
            _ => Err(format!(
                "there is no decision `{}`: write `fix`, `drop`, `keep` or `weight 0.5`",
                self.decision
            )),
        }
    }
}

impl Review {
    /// The table's text.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        writer.write_record(HEADER).expect("memory takes every record");
        for row in &self.rows {
            writer.serialize(row).expect("memory takes every record of seven fields");
        }
        let bytes = writer.into_inner().expect("memory can be flushed");
        String::from_utf8(bytes).expect("all fields are text")
    }

    /// Reads a table.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no such table.
    pub fn read(path: &Path) -> Result<Review, String> {
        Review::parse(&text::read(path).map_err(|err| err.to_string())?)
    }

    fn parse(text: &str) -> Result<Review, String> {
        let records = Records::of(text);
        let header = records.header();
        let Ok([person, picture, factor, given, suggested, score, decision]) =
            header.columns(HEADER)
        else {
            return Err(format!(
                "this is no table of `maskfit labels`: its first line is to be `{}`",
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
                person: field(person),
                picture: field(picture),
                factor: field(factor),
                given: field(given),
                suggested: field(suggested),
                score: number.map_err(|_| {
                    format!("line {line}: the score `{}` is no number", field(score))
                })?,
                decision: field(decision),
            })
        };
        Ok(Review { rows: records.rows().map(row).collect::<Result<_, _>>()? })
    }

    /// Carries out what was decided, or nothing of it; returns what that was, in words.
    ///
    /// # Errors
    /// Every row that cannot be carried out, and why.
    pub fn apply(&self, manifest: &mut Manifest) -> Result<String, String> {
        let mut changed = manifest.clone();
        let mut dropped = vec![false; changed.examples.len()];
        let (mut problems, mut lines) = (Vec::new(), HashMap::new());
        let [mut n_fixed, mut n_dropped, mut n_weighted] = [0; 3];
        for row in &self.rows {
            let line = row.line;
            let mut carry_out = || {
                let decision = row.decided()?;
                for at in row.meant(decision, manifest)? {
                    if let Some(before) = lines.insert((at, &row.factor), line) {
                        return Err(format!("line {before} has decided on this label already"));
                    }
                    row.apply(decision, &manifest.task, &mut changed.examples[at])?;
                    dropped[at] |= decision == Decision::Drop;
                }
                match decision {
                    Decision::Keep => {}
                    Decision::Fix => n_fixed += 1,
                    Decision::Drop => n_dropped += 1,
                    Decision::Weight(_) => n_weighted += 1,
                }
                Ok(())
            };
            if let Err(problem) = carry_out() {
                problems.push(format!("line {line}: {problem}"));
            }
        }
        if !problems.is_empty() {
            return Err(problems.join("\n  "));
        }
        let mut dropped = dropped.into_iter();
        changed.examples.retain(|_| dropped.next() == Some(false));
        let n_gone = manifest.examples.len() - changed.examples.len();
        *manifest = changed;
        Ok(format!(
            "{n_fixed} labels fixed, {n_dropped} dropped ({n_gone} pictures), {n_weighted} weighted"
        ))
    }
}

impl Reviewed {
    /// The pictures whose label is decided on.
    fn meant(&self, decision: Decision, manifest: &Manifest) -> Result<Vec<usize>, String> {
        if decision == Decision::Keep {
            return Ok(Vec::new());
        }
        let is_meant = |at: &usize| {
            let it = &manifest.examples[*at];
            manifest.people[it.person] == self.person
                && (self.picture == ALL || it.name == self.picture)
        };
        let meant: Vec<usize> = (0..manifest.examples.len()).filter(is_meant).collect();
        // A person may be there without pictures, which another table dropped.
        let is_gone = self.picture == ALL && manifest.people.contains(&self.person);
        match meant.is_empty() && !is_gone {
            false => Ok(meant),
            true => {
                let what = if self.picture == ALL { &self.person } else { &self.picture };
                Err(format!("the data has no `{what}`"))
            }
        }
    }

    fn apply(&self, decision: Decision, task: &Task, example: &mut Example) -> Result<(), String> {
        let Some(idx) = task.factors.iter().position(|it| it.name == self.factor) else {
            return Err(format!("the data has no factor `{}`", self.factor));
        };
        match decision {
            Decision::Keep | Decision::Drop => {}
            Decision::Weight(weight) => example.weight = example.weight.min(weight),
            Decision::Fix => {
                let factor = &task.factors[idx];
                let year = self.suggested.parse::<f64>().ok().filter(|it| it.is_finite());
                let year = year.filter(|_| task.ranged() == Some(idx));
                let suggested = match year {
                    Some(year) => Factor::level_of(year, &factor.cuts),
                    None => level(factor, &self.suggested)?,
                };
                let (is, given) =
                    (task.project(example.class, Scope::Factor(idx)), level(factor, &self.given)?);
                if is != given && is != suggested {
                    let (is, given) = (&factor.levels[is], &self.given);
                    return Err(format!("the data says `{is}`, not `{given}`: is it other data?"));
                }
                let mut levels = task.levels_of(example.class);
                levels[idx] = suggested;
                example.class = task.class_of(&levels);
                if task.ranged() == Some(idx) && (is != suggested || year.is_some()) {
                    example.age = year;
                }
            }
        }
        Ok(())
    }
}

fn level(factor: &Factor, name: &str) -> Result<usize, String> {
    let level = factor.levels.iter().position(|it| it == name);
    level.ok_or_else(|| format!("`{name}` is none of: {}", factor.levels.join(", ")))
}

#[cfg(test)]
mod tests {
    use base::Task;

    use super::Review;
    use crate::{Content, Example, Manifest, Use};

    /// Two people of a male 28 years old each, with a picture with a mask and one without.
    fn manifest() -> Manifest {
        let task = Task::mask_gender_age();
        let example = |person: usize, name: &str, mask: usize| Example {
            name: format!("{}/{name}.jpg", ["ann", "ben"][person]),
            content: Content::Memory([].into()),
            person,
            class: task.class_of(&[mask, 0, 0]),
            age: Some(28.0),
            usage: Use::Pool,
            weight: 1.0,
        };
        let examples = vec![
            example(0, "mask1", 0),
            example(0, "normal", 2),
            example(1, "mask1", 0),
            example(1, "normal", 2),
        ];
        let people = ["ann", "ben"].map(str::to_owned).into();
        Manifest::new(task, people, examples)
    }

    const HEADER: &str = "person,picture,factor,given,suggested,score,decision\n";

    fn applied(rows: &str) -> Result<Manifest, String> {
        let mut manifest = manifest();
        Review::parse(&format!("{HEADER}{rows}"))?.apply(&mut manifest)?;
        Ok(manifest)
    }

    #[test]
    fn each_decision_does_what_it_says() {
        let it = applied(
            "ann,all,gender,male,female,0.1,fix\n\
             ann,all,age,<30,>=60,0.1,fix\n\
             ann,ann/normal.jpg,mask,not worn,incorrect,0.2,fix\n\
             ben,ben/mask1.jpg,mask,worn,incorrect,0.3,drop\n\
             ben,all,gender,male,female,0.4, weight 0.5\n\
             ben,all,age,<30,>=60,0.4,keep\n\
             nobody,all,age,<30,>=60,0.4,\n",
        )
        .unwrap();
        let class = |levels: [usize; 3]| it.task.class_of(&levels);
        let rows: Vec<_> =
            it.examples.iter().map(|it| (it.name.as_str(), it.class, it.age, it.weight)).collect();
        assert_eq!(
            rows,
            [
                ("ann/mask1.jpg", class([0, 1, 2]), None, 1.0),
                ("ann/normal.jpg", class([1, 1, 2]), None, 1.0),
                ("ben/normal.jpg", class([2, 0, 0]), Some(28.0), 0.5),
            ]
        );
    }

    #[test]
    fn what_cannot_be_carried_out_says_where_and_why() {
        for (row, want) in [
            ("ann,all,gender,male,female,0.1,yes", "line 2: there is no decision `yes`"),
            ("ann,all,gender,male,female,0.1,weight 2", "line 2: a weight is from 0 to 1, not `2`"),
            ("ann,all,cheese,male,female,0.1,fix", "line 2: the data has no factor `cheese`"),
            ("ann,all,gender,male,dog,0.1,fix", "line 2: `dog` is none of: male, female"),
            ("eve,all,gender,male,female,0.1,fix", "line 2: the data has no `eve`"),
            ("ann,all,age,30-59,>=60,0.1,fix", "line 2: the data says `<30`, not `30-59`"),
            ("ann,all,age", "line 2: has 3 fields, the header 7"),
            ("ann,all,age,<30,47,high,fix", "line 2: the score `high` is no number"),
            (
                "\n\r\n\"an\nn\",all,age,<30,47,1,keep\n\neve,all,gender,male,female,0.1,fix",
                "line 7: the data has no `eve`",
            ),
            (
                "ann,all,age,<30,>=60,0.1,fix\nann,ann/mask1.jpg,age,<30,30-59,0.1,fix",
                "line 3: line 2 has decided on this label already",
            ),
        ] {
            let err = applied(row).unwrap_err();
            assert!(err.starts_with(want), "{err}");
        }
        let both = "ann,all,gender,male,female,0.1,yes\nben,all,gender,male,female,0.1,no\n";
        assert_eq!(applied(both).unwrap_err().lines().count(), 2);
    }

    #[test]
    fn a_year_may_be_suggested_and_only_a_fix_needs_a_suggestion() {
        let it = applied("ann,all,age,<30,47,0.1,fix\nben,all,age,,,0.1,drop\n").unwrap();
        let ages: Vec<_> = it.examples.iter().map(|it| (it.class % 3, it.age)).collect();
        assert_eq!(ages, [(1, Some(47.0)); 2]);
    }

    #[test]
    fn what_is_no_table_is_refused_and_a_person_who_is_gone_is_none_to_decide_on() {
        for text in ["", "hello", "person;picture\n"] {
            assert!(Review::parse(text).unwrap_err().contains("no table"), "{text}");
        }
        let mut manifest = manifest();
        let drop = Review::parse(&format!("{HEADER}ann,all,age,<30,<30,0.1,drop\n")).unwrap();
        let said = drop.apply(&mut manifest).unwrap();
        assert_eq!(said, "0 labels fixed, 1 dropped (2 pictures), 0 weighted");
        assert!(drop.apply(&mut manifest).is_ok() && manifest.examples.len() == 2);
    }

    #[test]
    fn a_label_that_is_right_already_stays_so() {
        let twice = "ann,all,gender,female,male,0.1,fix\n";
        assert_eq!(applied(twice).unwrap().examples[0].class, manifest().examples[0].class);
    }

    #[test]
    fn what_is_written_reads_back() {
        let rows = "\"a, b\",all,age,<30,>=60,0.25,weight 0.5\n";
        let review = Review::parse(&format!("{HEADER}{rows}")).unwrap();
        assert_eq!(review.to_csv(), format!("{HEADER}{rows}"));
    }
}
