//! `--json`: every event that a command prints is documented, and has the fields that `json.md` lists.

use std::{collections::BTreeMap, fs, process::Stdio};

use serde_json::{Map, Value};

use crate::{
    bench::{Bench, TRAIN, text},
    device::emulated,
    runs::{signal, wait_for},
};

/// The page that documents the events.
const PAGE: &str = include_str!("../../../../docs/src/reference/json.md");

/// Returns the fields of every documented event, by its heading, such as `list: member`; whether each is always
/// there.
fn documented() -> BTreeMap<String, BTreeMap<String, bool>> {
    let mut events: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    let mut heading = "";
    for line in PAGE.lines() {
        if let Some(it) = line.strip_prefix("### ") {
            heading = it;
            events.insert(it.to_owned(), BTreeMap::new());
        } else if let Some((name, rest)) =
            line.strip_prefix("| `").and_then(|it| it.split_once('`'))
        {
            events.get_mut(heading).unwrap().insert(name.to_owned(), !rest.starts_with('?'));
        }
    }
    events
}

/// An event, without its version.
struct Event {
    name: String,
    /// The object of the other fields.
    fields: Value,
}

/// Parses what a command printed, and compares the fields of each event with the page.
///
/// - `sections`: those of the page that the command may have events of.
#[track_caller]
fn events(out: &str, sections: &[&str]) -> Vec<Event> {
    let documented = documented();
    let event = |line: &str| {
        let mut fields: Map<String, Value> = serde_json::from_str(line).unwrap();
        assert_eq!(fields.remove("version"), Some(1.into()), "{line}");
        let Some(Value::String(name)) = fields.remove("event") else { panic!("{line}") };
        let sections = sections.iter().chain(&["any"]);
        let known = sections.filter_map(|it| documented.get(&format!("{it}: {name}")));
        let fits = known.into_iter().any(|known| {
            fields.keys().all(|it| known.contains_key(it))
                && known.iter().all(|(it, is_needed)| !is_needed || fields.contains_key(it))
        });
        assert!(fits, "json.md does not have this event with these fields: {line}");
        Event { name, fields: fields.into() }
    };
    out.lines().map(event).collect()
}

/// Returns the number of events of each name.
fn counts(events: &[Event]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    events.iter().for_each(|it| *counts.entry(it.name.as_str()).or_default() += 1);
    counts
}

/// Returns the only event of a name.
#[track_caller]
fn only<'a>(events: &'a [Event], name: &str) -> &'a Value {
    let mut found = events.iter().filter(|it| it.name == name);
    let one = found.next().unwrap();
    assert!(found.next().is_none(), "several events `{name}`");
    &one.fields
}

