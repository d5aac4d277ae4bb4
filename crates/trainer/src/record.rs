//! The data of a run, as a table: every image with its labels and its side, the set that it is in.
//!
//! ```text
//! image,group,class,label,<numeric factors>,hash,weight,use,side
//! 000012_female_Drawn_58/normal.jpg,000012_female_Drawn_58,16,not worn female 30-59,58,0f3c...,1,pool,train
//! ```
//!
//! A numeric factor, such as `age`, has a column of its numbers, empty where they are unknown.
//! `hash` is that of the file's bytes (FNV-1a, 64 bits), which the verification of the data has computed: no file is
//! read for it. It tells whether a file is another one, not that nobody has forged it. Tables of earlier versions do
//! not have it, and images that the program makes have none.
//! `use` is set by the source and the reviews (`pool`, `train` or `test`; `pseudo` and the first digits of the
//! file's SHA-256 for pseudo-labelled images), `side` by the split: `train`,
//! `valid`, `test` or `left out`; in a cross-validation also `fold 0` and so on, `fold 0; fold 7` if repeated.
//! A checkpoint contains the table's SHA-256, so that a resumed run detects changes of its data, and the table identifies them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{Display, Write as _},
};

use base::{
    Task,
    names::listed,
    records::{self, Records},
    table,
    task::{Scope, Unit},
};
use data::{Folds, Manifest, PseudoLabels, Use};
use sha2::{Digest as _, Sha256};

use crate::{
    plan::Plan,
    run::{Run, RunError},
};

/// The table's file.
pub(crate) const FILE: &str = "data.csv";

/// A row of the table: an image of the run.
pub(crate) struct Row<'a> {
    pub(crate) image: &'a str,
    pub(crate) group: &'a str,
    class: usize,
    pub(crate) label: &'a str,
    /// The number of each numeric factor, where it is known.
    pub(crate) numbers: Vec<Option<f64>>,
    /// Of the file, in hexadecimal digits; empty where it is unknown.
    hash: Cow<'a, str>,
    weight: f32,
    usage: &'a str,
    pub(crate) side: &'a str,
}

/// The columns before and after those of the numeric factors.
const COLUMNS: [&[&str]; 2] =
    [&["image", "group", "class", "label"], &["hash", "weight", "use", "side"]];
/// The last columns of earlier versions.
const EARLIER: &[&str] = &["weight", "use", "side"];

impl<'a> Row<'a> {
    fn fields(self) -> Vec<Cow<'a, str>> {
        let number = |it: Option<f64>| it.map_or(String::new(), |it| it.to_string()).into();
        let begin = [self.image.into(), self.group.into(), self.class.to_string().into()];
        let begin = begin.into_iter().chain([self.label.into()]);
        let weight = table::number(f64::from(self.weight)).into();
        let end = [self.hash, weight, self.usage.into(), self.side.into()];
        begin.chain(self.numbers.into_iter().map(number)).chain(end).collect()
    }

    /// Returns whether the label is one that a model predicted.
    pub(crate) fn is_pseudo(&self) -> bool {
        self.usage.starts_with(PSEUDO)
    }

    /// - `n_factors`: the number of numeric factors.
    fn read(record: &'a records::Record, n_factors: usize) -> Option<Row<'a>> {
        let fields: Vec<&str> = record.fields.iter().collect();
        let [image, group, class, label, rest @ ..] = fields.as_slice() else { return None };
        let (numbers, end) = rest.split_at_checked(n_factors)?;
        let (hash, weight, usage, side) = match *end {
            [hash, weight, usage, side] => (hash, weight, usage, side),
            [weight, usage, side] => ("", weight, usage, side),
            _ => return None,
        };
        let number = |it: &&str| match it.is_empty() {
            true => Some(None),
            false => it.parse().ok().map(Some),
        };
        Some(Row {
            image,
            group,
            class: class.parse().ok()?,
            label,
            numbers: numbers.iter().map(number).collect::<Option<_>>()?,
            hash: hash.into(),
            weight: weight.parse().ok()?,
            usage,
            side,
        })
    }
}

