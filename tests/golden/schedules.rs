//! Schedules against PyTorch, timm and fastai, and the learning-rate finder against fastai: see schedules.py.

use std::collections::{BTreeMap, HashSet};

use base::{Clock, Epochs, Length, config::Layer};
use testkit::check_close_slices;
use trainer::{Curve, Experiment, Rates, ScheduleConfig};

use super::golden;

/// The clock of the script: epochs of 10 steps.
fn clock(step: usize) -> Clock {
    Clock { step, total: 200, epoch: step as f64 / 10.0 }
}

fn schedule(settings: &str) -> ScheduleConfig {
    toml::from_str(settings).expect("settings")
}

/// The rates of an experiment, whose epochs determine the cycles.
fn restarted(settings: &str) -> Vec<Rates> {
    let text = format!("train = {{ warmup = '0 steps' }}\n[schedule]\n{settings}");
    let experiment = Experiment::load(&[Layer::from_toml("golden", &text).expect("TOML")]);
    let experiment = experiment.expect("settings");
    let epochs = Epochs::new(Length::Epochs(20.0), |_| Ok(10)).expect("epochs");
    (0..200).map(|it| experiment.rates(&epochs, it, &[])).collect()
}

#[test]
fn every_schedule_agrees_with_the_references() {
    let golden = golden("schedules").at("schedules");
    // Settings, steps of the warm-up, and steps after it in which the backbone is frozen.
    let settings: BTreeMap<&str, (&str, usize, usize)> = BTreeMap::from([
        ("cosine", ("kind = 'cosine'\nfloor = 0.1", 0, 0)),
        ("step", ("kind = 'step'\nepochs = 4\ngamma = 0.3", 0, 0)),
        ("multi_step", ("kind = 'multi_step'\nmilestones = [3, 4, 11]\ngamma = 0.3", 0, 0)),
        ("exponential", ("kind = 'exponential'\ngamma = 0.995", 0, 0)),
        ("polynomial", ("kind = 'polynomial'\npower = 2.0", 0, 0)),
        ("polynomial_timm", ("kind = 'polynomial'\npower = 0.5\nfloor = 0.1", 0, 0)),
        ("cosine_restarts", ("kind = 'cosine_restarts'\ncycle = 3\nmult = 2\nfloor = 0.1", 0, 0)),
        ("cosine_restarts_alike", ("kind = 'cosine_restarts'\ncycle = 4", 0, 0)),
        (
            "cosine_restarts_timm",
            ("kind = 'cosine_restarts'\ncycle = 3\nmult = 1.5\ndecay = 0.7\nfloor = 0.05", 0, 0),
        ),
        ("restart", ("kind = 'restart'\nevery = '4 epochs'", 0, 0)),
        (
            "restart_in_steps",
            ("kind = 'restart'\nevery = '30 steps'\nschedule = { kind = 'cosine', floor = 0.1 }", 0, 0),
        ),
        (
            "restart_multi_step",
            (
                "kind = 'restart'\nevery = '25 %'
                schedule = { kind = 'multi_step', milestones = [1, 3], gamma = 0.3 }",
                0,
                0,
            ),
        ),
        (
            "restart_one_cycle",
            ("kind = 'restart'\nevery = '5 epochs'\nschedule = { kind = 'one_cycle' }", 0, 0),
        ),
        ("flat_cosine", ("kind = 'flat_cosine'", 0, 0)),
        ("flat_cosine_early", ("kind = 'flat_cosine'\nfinal_div = 100\npct_start = 0.4", 0, 0)),
        ("one_cycle", ("kind = 'one_cycle'", 0, 0)),
        (
            "one_cycle_other",
            (
                "kind = 'one_cycle'\npct_start = 0.42\ndiv = 10\nfinal_div = 3\nmomentum = [0.9, 0.8, 0.9]",
                0,
                0,
            ),
        ),
        ("one_cycle_fastai", ("kind = 'one_cycle'\ndefinition = 'fastai'", 0, 0)),
        (
            "one_cycle_fastai_other",
            (
                "kind = 'one_cycle'\ndefinition = 'fastai'\npct_start = 0.6\ndiv = 5\nfinal_div = 50
                momentum = [0.9, 0.8, 0.7]",
                0,
                0,
            ),
        ),
        ("fine_tune", ("kind = 'fine_tune'", 0, 10)),
        (
            "fine_tune_other",
            ("kind = 'fine_tune'\nfrozen = '3 epochs'\nlr_mult = 10\npct_start = 0.5\ndiv = 3", 0, 30),
        ),
        ("warmup", ("kind = 'cosine'", 20, 0)),
    ]);
    let mut checked = HashSet::from(["constant", "plateau"]);
    for name in golden.keys() {
        let (settings, warmup, frozen) = settings[name.as_str()];
        let schedule = schedule(settings);
        checked.insert(schedule.kind());
        let (warm, unfrozen) = (clock(warmup), clock(warmup + frozen));
        let rates: Vec<Rates> = match schedule.get().every() {
            Some(_) => restarted(settings),
            None => (0..200).map(|it| schedule.rates(&clock(it), &warm, &unfrozen)).collect(),
        };
        let want = golden.at(&name);
        let columns = want.keys();
        let got: Vec<f64> = rates.iter().map(|it| it.lr).collect();
        check_close_slices(&got, &want.to::<Vec<f64>>("lr"), 1e-12);
        // fastai sets a momentum for every schedule; for `flat_cosine` it is constant.
        let momentum: Option<Vec<f64>> = rates.iter().map(|it| it.momentum).collect();
        let has_momentum =
            columns.contains(&"momentum".to_owned()) && schedule.kind() != "flat_cosine";
        assert_eq!(momentum.is_some(), has_momentum, "{name}");
        if let Some(momentum) = momentum {
            check_close_slices(&momentum, &want.to::<Vec<f64>>("momentum"), 1e-12);
        }
        if columns.contains(&"slice".to_owned()) {
            let slice: Vec<f64> = rates[frozen..].iter().map(|it| it.slice).collect();
            check_close_slices(&slice, &want.to::<Vec<f64>>("slice")[frozen..], 1e-12);
        }
    }
    for (kind, _) in ScheduleConfig::KINDS {
        assert!(checked.contains(kind), "{kind} has no golden numbers");
    }
}

