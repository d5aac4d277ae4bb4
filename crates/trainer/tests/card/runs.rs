//! Whole runs: resumed, averaged, and their bundles on the CPU.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle::Device;
use data::Content;
use infer::{Bundle, LabelledReader, Predictor, Row, Serving};
use trainer::{Ended, Plan, RanOn, Run, fit};

use crate::harness::{Steps, experiment, on_card, plan};

/// A run that is stopped after each of some numbers of steps and resumed; its files, and the notes of the last part.
fn run(dir: &Path, plans: &dyn Fn() -> Plan, stops: &[usize]) -> (Run, String) {
    let path = dir.to_owned();
    drop(Run::create(&path, &plans().experiment.to_toml()).expect("a run"));
    for &stop in stops {
        let run = Run::open(&path).expect("a run");
        let ended = fit(&plans(), &run, &Steps::until(stop, None)).expect("some steps");
        assert!(matches!(ended, Ended::Stopped { .. }), "the run is longer than {stops:?}");
    }
    let run = Run::open(&path).expect("a run");
    let callback = Steps::new(None);
    let ended = fit(&plans(), &run, &callback).expect("a run");
    assert!(matches!(ended, Ended::Finished(_)));
    (run, callback.notes())
}

/// All files below a folder, except those with times.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut todo) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(dir).expect("it is within").to_owned();
            match path.is_dir() {
                true => todo.push(path),
                false if name.ends_with("timing.csv") || name.ends_with("lock") => {}
                false => drop(files.insert(name, fs::read(path).expect("a file"))),
            }
        }
    }
    files
}

/// The probabilities of the validation set in `valid.csv`.
fn probabilities(run: &Run, plan: &Plan) -> Vec<f64> {
    let path = run.dir().join("valid.csv");
    let mut reader = LabelledReader::open(&path, &plan.task).expect("a table");
    let (mut all, mut row) = (Vec::new(), Row::default());
    while reader.next(&mut row).expect("a row") {
        all.extend_from_slice(&row.probabilities);
    }
    all
}

/// What a finished run was trained on, by its report.
fn ran_on(run: &Run) -> Vec<String> {
    RanOn::of(run.dir()).iter().map(ToString::to_string).collect()
}

/// How far apart probabilities are, in f32 on two devices; in f16 they are 2e-6 apart.
const IN_F32: f64 = 1e-7;

#[track_caller]
fn check_near(what: &str, got: &[f64], want: &[f64], most: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let apart = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart <= most, "{what}: {apart:.1e} apart, at most {most:.1e}");
}

#[test]
fn a_run_in_f16_with_an_average_resumes_bit_for_bit() {
    let sets = [
        "amp={ dtype = \"f16\", init_scale = 1e10, backoff_factor = 1e-8, growth_interval = 2 }",
        "average={ kind = \"ema\" }",
        "head.dropout=0.2",
    ];
    on_card(|device, _| {
        let plans = || plan(&experiment(device, &sets));
        let dir = tempfile::tempdir().expect("a folder");
        let (whole, _) = run(&dir.path().join("whole"), &plans, &[]);
        let (parts, notes) = run(&dir.path().join("parts"), &plans, &[1, 3]);
        let (got, there) = (probabilities(&whole, &plans()), on_cpu(&whole, &plans()));
        assert_eq!(ran_on(&whole), ["Emulated H200 in f16"]);
        check_near("a table of a run in f16, which is predicted in f32", &got, &there, IN_F32);
        let (whole, parts) = (files(whole.dir()), files(parts.dir()));
        assert!(whole.keys().eq(parts.keys()), "{:?}, {:?}", whole.keys(), parts.keys());
        assert!(whole.len() > 10);
        for (name, bytes) in &whole {
            assert!(parts[name] == *bytes, "{} differs", name.display());
        }
        assert!(!notes.contains("continues on"), "{notes}");
        assert!(notes.contains("training on cuda:") && notes.contains("in f16"), "{notes}");
    });
}

#[test]
fn a_run_resumes_on_the_cpu_with_a_note() {
    let dir = tempfile::tempdir().expect("a folder");
    on_card(|device, _| {
        let plan = plan(&experiment(device, &[]));
        let run = Run::create(&dir.path().join("run"), &plan.experiment.to_toml()).expect("a run");
        fit(&plan, &run, &Steps::until(4, None)).expect("some steps");
    });
    let run = Run::open(&dir.path().join("run")).expect("a run");
    let (plan, callback) = (plan(&experiment("cpu", &[])), Steps::new(None));
    fit(&plan, &run, &callback).expect("a run");
    let notes = callback.notes();
    assert!(notes.contains("in f32, and continues on the CPU in f32"), "{notes}");
    assert_eq!(ran_on(&run), ["Emulated H200 in f32", "the CPU in f32"]);
    let on_cpu = Run::create(&dir.path().join("cpu"), "").expect("a run");
    fit(&plan, &on_cpu, &Steps::new(None)).expect("a run");
    let [got, want] = [&run, &on_cpu].map(|it| probabilities(it, &plan));
    check_near("resumed on the CPU", &got, &want, 1e-3);
}

/// The bundle's probabilities for the validation set, on the CPU.
fn on_cpu(run: &Run, plan: &Plan) -> Vec<f64> {
    let bundle = Bundle::open(&run.best(), &Device::Cpu).expect("a bundle");
    let images: Arc<[(String, Content)]> =
        plan.sides.valid.iter().map(|&it| plan.images[it].clone()).collect();
    let serving = Serving { batch_size: 3, num_workers: 1, prefetch: 1, cache: None };
    let predictor = Predictor::new(bundle, &Device::Cpu);
    let all = predictor.predict(&images, serving, &mut |_, _| ()).expect("predictions");
    all.into_iter().flat_map(|it| it.probabilities).collect()
}

/// Averages, a schedule of the momentum, and phases; on both devices.
#[test]
fn whole_runs_agree_with_the_cpu_and_their_bundles_predict_the_same_there() {
    let phases = "phase=[{ name = \"head\", total = \"2 steps\", freeze = [{ layers = \"backbone\" }] }, \
                  { name = \"body\", total = \"4 steps\", restore = [{ layers = \"head\", phase = \"head\" }] }]";
    for (what, sets, most) in [
        (
            "ema",
            &[
                "average={ kind = \"ema\", decay = 0.6 }",
                "schedule={ kind = \"one_cycle\", div = 2.0, momentum = [0.2, 0.95, 0.2] }",
                "optim={ kind = \"sgd\", lr = 0.05 }",
            ][..],
            // With the optimizer's momentum it would be 8e-5.
            1e-5,
        ),
        (
            "swa, with norms that are frozen after some steps",
            &[
                "average={ kind = \"swa\", from = \"2 steps\", every = \"1 steps\" }",
                "train.freeze=[{ layers = \"norm\", from = \"3 steps\" }]",
            ],
            1e-3,
        ),
        ("phases", &[phases], 1e-3),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let (of_cpu, _) = run(&dir.path().join("cpu"), &|| plan(&experiment("cpu", sets)), &[]);
        on_card(|device, _| {
            let plans = || plan(&experiment(device, sets));
            let (of_card, _) = run(&dir.path().join("card"), &plans, &[]);
            let plan = plans();
            let [got, want] = [&of_card, &of_cpu].map(|it| probabilities(it, &plan));
            assert!(got.len() >= 7 * 18, "{what}: {}", got.len());
            check_near(what, &got, &want, most);
            let there = on_cpu(&of_card, &plan);
            check_near(&format!("{what}, the bundle on the CPU"), &got, &there, IN_F32);
        });
    }
}
