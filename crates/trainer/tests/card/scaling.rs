//! The loss scale of f16: it backs off where a gradient overflows, whose step is skipped, and grows after good steps.

use std::{collections::BTreeMap, path::Path};

use safetensors::SafeTensors;
use toml::Table;
use trainer::{Run, fit};

use crate::harness::{Steps, experiment, on_card, plan};

/// A checkpoint's state, and the bytes of its tensors by name.
fn read(path: &Path) -> (Table, BTreeMap<String, Vec<u8>>) {
    let bytes = std::fs::read(path).expect("a checkpoint");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let header = &metadata.metadata().as_ref().expect("an entry")["maskfit"];
    let header: Table = header.parse().expect("TOML");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let tensors = tensors.tensors().into_iter().map(|(name, it)| (name, it.data().to_vec()));
    (header["state"].as_table().expect("a table").clone(), tensors.collect())
}

#[test]
fn the_loss_scale_backs_off_and_grows_and_steps_that_overflow_are_skipped() {
    let sets = [
        "amp={ dtype = \"f16\", init_scale = 1e18, growth_factor = 4.0, backoff_factor = 1e-8, growth_interval = 2 }",
        "checkpoint={ every = \"1 steps\", keep = 9 }",
    ];
    on_card(|device, _| {
        let plan = plan(&experiment(device, &sets));
        let dir = tempfile::tempdir().expect("a folder");
        let run = Run::create(&dir.path().join("run"), &plan.experiment.to_toml()).expect("a run");
        let callback = Steps::new(None);
        fit(&plan, &run, &callback).expect("a run");
        let states: Vec<_> = (1..=6)
            .map(|step| read(&run.checkpoints().join(format!("{step:08}.safetensors"))))
            .collect();
        let scales = states.iter().map(|(state, _)| {
            let of = state["loss_scale"].as_table().expect("a loss scale");
            let number = |name: &str| of[name].as_integer().expect("a count");
            let scale = of["scale"].as_float().expect("a scale");
            (scale.log10().round() as i32, number("good_steps"), number("skipped_steps"))
        });
        // From 1e18: two steps overflow, and 1e2 holds for two steps, after which it is 4e2, and then 1.6e3.
        let want = [(10, 0, 1), (2, 0, 2), (2, 1, 2), (3, 0, 2), (3, 1, 2), (3, 0, 2)];
        assert_eq!(scales.collect::<Vec<_>>(), want);
        let weights = |at: usize| {
            let all = states[at].1.iter();
            let mut all =
                all.filter(|(name, _)| !name.contains("running") && *name != "optim.n_steps");
            let changed = states[0].1.iter().filter(|(name, _)| !name.contains("running"));
            (all.all(|(name, it)| states[0].1[name] == *it), changed.count())
        };
        assert!(weights(1).0 && weights(1).1 > 50, "a skipped step changes nothing");
        assert!(!weights(2).0, "a good step changes weights");
        let n_steps = |at: usize| {
            i64::from_le_bytes(*states[at].1["optim.n_steps"].first_chunk().expect("a count"))
        };
        assert_eq!([0, 1, 2, 3].map(n_steps), [0, 0, 1, 2]);
        let notes = callback.notes();
        assert!(notes.contains("f16: 2 of 3 steps were skipped"), "{notes}");
        assert_eq!(notes.matches("were skipped").count(), 1, "{notes}");
        let ran_on = states[5].0["ran_on"].as_array().expect("a list");
        let precision = |it: &toml::Value| it["precision"].as_str().map(str::to_owned);
        assert_eq!(ran_on.iter().map(precision).collect::<Vec<_>>(), [Some("f16".to_owned())]);
    });
}