/// Parses a table that the program wrote: the names of its numeric factors, and its rows.
///
/// # Errors
/// The header is a different one.
fn read(text: &str) -> Result<(Vec<String>, Vec<records::Record>), String> {
    let table = Records::exact(text);
    let header = table.header();
    let fields: Vec<&str> = header.fields.iter().collect();
    let after = fields.strip_prefix(COLUMNS[0]);
    let factors =
        after.and_then(|it| it.strip_suffix(COLUMNS[1]).or_else(|| it.strip_suffix(EARLIER)));
    match factors {
        Some(it) => Ok((it.iter().map(|&it| it.to_owned()).collect(), table.rows().collect())),
        None => Err(format!("the header is `{}`", table::line(&header.fields))),
    }
}

/// The table and its fingerprint.
pub(crate) struct Record {
    text: String,
    fingerprint: String,
}

/// The side of images that are in no set.
const LEFT_OUT: &str = "left out";
const VALID: &str = "valid";

impl Record {
    /// Returns the table of a plan.
    pub(crate) fn of(plan: &Plan) -> Record {
        let mut sides = vec![LEFT_OUT; plan.images.len()];
        for (name, side) in
            [("train", &plan.sides.train), (VALID, &plan.sides.valid), ("test", &plan.test)]
        {
            side.iter().for_each(|&it| sides[it] = name);
        }
        let labels = labels(&plan.task);
        let usages = Usages::new(&plan.pseudo);
        let rows = sides.into_iter().enumerate().map(|(idx, side)| Row {
            image: &plan.images[idx].0,
            group: &plan.groups[plan.persons[idx]],
            class: plan.classes[idx],
            label: &labels[plan.classes[idx]],
            numbers: numbers(&plan.task, &plan.numbers[idx]),
            hash: digits(plan.hashes[idx]),
            weight: plan.weights[idx],
            usage: usages.name(idx, plan.usages[idx]),
            side,
        });
        Record::of_rows(&plan.task, rows)
    }

    /// Returns the table of a cross-validation.
    pub(crate) fn of_folds(manifest: &Manifest, folds: &Folds) -> Record {
        let side = |idx: usize| {
            let of_repeat = |it| folds.holding_out(manifest, it, idx);
            let held_out: Vec<String> = (0..folds.n_repeats())
                .filter_map(of_repeat)
                .map(|it| format!("fold {it}"))
                .collect();
            match (held_out.is_empty(), manifest.examples[idx].usage) {
                (false, _) => held_out.join("; "),
                (true, Use::Pool) => LEFT_OUT.to_owned(),
                (true, Use::Train) => "train".to_owned(),
                (true, Use::Valid) => VALID.to_owned(),
                (true, Use::Test) => "test".to_owned(),
            }
        };
        let sides: Vec<String> = (0..manifest.examples.len()).map(side).collect();
        let labels = labels(&manifest.task);
        let usages = Usages::new(&manifest.pseudo);
        let rows = manifest.examples.iter().zip(&sides).enumerate().map(|(idx, (it, side))| Row {
            image: &it.name,
            group: &manifest.groups[it.group],
            class: it.class,
            label: &labels[it.class],
            numbers: numbers(&manifest.task, &it.numbers),
            hash: digits(it.hash),
            weight: it.weight,
            usage: usages.name(idx, it.usage),
            side,
        });
        Record::of_rows(&manifest.task, rows)
    }