#[test]
fn plateau_agrees_with_pytorch() {
    let golden = golden("schedules");
    let scores: Vec<f64> = golden.to("scores");
    let losses: Vec<f64> = scores.iter().map(|it| 1.0 - it).collect();
    let settings = |name: &str| match name.split_once('_') {
        None => "patience = 3",
        Some((_, "abs")) => {
            "patience = 1\nfactor = 0.5\nthreshold = 0.05\nthreshold_mode = 'abs'\ncooldown = 2\nfloor = 0.01"
        }
        Some(_) => "patience = 2\nfactor = 0.7\nthreshold = 0.1\ncooldown = 1",
    };
    let golden = golden.at("plateaus");
    for name in golden.keys() {
        let schedule = schedule(&format!("kind = 'plateau'\n{}", settings(&name)));
        let more_is_better = name.starts_with("max");
        let scores = if more_is_better { &scores } else { &losses };
        let left = |it| schedule.get().left(&scores[..it], more_is_better);
        assert_eq!(left(0), 1.0);
        let got: Vec<f64> = (1..=scores.len()).map(left).collect();
        check_close_slices(&got, &golden.to::<Vec<f64>>(&name), 1e-12);
    }
}

#[test]
fn lr_finder_agrees_with_fastai() {
    for curve in golden("schedules").at("finder").list() {
        let [rates, losses] = ["rates", "losses"].map(|it| curve.to::<Vec<f64>>(it));
        let found = Curve { rates, raw: losses.clone(), losses }.suggestions();
        let want = curve.at("found");
        assert_eq!(found.len(), 4);
        for it in found {
            let name = it.name.trim_end_matches("/10");
            check_close_slices(&[it.rate.ln()], &[want.to::<f64>(name).ln()], 1e-12);
        }
    }
}