#[test]
fn components_are_listed_as_events() {
    let bench = Bench::empty();
    let (out, err) = bench.both(&["list", "losses", "--json"]);
    let losses = events(&out, &["list"]);
    assert_eq!(counts(&losses), BTreeMap::from([("member", losses.len())]));
    let focal = losses.iter().find(|it| it.fields["kind"] == "focal").unwrap();
    assert_eq!(focal.fields["place"], "loss");
    assert_eq!(focal.fields["settings"]["kind"], "focal");
    assert!(focal.fields["settings"]["gamma"].is_number());
    // What people read is on stderr, and left out with `--quiet`.
    assert_eq!(err, bench.ok(&["list", "losses"]));
    assert_eq!(bench.both(&["list", "losses", "--json", "-q"]), (out, String::new()));

    let models = events(&bench.ok(&["list", "models", "--json"]), &["list"]);
    let b0 = models.iter().find(|it| it.fields.get("name") == Some(&"efficientnet_b0".into()));
    assert_eq!(b0.unwrap().fields["size"], serde_json::json!([224, 224]));
    let recipes = events(&bench.ok(&["list", "recipes", "--json"]), &["list"]);
    assert!(counts(&recipes)["recipe"] >= 21);
    let all = events(&bench.ok(&["list", "--json"]), &["list"]);
    assert!(counts(&all)["member"] > 100);
    // An error is an event too.
    let output = bench.run(&["list", "cheeses", "--json"]);
    let failed = events(&text(&output.stdout), &["list"]);
    assert!(only(&failed, "error")["message"].as_str().unwrap().contains("no registry `cheeses`"));
    assert!(text(&output.stderr).contains("error: there is no registry `cheeses`"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_run_and_what_follows_it_are_events() {
    let bench = Bench::new();
    let check = events(&bench.ok(&["data", "check", "small.toml", "--json"]), &["data check"]);
    assert_eq!(counts(&check), BTreeMap::from([("class", 18), ("set", 5)]));
    let training = &check.iter().find(|it| it.fields["set"] == "training").unwrap().fields;
    let of_classes = check.iter().filter_map(|it| it.fields.get("training")?.as_u64());
    assert_eq!(training["images"].as_u64(), Some(of_classes.sum()));

    let train = |name: &str, seed: &str| {
        let sets = ["--set", name, "--set", seed, "--json", "-q"];
        bench.both(&[&TRAIN[..], &sets].concat())
    };
    let (out, err) = train("run.name=a", "seed=0");
    assert_eq!(err, "");
    let run = events(&out, &["train"]);
    let want = [("evaluation", 2), ("finished", 1), ("run", 1), ("step", 10)];
    assert_eq!(counts(&run), BTreeMap::from(want));
    assert_eq!(only(&run, "run")["steps"], 10);
    let steps = run.iter().filter(|it| it.name == "step").map(|it| it.fields["step"].as_u64());
    assert!(steps.eq((1..=10).map(Some)));
    // The numbers are those of the files.
    let epochs = fs::read_to_string(bench.path("runs/a/epochs.csv")).unwrap();
    let scores = epochs.lines().skip(1).map(|it| it.split(',').nth(3).unwrap().parse().unwrap());
    let evaluations: Vec<&Event> = run.iter().filter(|it| it.name == "evaluation").collect();
    for (event, score) in evaluations.iter().zip(scores.collect::<Vec<f64>>()) {
        assert!((event.fields["score"].as_f64().unwrap() - score).abs() < 1e-6, "{epochs}");
    }
    let finished = only(&run, "finished");
    assert_eq!((&finished["run"], &finished["bundle"]), (&"runs/a".into(), &"runs/a/best".into()));
    let report: toml::Table =
        fs::read_to_string(bench.path("runs/a/report.toml")).unwrap().parse().unwrap();
    assert_eq!(finished["report"], serde_json::to_value(&report).unwrap());
    train("run.name=b", "seed=1");

    fs::create_dir(bench.path("runs/c")).unwrap();
    let runs = events(&bench.ok(&["runs", "--json"]), &["runs"]);
    assert_eq!(counts(&runs), BTreeMap::from([("run", 2), ("unreadable", 1)]));
    assert_eq!(runs[0].fields["done"], "2 of 2 epochs");
    assert_eq!(runs[0].fields["state"], "finished");
    assert!(runs[1].fields["differences"].as_array().unwrap().contains(&"seed=1".into()));

    let compared = ["compare", "runs/a", "runs/b", "--json"];
    let compared = events(&bench.ok(&compared), &["compare"]);
    // 18 joint classes, and 3, 2 and 3 levels of the factors.
    let want = [("class", 18 + 8), ("data", 1), ("score", 4)];
    assert_eq!(counts(&compared), BTreeMap::from(want));
    let score = &compared.iter().find(|it| it.name == "score").unwrap().fields;
    assert_eq!((&score["scope"], &score["metric"]), (&"joint".into(), &"macro_f1".into()));
    let value = |of: &str| score[of]["value"].as_f64().unwrap();
    assert!((value("b_score") - value("a_score") - value("difference")).abs() < 1e-12);

    let images = ["predict", "runs/a", "--images", "people/eval/images", "--json"];
    let out = bench.ok(&images);
    let predicted = events(&out, &["predict"]);
    assert_eq!(counts(&predicted), BTreeMap::from([("finished", 1), ("prediction", 21)]));
    let of_image = predicted[0].fields["probabilities"].as_object().unwrap();
    let sum: f64 = of_image.values().map(|it| it.as_f64().unwrap()).sum();
    assert!(of_image.len() == 18 && (sum - 1.0).abs() < 1e-6, "{sum}");
    // Of the text, because a parsed object is sorted.
    let ordered = "\"probabilities\":{\"worn male <30\":";
    assert!(out.lines().next().unwrap().contains(ordered), "{out}");
    assert_eq!(only(&predicted, "finished")["table"], Value::Null);
    assert!(!bench.path("probabilities.csv").exists());
    // With a table as well, which has the same classes; stdout is taken.
    fs::write(bench.path("people/eval/images/broken.jpg"), b"").unwrap();
    let output = bench.run(&[&images[..], &["-o", "p.csv"]].concat());
    let predicted = events(&text(&output.stdout), &["predict"]);
    let want = [("error", 1), ("finished", 1), ("prediction", 21), ("unpredicted", 1)];
    assert_eq!(counts(&predicted), BTreeMap::from(want));
    let last = predicted[predicted.len() - 2..].iter().map(|it| it.name.as_str());
    assert!(last.eq(["finished", "error"]));
    assert_eq!(output.status.code(), Some(1));
    let table = fs::read_to_string(bench.path("p.csv")).unwrap();
    let of_table = table.lines().skip(1).map(|it| it.split(',').nth(2).unwrap().to_owned());
    let of_events = predicted.iter().filter(|it| it.name == "prediction");
    let of_events = of_events.map(|it| it.fields["class"].as_str().unwrap().to_owned());
    assert!(of_events.eq(of_table));
    let output = bench.run(&[&images[..], &["-o", "-"]].concat());
    assert!(text(&output.stderr).contains("with `--json` stdout has the events: give a file"));
}

#[test]
fn dry_runs_and_stopped_runs_are_events() {
    let bench = Bench::new();
    let dry = [&TRAIN[..], &["--fast", "--json"]].concat();
    let dry = events(&bench.ok(&dry), &["train"]);
    assert!(counts(&dry)["checked"] == 1 && !counts(&dry).contains_key("finished"));

    let long = ["--set", "train.total=5000 steps", "--set", "run.name=a", "--json"];
    let mut command = bench.command(&[&TRAIN[..], &long].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&bench.path("runs/a/best/bundle.toml"));
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let stopped = events(&text(&output.stdout), &["train"]);
    let steps = counts(&stopped)["step"];
    let stopped = only(&stopped, "stopped");
    assert_eq!(stopped["step"], steps);
    assert_eq!(stopped["resume"], "maskfit train --resume runs/a");
}

#[test]
fn a_cross_validation_is_events() {
    let bench = Bench::new();
    let sets = ["--folds", "2", "--set", "train.total=2 steps", "--json", "--set"];
    let kfold = [&["kfold", "small.toml"], &sets[..], &["run.name=a"]].concat();
    let kfold = events(&bench.ok(&kfold), &["kfold", "train"]);
    let n = counts(&kfold);
    for (name, want) in
        [("partition", 2), ("planned", 1), ("fold", 2), ("run", 2), ("step", 4), ("finished", 1)]
    {
        assert_eq!(n[name], want, "{name}");
    }
    let finished = only(&kfold, "finished");
    assert!(finished["report"]["joined"]["macro_f1"].is_number() && finished["bundle"].is_null());

    let plan = [&["kfold", "plan", "small.toml"], &sets[..], &["run.name=b"]].concat();
    let plan = events(&bench.ok(&plan), &["kfold"]);
    assert_eq!(counts(&plan), BTreeMap::from([("partition", 2), ("planned", 1)]));
    assert_eq!(only(&plan, "planned")["run"], "runs/b");
    let one = ["kfold", "run", "runs/b", "--folds", "1", "--json"];
    let one = events(&bench.ok(&one), &["kfold", "train"]);
    assert_eq!((counts(&one)["fold"], &only(&one, "fold")["fold"]), (1, &1.into()));
    assert_eq!(only(&one, "trained")["finished"], 1);
    bench.ok(&["kfold", "run", "runs/b", "--json"]);
    let joined = events(&bench.ok(&["kfold", "join", "runs/b", "--json"]), &["kfold", "train"]);
    assert_eq!(counts(&joined), BTreeMap::from([("finished", 1)]));
}

/// Without a card, `amp` has no effect.
#[test]
fn what_was_trained_with_is_recorded_and_not_what_was_asked_for() {
    let bench = Bench::new();
    let amp = ["--set", "amp.dtype=bf16", "--set", "amp.init_scale=1024"];
    let sets = [&amp[..], &["--set", "train.total=2 steps", "--json", "--set"]].concat();
    let finished = |args: &[&str]| {
        let mut command = bench.command(&[args, &sets[..], &["run.name=a"]].concat());
        // Nor where there is a driver.
        let output = command.env("CUDA_VISIBLE_DEVICES", "-1").output().unwrap();
        let err = text(&output.stderr);
        assert!(output.status.success(), "{err}");
        // Notes are wrapped.
        let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("`amp` has no effect without a card: training in f32"), "{err}");
        assert!(words.contains("without effect: `amp.init_scale`: only"), "{err}");
        let events = events(&text(&output.stdout), &["kfold", "train"]);
        only(&events, "finished")["report"]["ran_on"].clone()
    };
    let want = serde_json::json!([{ "device": "cpu", "precision": "f32" }]);
    assert_eq!(finished(&TRAIN), want);
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    assert!(read("runs/a/config.toml").contains("dtype = \"bf16\""));
    assert!(read("runs/a/report.html").contains("the CPU in f32"));
    // Earlier versions did not record it.
    let report = read("runs/a/report.toml");
    let (start, rest) = report.split_once("ran_on = ").unwrap();
    let earlier = format!("{start}{}", rest.split_once('\n').unwrap().1);
    fs::write(bench.path("runs/a/report.toml"), earlier).unwrap();
    bench.ok(&["report", "runs/a"]);
    let page = read("runs/a/report.html");
    assert!(page.contains("best step") && !page.contains("the CPU in f32"), "{page}");

    fs::remove_dir_all(bench.path("runs")).unwrap();
    assert_eq!(finished(&["kfold", "small.toml", "--folds", "2"]), want);
    assert!(read("runs/a/report.html").contains("the CPU in f32"));
}

#[test]
fn a_check_of_a_card_is_events() {
    let bench = Bench::empty();
    let output = emulated(&bench, &["--only", "cast", "--json", "-o", "out"]).output().unwrap();
    let err = text(&output.stderr);
    assert!(output.status.success() && err.contains("kernels"), "{err}");
    let check = events(&text(&output.stdout), &["device check"]);
    assert_eq!(counts(&check), BTreeMap::from([("finished", 1), ("section", 2)]));
    let written = fs::read_to_string(bench.path("out/check.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    for (event, name) in check.iter().zip(["card", "kernels"]) {
        assert_eq!((&event.fields["section"], &event.fields["failed"]), (&name.into(), &0.into()));
        assert_eq!(event.fields["result"], written[name]);
    }
    let finished = only(&check, "finished");
    assert_eq!((&finished["failed"], &finished["file"]), (&0.into(), &"out/check.json".into()));
    // Nothing else is on stdout, and an error is an event too.
    let output = emulated(&bench, &["--device", "cuda:99", "--json"]).output().unwrap();
    let failed = events(&text(&output.stdout), &["device check"]);
    assert!(only(&failed, "error")["message"].as_str().unwrap().contains("there is no `cuda:99`"));
    assert_eq!(output.status.code(), Some(1));
}
