//! `maskfit bench compare`: this program against another, or against saved measurements.
//!
//! Both programs run in each round, in random order, so that other load on the machine affects both equally, and
//! neither is always the first. The other is an older build; or any command that takes the arguments MODEL BATCH
//! SIZE and ends with a line of JSON with the keys of `bench train`.

use std::{
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{
    case::Case,
    lines::{self, conditions, is_same},
    neighbours::Neighbours,
    program::{last_line, own},
    ratio::Spread,
};
use crate::{
    End,
    args::{CompareArgs, OtherArgs},
    preparation::use_threads,
};

/// The JSON keys that are compared, and their titles.
const FIGURES: [(&str, &str); 7] = [
    ("train_img_s", "training, images/s"),
    ("infer_img_s", "inference, images/s"),
    ("open_ms", "opening, ms"),
    ("first_ms", "first pass, ms"),
    ("open_mib", "memory once open, MiB"),
    ("train_peak_mib", "peak memory, MiB"),
    ("infer_peak_mib", "peak memory, MiB"),
];

/// The fewest rounds against an older build: with fewer, the range of the ratios says nothing.
const MIN_ROUNDS: usize = 5;

pub(super) fn compare(args: &CompareArgs) -> anyhow::Result<End> {
    let (measure, save) = (&args.measure, args.measure.save.as_deref());
    let cases = Case::all(&measure.network)?;
    let other = Other::of(&args.other)?;
    let n_rounds = args.rounds;
    match &other {
        Other::Command(_) => {
            let [height, width] = measure.network.size;
            let hint = format!("write {height} instead of {height}x{width}");
            ensure!(height == width, "--size: the other program takes one number: {hint}");
        }
        _ => ensure!(n_rounds >= MIN_ROUNDS, "--rounds: `--before` needs at least {MIN_ROUNDS}"),
    }
    lines::check(save)?;
    let mut results: Vec<Results> = cases.iter().map(|_| Results::default()).collect();
    let command = if args.infer { "infer" } else { "train" };
    if let Other::Lines(saved) = &other {
        use_threads(measure.network.threads)?;
        for (case, result) in cases.iter().zip(&mut results) {
            result.theirs = matching(saved, with_busy(case.line(), measure.busy), command)?;
        }
    }
    let own = own()?;
    let _neighbours = Neighbours::start(measure.busy)?;
    for round in 1..=n_rounds {
        for (case, result) in cases.iter().zip(&mut results) {
            // The hasher's keys are random.
            let is_first = RandomState::new().hash_one(round) % 2 == 0;
            for is_own in [is_first, !is_first] {
                let line = match (is_own, &other) {
                    (true, _) => last_line(&own, &case.args(command))?,
                    (false, Other::Build(path)) => last_line(path, &case.args(command))?,
                    (false, Other::Command(words)) => peer(words, case)?,
                    (false, Other::Lines(_)) => continue,
                };
                let line = with_busy(line, measure.busy);
                say!("round {round}: {line}");
                if is_own {
                    lines::store(save, &line)?;
                }
                if is_own { &mut result.ours } else { &mut result.theirs }.push(line);
            }
        }
    }
    let is_paired = !matches!(other, Other::Lines(_));
    let rows: Vec<Row> =
        cases.iter().zip(&results).flat_map(|(case, it)| it.rows(case, is_paired)).collect();
    ensure!(!rows.is_empty(), "the two have no figure in common");
    let name = match &other {
        Other::Command(_) => results[0].theirs[0].get("peer").and_then(Value::as_str),
        _ => Some("before"),
    };
    say!("");
    say!("{}", table(&rows, name.unwrap_or("other program")));
    say!("medians (min to max) of {n_rounds} rounds");
    if is_paired {
        say!("a ratio is that of two runs of the same round");
    } else {
        say!("the figures of the file were measured under other load: ratios near 1 say little");
    }
    Ok(End::Done)
}

/// What this program is compared with.
#[derive(Debug)]
enum Other {
    /// An older build of this program.
    Build(PathBuf),
    /// A command of another program, and its first arguments.
    Command(Vec<String>),
    /// Saved measurements.
    Lines(Vec<Value>),
}

impl Other {
    fn of(args: &OtherArgs) -> anyhow::Result<Other> {
        if let Some(path) = &args.before {
            return Other::before(path).with_context(|| format!("--before: {}", path.display()));
        }
        let words = args.peer.as_deref().unwrap_or_default().split_whitespace();
        let words: Vec<String> = words.map(str::to_owned).collect();
        ensure!(!words.is_empty(), "--peer: name a command");
        Ok(Other::Command(words))
    }

    /// Recognises saved measurements by their first character, and a program by its permissions.
    fn before(path: &Path) -> anyhow::Result<Other> {
        let mut file = File::open(path)?;
        let mut first = [0; 64];
        let n = file.read(&mut first)?;
        if first[..n].trim_ascii_start().starts_with(b"{") {
            let text = base::text::read(path)?;
            return Ok(Other::Lines(lines::parse(&text)?));
        }
        let is_program = file.metadata()?.permissions().mode() & 0o111 != 0;
        ensure!(is_program, "is neither a program nor a file of `--save`");
        // A bare name would be looked for in `PATH`.
        Ok(Other::Build(path.canonicalize()?))
    }
}

/// Runs another program.
fn peer(words: &[String], case: &Case<'_>) -> anyhow::Result<Value> {
    let numbers = [case.batch_size, case.size[0]].map(|it| it.to_string());
    let args = words[1..].iter().map(String::as_str);
    let args: Vec<&str> =
        args.chain([case.model]).chain(numbers.iter().map(String::as_str)).collect();
    last_line(&words[0], &args)
}

/// Returns the saved lines of `bench COMMAND` under the conditions of `want`.
fn matching(saved: &[Value], want: Value, command: &str) -> anyhow::Result<Vec<Value>> {
    let is_of = |it: &&Value| it.get("train_img_s").is_some() == (command == "train");
    let lines: Vec<Value> =
        saved.iter().filter(is_of).filter(|it| is_same(it, &want)).cloned().collect();
    ensure!(
        !lines.is_empty(),
        "--before: the file has no line of `bench {command}` with {}",
        conditions(&want)
    );
    Ok(lines)
}

/// Adds the neighbours to a line, which were started here and not by the program that wrote it.
fn with_busy(mut line: Value, busy: u16) -> Value {
    line["busy"] = busy.into();
    line
}

/// The lines of one model and batch size.
#[derive(Default)]
struct Results {
    /// One of each round.
    ours: Vec<Value>,
    /// One of each round, or those of the file.
    theirs: Vec<Value>,
}

/// A row of the table.
struct Row {
    model: String,
    batch_size: usize,
    title: &'static str,
    ours: Spread,
    theirs: Spread,
    ratio: Spread,
}

impl Results {
    /// Returns a row for each figure that both have.
    ///
    /// - `is_paired`: whether the lines of both are those of the same rounds. If not, the ratios are those to the
    ///   median of theirs.
    fn rows(&self, case: &Case<'_>, is_paired: bool) -> Vec<Row> {
        let of = |lines: &[Value], key: &str| -> Vec<f64> {
            lines.iter().filter_map(|it| it.get(key)?.as_f64()).collect()
        };
        let row = |(key, title): (&str, &'static str)| {
            let (ours, mut theirs) = (of(&self.ours, key), of(&self.theirs, key));
            let spread = Spread::of(&theirs)?;
            if !is_paired {
                theirs = vec![spread.median; ours.len()];
            }
            // A figure that was not measured in every round has no ratios.
            let is_whole = ours.len() == self.ours.len() && ours.len() == theirs.len();
            let ratio = is_whole.then(|| Spread::of_ratios(&ours, &theirs))??;
            let (model, batch_size) = (case.model.to_owned(), case.batch_size);
            Some(Row { model, batch_size, title, ours: Spread::of(&ours)?, theirs: spread, ratio })
        };
        FIGURES.into_iter().filter_map(row).collect()
    }
}

/// Formats the rows.
///
/// - `other`: the name of what this program is compared with.
fn table(rows: &[Row], other: &str) -> String {
    let width = rows.iter().map(|it| it.model.len()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "{:<width$} {:>5}  {:<21} {:>26} {other:>26} {:>22}",
        "model", "batch", "", "maskfit", "ratio"
    );
    for Row { model, batch_size, title, ours, theirs, ratio } in rows {
        let [ours, theirs] = [ours, theirs].map(ToString::to_string);
        text += &format!(
            "\n{model:<width$} {batch_size:>5}  {title:<21} {ours:>26} {theirs:>26} {:>22}",
            ratio.to_string()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use expect_test::expect;
    use serde_json::{Value, json};

    use super::{Case, Other, Results, matching, table};

    const CASE: Case<'_> =
        Case { model: "resnet18", batch_size: 4, size: [8, 8], steps: 1, threads: 1 };

    fn lines(key: &str, figures: &[f64]) -> Vec<Value> {
        figures.iter().map(|it| json!({ key: it })).collect()
    }

    #[test]
    fn ratios_are_those_of_the_rounds() {
        let ours = lines("infer_img_s", &[12.0, 30.0, 6.0]);
        let theirs = lines("infer_img_s", &[10.0, 20.0, 3.0]);
        // 1.2, 1.5 and 2; the ratio of the medians would be 1.2.
        let rows = Results { ours, theirs }.rows(&CASE, true);
        expect![[r#"
            model    batch                                           maskfit                     before                  ratio
            resnet18     4  inference, images/s        12.00 (6.00 to 30.00)      10.00 (3.00 to 20.00)    1.50 (1.20 to 2.00)"#]].assert_eq(&table(&rows, "before"));
    }

    #[test]
    fn ratios_to_a_file_are_those_to_its_median() {
        let ours = lines("open_ms", &[12.0, 30.0, 6.0]);
        let theirs = lines("open_ms", &[1.0, 3.0, 4.0, 8.0, 2.0]);
        // 12 / 3, 30 / 3 and 6 / 3.
        let rows = Results { ours, theirs }.rows(&CASE, false);
        assert_eq!(rows[0].ratio.to_string(), "4.00 (2.00 to 10.00)");
    }

    #[test]
    fn figures_of_one_side_or_of_some_rounds_have_no_row() {
        let ours = vec![
            json!({ "infer_img_s": 1.0, "open_ms": 3.0, "infer_peak_mib": 5 }),
            json!({ "infer_img_s": 2.0, "open_ms": 3.0, "infer_peak_mib": null }),
        ];
        let theirs = vec![json!({ "infer_img_s": 1.0, "infer_peak_mib": 5 }); 2];
        let rows = Results { ours, theirs }.rows(&CASE, true);
        let titles: Vec<_> = rows.iter().map(|it| it.title).collect();
        assert_eq!(titles, ["inference, images/s"]);
    }

    #[test]
    fn only_lines_of_the_same_command_are_compared() {
        let line = |key: &str| json!({ "model": "a", "batch": 1, "size": [8, 8], key: 2.0 });
        let saved = [line("train_img_s"), line("infer_img_s"), line("load_img_s")];
        let want = json!({ "model": "a", "batch": 1, "size": [8, 8] });
        assert_eq!(matching(&saved, want.clone(), "train").unwrap(), saved[..1]);
        assert_eq!(matching(&saved, want.clone(), "infer").unwrap(), saved[1..]);
        let err = matching(&saved[1..], want, "train").unwrap_err().to_string();
        let text = "model \"a\", batch 1, size [8,8]";
        assert_eq!(err, format!("--before: the file has no line of `bench train` with {text}"));
    }

    #[test]
    fn a_program_and_a_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let of = |text: &str, mode: u32| {
            let path = dir.path().join("before");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Other::before(&path)
        };
        assert!(
            matches!(of("\n{\"model\": \"a\"}\n", 0o755), Ok(Other::Lines(it)) if it.len() == 1)
        );
        assert!(matches!(of("#!/bin/sh\n", 0o755), Ok(Other::Build(it)) if it.is_absolute()));
        for (text, mode) in [("#!/bin/sh\n", 0o644), ("", 0o644), ("{\n", 0o644)] {
            assert!(of(text, mode).is_err(), "{text}");
        }
        assert!(Other::before(dir.path()).is_err());
        assert!(Other::before(&dir.path().join("nothing")).is_err());
    }
}