    fn of_rows<'a>(task: &Task, rows: impl Iterator<Item = Row<'a>>) -> Record {
        let factors = task.numeric().map(|it| task.factors[it].name.as_str());
        let [begin, end] = COLUMNS.map(|it| it.iter().copied());
        Record::from(table::text(begin.chain(factors).chain(end), rows.map(Row::fields)))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Passes the row of each image to `each`.
    ///
    /// # Errors
    /// The table was not written by this program.
    pub(crate) fn each_row(&self, each: &mut dyn FnMut(Row<'_>)) -> Result<(), String> {
        let (factors, lines) = read(&self.text)?;
        for line in &lines {
            let row = Row::read(line, factors.len());
            each(row.ok_or_else(|| format!("line {}: invalid row", line.line))?);
        }
        Ok(())
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the table with this fingerprint in a run's folder: the current one, or an earlier one that
    /// [`Record::replace`] has kept.
    ///
    /// # Errors
    /// No table has this fingerprint.
    pub(crate) fn find(run: &Run, fingerprint: &str) -> Result<Record, RunError> {
        let kept = std::fs::read_dir(run.dir()).into_iter().flatten().flatten();
        let kept = kept.map(|it| it.file_name().to_string_lossy().into_owned());
        let kept = kept.filter(|it| it.starts_with("data-until-") && it.ends_with(".csv"));
        for name in [FILE.to_owned()].into_iter().chain(kept) {
            if let Ok(text) = run.read(&name) {
                let record = Record::from(text);
                if record.fingerprint == fingerprint {
                    return Ok(record);
                }
            }
        }
        let reason = "the data is not what this run started with, and the earlier data is unknown: this \
                      table is missing or does not match the checkpoint: start a new run";
        Err(RunError::Damaged { path: run.dir().join(FILE), reason: reason.to_owned() })
    }

    /// Replaces the run's table, and keeps the earlier one as that until `step`.
    pub(crate) fn replace(&self, run: &Run, earlier: &Record, step: usize) -> Result<(), RunError> {
        run.write(&format!("data-until-{step}.csv"), &earlier.text)?;
        run.write(FILE, &self.text)
    }
}

impl From<String> for Record {
    fn from(text: String) -> Record {
        let hash = Sha256::digest(&text);
        let mut fingerprint = String::new();
        for byte in hash {
            write!(fingerprint, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Record { text, fingerprint }
    }
}

/// The beginning of `use` for pseudo-labelled images.
const PSEUDO: &str = "pseudo ";

/// The texts of the column `use`.
struct Usages<'a> {
    pseudo: &'a PseudoLabels,
    name_of_pseudo: String,
}

impl Usages<'_> {
    fn new(pseudo: &PseudoLabels) -> Usages<'_> {
        Usages { pseudo, name_of_pseudo: format!("{PSEUDO}{}", pseudo.hash) }
    }

    fn name(&self, image: usize, usage: Use) -> &str {
        match usage {
            _ if self.pseudo.contains(image) => &self.name_of_pseudo,
            Use::Pool => "pool",
            Use::Train => "train",
            Use::Valid => "valid",
            Use::Test => "test",
        }
    }
}

/// Returns the number of each numeric factor, where it is known.
pub(crate) fn numbers(task: &Task, numbers: &[f64]) -> Vec<Option<f64>> {
    let known = |idx: usize| numbers.get(idx).copied().filter(|it| !it.is_nan());
    task.numeric().map(known).collect()
}

/// Formats the hash of a file; empty for none.
fn digits(hash: Option<u64>) -> Cow<'static, str> {
    hash.map_or(Cow::Borrowed(""), |it| format!("{it:016x}").into())
}

fn labels(task: &Task) -> Vec<String> {
    task.class_names(Scope::Joint)
}

/// The differences between two tables.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// One line per kind of change: the number of images, the kind, and the first of them.
    pub(crate) lines: Vec<String>,
    /// Whether a group has moved between the training, validation and test sets.
    pub(crate) has_moved: bool,
    /// Whether the validation set has other images or labels, so that scores are not comparable.
    pub(crate) changes_validation: bool,
}

