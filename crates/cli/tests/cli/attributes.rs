//! Scores by the columns that a table keeps for reports.

use std::{fmt::Write as _, fs};

use unicode_width::UnicodeWidthStr as _;

use crate::bench::{Bench, SMALL, unwrapped};

/// Writes a table of the synthetic people and its config: people with even numbers are of site `north`, the others
/// of `south`; the gender of `south` is not written. Every image has a camera of its own.
///
/// - `split`: the setting of the column that states the sets, if there is one.
fn write(bench: &Bench, config: &str, split: &str) {
    let mut table = "file,person,mask,gender,site,camera,use\n".to_owned();
    for person in 0..8 {
        for image in ["normal.jpg", "incorrect_mask.jpg", "mask1.jpg", "mask2.jpg"] {
            let path = bench.image(person, image);
            let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let mask = image.split(['.', '1', '2']).next().unwrap();
            let (site, side) =
                (["north", "south"][person % 2], if person < 4 { "train" } else { "val" });
            let gender = if person % 2 == 0 { name.split('_').nth(1).unwrap() } else { "" };
            writeln!(table, "{name}/{image},{name},{mask},{gender},{site},{person}-{image},{side}")
                .unwrap();
        }
    }
    fs::write(bench.path("labels.csv"), table).unwrap();
    let source = format!(
        "{{ kind = \"table\", csv = \"labels.csv\", images = \"people/train/images\", image = \"file\", \
         group = \"person\", label = \"mask\", attributes = [\"site\", \"camera\", \"mask\", \"gender\"]{split} }}"
    );
    let profiles = "{ kind = \"mask_profiles\", root = \"people/train\" }";
    fs::write(
        bench.path(config),
        SMALL.replace(profiles, &source) + "\n[head]\nkind = \"joint\"\n",
    )
    .unwrap();
}

fn report(bench: &Bench, path: &str) -> toml::Table {
    fs::read_to_string(bench.path(path)).unwrap().parse().unwrap()
}

/// Returns a number of each value of an attribute.
fn numbers(section: &toml::Value, attribute: &str, key: &str) -> Vec<(String, f64)> {
    let number = |it: &toml::Value| it.as_float().or(it.as_integer().map(|it| it as f64));
    let rows = section["attributes"][attribute].as_array().unwrap().iter();
    rows.map(|it| (it["value"].as_str().unwrap().to_owned(), number(&it[key]).unwrap())).collect()
}

#[test]
fn the_columns_that_a_table_keeps_are_in_reports_and_output() {
    let bench = Bench::new();
    write(&bench, "small.toml", ", split = \"use\"");
    let short = ["--set", "train.total=2 steps", "--set"];
    let out = bench.ok(&[&["train", "small.toml"][..], &short, &["run.name=a"]].concat());
    assert!(out.lines().all(|it| it.width() <= 80), "{out}");
    let row = |of: &str| {
        let line = out.lines().find(|it| it.starts_with(of));
        line.unwrap_or_else(|| panic!("{of}: {out}")).split_whitespace().collect::<Vec<_>>()
    };
    let header = "site images groups macro F1 95 % CI accuracy 95 % CI";
    assert_eq!(row("site ").join(" "), header);
    assert_eq!(row("north ")[1..3], ["8", "2"]);
    assert_eq!(row("south ")[1..3], ["8", "2"]);
    assert!(out.contains("\nlargest gap of accuracy: 0."), "{out}");
    // Sixteen cameras of an image each: ten of them, and six others together; one group has no interval.
    assert_eq!(row("6 others ")[2..4], ["6", "2"]);
    assert_eq!(row("4-mask1.jpg ")[1..3], ["1", "1"]);
    assert!(row("4-mask1.jpg ").ends_with(&["-"]), "{out}");
    // The label is an attribute too.
    let is_header = |it: &str| it.starts_with("mask ") && it.contains(" images  groups ");
    assert!(out.lines().any(is_header), "{out}");
    assert_eq!(row("(empty) ")[1..3], ["8", "2"]);

    let own = report(&bench, "runs/a/report.toml");
    let valid = &own["valid"];
    let sites = numbers(valid, "site", "images");
    assert_eq!(sites, [("north".to_owned(), 8.0), ("south".to_owned(), 8.0)]);
    // Both are half of the images.
    let accuracies = numbers(valid, "site", "accuracy");
    let mean = (accuracies[0].1 + accuracies[1].1) / 2.0;
    let whole = valid["scores"]["joint"]["accuracy"].as_float().unwrap();
    assert!((mean - whole).abs() < 1e-12, "{mean} is not {whole}");
    let gap = valid["gaps"]["site"]["accuracy"].as_float().unwrap();
    assert!((gap - (accuracies[0].1 - accuracies[1].1).abs()).abs() < 1e-12, "{gap}");
    let site = &valid["attributes"]["site"][0];
    assert_eq!(site["groups"].as_integer(), Some(2));
    assert_eq!(site["accuracy_interval"].as_array().map(Vec::len), Some(2));
    let cameras = valid["attributes"]["camera"].as_array().unwrap();
    assert_eq!((cameras.len(), cameras[10]["other_values"].as_integer()), (11, Some(6)));
    assert!(cameras[0].get("accuracy_interval").is_none());
    assert!(valid["gaps"].get("camera").is_none());
    assert_eq!(valid["attributes"]["mask"].as_array().map(Vec::len), Some(3));

    // An evaluation of the same images has the same scores.
    bench.ok(&["evaluate", "runs/a", "--side", "valid", "-o", "valid"]);
    let again = report(&bench, "valid/report.toml");
    for key in ["images", "accuracy", "macro_f1"] {
        assert_eq!(numbers(&again["valid"], "site", key), numbers(valid, "site", key), "{key}");
    }
}

