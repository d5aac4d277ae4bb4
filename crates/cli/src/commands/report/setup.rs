//! How a run was made: the command that repeats it, its settings, the program and the machine.

use std::{env, fs, path::Path, thread};

use base::text;
use ops::Isa;
use report::{Fact, Setting, Setup};
use toml::{Table, Value};
use trainer::{Experiment, RanOn};

use super::found::{Found, Kind};
use crate::{
    commands::runs_table::spent,
    phrases::{argument, seconds},
    runs,
    settings::settings,
};

pub(super) fn setup(found: &Found) -> Setup {
    let config = found.dir.join("config.toml");
    // Its own name is taken.
    let name = format!("{}-again", runs::name_of(&found.dir));
    let again = |command: &str| {
        let name = argument(Path::new(&name));
        format!("maskfit {command} {} --set run.name={name}", argument(&config))
    };
    let command = match found.kind {
        Kind::Run => again("train"),
        Kind::Kfold => again("kfold"),
        Kind::Ensemble | Kind::Soup | Kind::Evaluation => String::new(),
    };
    Setup {
        command,
        changed: changed(found).unwrap_or_default(),
        settings: text::read(&config).unwrap_or_default(),
        versions: facts([
            ("maskfit", Some(env!("CARGO_PKG_VERSION").to_owned())),
            ("instruction set", Some(Isa::chosen().name().to_owned())),
        ]),
        machine: facts([
            ("processor", processor()),
            ("threads", thread::available_parallelism().ok().map(|it| it.to_string())),
            ("system", Some(format!("{} {}", env::consts::OS, env::consts::ARCH))),
        ]),
        training: training(found),
    }
}

fn facts<const N: usize>(all: [(&str, Option<String>); N]) -> Vec<Fact> {
    let fact =
        |(name, value): (&str, Option<String>)| Some(Fact { name: name.to_owned(), value: value? });
    all.into_iter().filter_map(fact).collect()
}

/// Returns the name of the processor, where the system tells.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|it| it.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the settings that differ from the defaults.
fn changed(found: &Found) -> Option<Vec<Setting>> {
    let text = text::read(&found.dir.join("config.toml")).ok()?;
    let own: Table = text.parse().ok()?;
    let standard: Table = Experiment::load(&[]).ok()?.to_toml().parse().ok()?;
    Some(differences(&own, &standard))
}

fn differences(own: &Table, standard: &Table) -> Vec<Setting> {
    let at = |path: &[String]| {
        let (last, above) = path.split_last()?;
        let table = above.iter().try_fold(standard, |it, key| it.get(key)?.as_table());
        table?.get(last)
    };
    let setting = |it: crate::settings::Setting| {
        let default = at(&it.path).map(Value::to_string);
        let value = it.value.to_string();
        let default = default.unwrap_or_default();
        (value != default).then(|| Setting { path: it.name(), value, default })
    };
    settings(own).into_iter().filter_map(setting).collect()
}

/// Returns what a run's folder tells of its training.
fn training(found: &Found) -> Vec<Fact> {
    let report: Table =
        text::read(&found.dir.join("report.toml")).unwrap_or_default().parse().unwrap_or_default();
    let number = |key: &str| report.get(key).and_then(Value::as_integer).map(|it| it.to_string());
    let folds = trainer::kfold::finished_folds(&found.dir);
    let places = match found.kind {
        Kind::Kfold => folds.clone(),
        _ => vec![found.dir.clone()],
    };
    let ran_on: Vec<String> = RanOn::of(&found.dir).iter().map(ToString::to_string).collect();
    let spent = places.iter().try_fold(0.0, |sum, it| spent(it).map(|it| sum + it)).ok();
    facts([
        ("folds", (found.kind == Kind::Kfold).then(|| folds.len().to_string())),
        ("steps", number("steps")),
        ("best step", number("best_step")),
        ("trained on", (!ran_on.is_empty()).then(|| ran_on.join(", "))),
        ("time of training and evaluation", spent.filter(|it| *it > 0.0).map(seconds)),
    ])
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn settings_that_differ_have_their_defaults() {
        let own =
            "seed = 1\n[model]\nbackbone = { kind = \"vgg\", depth = 11 }\n[run]\nname = \"\"";
        let standard = "seed = 0\n[model]\nbackbone = { kind = \"resnet\" }\n[run]\nname = \"\"";
        let all = differences(&own.parse().unwrap(), &standard.parse().unwrap());
        let mut lines: Vec<String> =
            all.iter().map(|it| format!("{} {} {}", it.path, it.value, it.default)).collect();
        lines.sort();
        let want =
            ["model.backbone.depth 11 ", "model.backbone.kind \"vgg\" \"resnet\"", "seed 1 0"];
        assert_eq!(lines, want);
    }
}