impl Changes {
    /// Compares two tables; `unit` is what a group is.
    ///
    /// # Errors
    /// A table was not written by this program, or has other numeric factors.
    pub(crate) fn between(before: &Record, after: &Record, unit: Unit) -> Result<Changes, String> {
        let invalid = |it: &records::Record| format!("line {}: invalid row", it.line);
        let (factors, lines) = read(&before.text)?;
        let (factors_after, lines_after) = read(&after.text)?;
        if factors != factors_after {
            let [before, after] = [factors, factors_after].map(|it| it.join(", "));
            return Err(format!("its numeric factors are `{before}`, those of the data `{after}`"));
        }
        let row = |it| Row::read(it, factors_after.len()).ok_or_else(|| invalid(it));
        let known: HashMap<&str, Row<'_>> =
            lines.iter().map(|it| row(it).map(|it| (it.image, it))).collect::<Result<_, _>>()?;
        let mut left: BTreeSet<&str> = known.keys().copied().collect();
        let mut changes = Changes::default();
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut moved: BTreeMap<String, String> = BTreeMap::new();
        for line in &lines_after {
            let now = row(line)?;
            let image = now.image;
            left.remove(image);
            let Some(was) = known.get(image) else {
                changes.changes_validation |= is_validated(now.side);
                kinds.entry("added".to_owned()).or_default().push(format!("`{image}`"));
                continue;
            };
            let mut note = |kind: &str, was: &dyn Display, is: &dyn Display| {
                kinds
                    .entry(kind.to_owned())
                    .or_default()
                    .push(format!("`{image}` ({was} -> {is})"));
            };
            let has_other_label = (was.class, was.label) != (now.class, now.label);
            let has_other_numbers = was.numbers != now.numbers;
            if has_other_label {
                note("relabelled", &was.label, &now.label);
            } else if has_other_numbers {
                for ((name, was), now) in factors.iter().zip(&was.numbers).zip(&now.numbers) {
                    if was != now {
                        let number =
                            |it: &Option<f64>| it.map_or("none".to_owned(), |it| it.to_string());
                        note(&format!("with a different {name}"), &number(was), &number(now));
                    }
                }
            }
            // Earlier versions have no hashes.
            let is_other_file =
                !was.hash.is_empty() && !now.hash.is_empty() && was.hash != now.hash;
            if is_other_file {
                note("whose file has changed", &was.hash, &now.hash);
            }
            if was.weight != now.weight {
                note("reweighted", &was.weight, &now.weight);
            }
            if was.group != now.group {
                note(&format!("of a different {}", unit.one()), &was.group, &now.group);
            }
            if was.usage != now.usage {
                note("with a different use", &was.usage, &now.usage);
            }
            if was.side != now.side {
                if ![was.side, now.side].contains(&LEFT_OUT) {
                    moved.insert(now.group.to_owned(), format!("{} -> {}", was.side, now.side));
                } else {
                    note("on another side", &was.side, &now.side);
                }
            }
            let is_relabelled = has_other_label || has_other_numbers;
            let is_other =
                is_relabelled || is_other_file || was.group != now.group || was.side != now.side;
            changes.changes_validation |=
                is_other && (is_validated(was.side) || is_validated(now.side));
        }
        for image in left {
            changes.changes_validation |= is_validated(known[image].side);
            kinds.entry("removed".to_owned()).or_default().push(format!("`{image}`"));
        }
        for (kind, images) in kinds {
            let n = images.len();
            let what = if n == 1 { "image" } else { "images" };
            changes.lines.push(format!("{n} {what} {kind}: {}", listed(images)));
        }
        changes.has_moved = !moved.is_empty();
        if changes.has_moved {
            let n = moved.len();
            let what = format!("{} {}", unit.count(n), if n == 1 { "is" } else { "are" });
            let each = moved.into_iter().map(|(group, how)| format!("`{group}` ({how})"));
            changes.lines.push(format!("{what} on another side: {}", listed(each)));
        }
        Ok(changes)
    }
}

fn is_validated(side: &str) -> bool {
    side == VALID
}

#[cfg(test)]
mod tests {
    use base::task::Unit;

    use super::{Changes, Record};

    const HEADER: &str = "image,group,class,label,age,weight,use,side\n";