#[test]
fn out_of_fold_predictions_are_scored_by_attribute() {
    let bench = Bench::new();
    write(&bench, "small.toml", "");
    for (name, repeats) in [("one", 1), ("two", 2)] {
        let split =
            format!("data.split={{kind = \"stratified_kfold\", n_folds = 2, repeats = {repeats}}}");
        let name = format!("run.name={name}");
        let out = bench.ok(&[
            "kfold",
            "small.toml",
            "--set",
            "train.total=2 steps",
            "--set",
            &split,
            "--set",
            &name,
        ]);
        let mut rows = out.lines().map(|it| it.split_whitespace().collect::<Vec<_>>());
        assert!(rows.any(|it| it.starts_with(&["south", "16", "4"])), "{out}");
    }
    for run in ["one", "two"] {
        let own = report(&bench, &format!("runs/{run}/report.toml"));
        let sites = numbers(&own["joined"], "site", "images");
        assert_eq!(sites, [("north".to_owned(), 16.0), ("south".to_owned(), 16.0)]);
        assert_eq!(own["joined"]["attributes"]["site"][1]["groups"].as_integer(), Some(4));
    }
    // An ensemble of them has the scores of its nested predictions, which are those of a single run.
    let out = bench.ok(&["ensemble", "runs/one", "-o", "alone"]);
    let mut rows = out.lines().map(|it| it.split_whitespace().collect::<Vec<_>>());
    assert!(rows.any(|it| it.starts_with(&["south", "16", "4"])), "{out}");
    let [own, alone] = ["runs/one", "alone"].map(|it| report(&bench, &format!("{it}/report.toml")));
    for key in ["images", "accuracy", "macro_f1"] {
        let want = numbers(&own["joined"], "site", key);
        assert_eq!(numbers(&alone["nested"], "site", key), want, "{key}");
    }
    bench.ok(&["report", "alone"]);
    let page = fs::read_to_string(bench.path("alone/report.html")).unwrap();
    assert!(page.contains("south") && page.contains("data:image/jpeg;base64,"), "{page}");

    // Without the data there is the rest.
    fs::rename(bench.path("labels.csv"), bench.path("moved.csv")).unwrap();
    let err = bench.notes(&["ensemble", "runs/two", "-o", "other"]);
    assert!(err.contains("note: there are no scores by attribute: "), "{err}");
    assert!(report(&bench, "other/report.toml")["nested"].get("attributes").is_none());
    fs::rename(bench.path("runs/one"), bench.path("runs/gone")).unwrap();
    let err = bench.notes(&["report", "alone"]);
    assert!(
        unwrapped(&err).iter().any(|it| it.contains("`runs/one`, a run of the ensemble")),
        "{err}"
    );
}