    fn record(rows: &str) -> Record {
        Record::from(format!("{HEADER}{rows}"))
    }

    fn changes(before: &str, after: &str) -> Changes {
        Changes::between(&record(before), &record(after), Unit::Person).unwrap()
    }

    #[test]
    fn each_change_is_reported() {
        let before = "\"a, 1\",a,0,old,61,1,pool,train\nb1,b,0,old,61,1,pool,valid\nc1,c,1,new,,0.5,pool,train\n";
        assert_eq!(changes(before, before), Changes::default());
        let after = "\"a, 1\",a,1,new,20,1,pool,train\nb1,b,0,old,61,0,pool,valid\nd1,d,1,new,,1,pool,train\n";
        let it = changes(before, after);
        assert_eq!(
            it.lines,
            [
                "1 image added: `d1`",
                "1 image relabelled: `a, 1` (old -> new)",
                "1 image removed: `c1`",
                "1 image reweighted: `b1` (1 -> 0)",
            ]
        );
        assert!(!it.has_moved && !it.changes_validation);
    }

    #[test]
    fn another_content_of_a_file_is_a_change() {
        const HEADER: &str = "image,group,class,label,age,hash,weight,use,side\n";
        let row = |hash: &str, side: &str| {
            Record::from(format!("{HEADER}a1,a,0,old,61,{hash},1,pool,{side}\n"))
        };
        let changes = |a: &Record, b: &Record| Changes::between(a, b, Unit::Person).unwrap();
        let it = changes(&row("00ff", "train"), &row("00fe", "train"));
        assert_eq!(it.lines, ["1 image whose file has changed: `a1` (00ff -> 00fe)"]);
        assert!(!it.changes_validation);
        assert!(changes(&row("00ff", "valid"), &row("00fe", "valid")).changes_validation);
        // Unknown, as in tables of earlier versions.
        let earlier = record("a1,a,0,old,61,1,pool,train\n");
        for before in [earlier, row("", "train"), row("00fe", "train")] {
            assert_eq!(changes(&before, &row("00fe", "train")), Changes::default());
        }
    }

    #[test]
    fn only_the_first_images_of_a_change_are_listed() {
        let rows = |age: u32| -> String {
            (0..9).map(|it| format!("{it},p,0,old,{age},1,pool,train\n")).collect()
        };
        let want = "9 images with a different age: `0` (61 -> 62), `1` (61 -> 62), `2` (61 -> 62), \
                    `3` (61 -> 62), `4` (61 -> 62) and 4 more";
        assert_eq!(changes(&rows(61), &rows(62)).lines, [want]);
    }

    #[test]
    fn moved_groups_are_distinguished_from_left_out_images() {
        let on = |side: &str| format!("a1,a,0,old,,1,pool,{side}\na2,a,0,old,,1,pool,{side}\n");
        let it = changes(&on("train"), &on("valid"));
        assert_eq!(it.lines, ["1 person is on another side: `a` (train -> valid)"]);
        assert!(it.has_moved && it.changes_validation);
        let it = changes(&on("train"), &on("left out"));
        assert!(!it.has_moved && !it.changes_validation);
        assert!(it.lines[0].starts_with("2 images on another side: `a1` (train -> left out)"));
        assert!(changes(&on("left out"), &on("valid")).changes_validation);
    }

    #[test]
    fn validation_changes_with_its_labels_but_not_its_weights() {
        let row = |class: usize, weight: f32, side: &str| {
            format!("a1,a,{class},{class},,{weight},pool,{side}\n")
        };
        let is_changed =
            |before: String, after: String| changes(&before, &after).changes_validation;
        assert!(is_changed(row(0, 1.0, "valid"), row(1, 1.0, "valid")));
        assert!(!is_changed(row(0, 1.0, "valid"), row(0, 0.0, "valid")));
        assert!(!is_changed(row(0, 1.0, "train"), row(1, 1.0, "train")));
        assert!(is_changed(row(0, 1.0, "valid"), String::new()));
    }
}
