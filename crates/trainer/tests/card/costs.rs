//! What a step costs: waits, allocations, launches, bytes, seconds; and the memory of a run.

use gpu::{Device, Storage};
use trainer::{
    FitError, Run,
    check::{B0, EFFICIENTNET, Training},
    check_memory, fit,
};

use crate::harness::{Steps, experiment, losses, on_card, plan};

#[test]
fn a_step_waits_once_and_allocates_nothing() {
    on_card(|device, _| {
        let sets =
            ["amp.dtype=f16", "average={ kind = \"ema\" }", "train.clip={ kind = \"norm\" }"];
        let (_, steps) = losses(device, &sets, 5);
        for (step, (meter, seconds)) in steps.iter().enumerate().skip(2) {
            eprintln!("step {step}: {seconds:.2} s, {} launches", meter.launches());
            assert_eq!(meter.synchronisations, 1, "step {step}");
            assert_eq!(meter.allocations, 0, "step {step}");
        }
    });
}

#[test]
fn a_step_of_b0_in_batches_of_128_has_fewer_than_600_launches_and_moves_what_its_design_needs() {
    const BATCH: usize = 128;
    on_card(|_, claim| {
        claim.set_runs_kernels(false);
        claim.set_memory(64 << 30);
        let device = Device::open(claim.card()).expect("an emulated card");
        let card = (&device, Storage::Bf16);
        let mut training = Training::new(&B0, card, BATCH, [224, 224]).expect("a network");
        training.steps(2).expect("two steps");
        let before = device.read_meter();
        training.steps(1).expect("a step");
        let meter = device.read_meter();
        let launches = meter.launches() - before.launches();
        let bytes = (meter.bytes() - before.bytes()) as f64 / 1e6 / BATCH as f64;
        let memory = training.most_used() / BATCH;
        eprintln!("B0: {launches} launches, {bytes:.1} MB and {memory} bytes of memory an image");
        for (name, it) in &meter.kernels {
            let of_step = it.bytes - before.kernels.get(name).map_or(0, |it| it.bytes);
            eprintln!("  {name}: {:.2} MB an image", of_step as f64 / 1e6 / BATCH as f64);
        }
        assert!(launches < 600, "{launches} launches");
        // 118, of which 82 are the least that the design allows.
        assert!((82.0..120.0).contains(&bytes), "{bytes} MB an image");
        // That of a step, and before and after it.
        assert_eq!(meter.synchronisations - before.synchronisations, 1 + 2);
        assert_eq!(meter.allocations, before.allocations);
    });
}

#[test]
fn steps_on_random_pixels_are_timed_and_one_that_does_not_fit_is_an_error() {
    on_card(|_, claim| {
        claim.set_memory(MEMORY);
        let device = Device::open(claim.card()).expect("an emulated card");
        let training = |n| Training::new(&EFFICIENTNET, (&device, Storage::F16), n, [36, 32]);
        let mut few = training(4).expect("a network");
        few.steps(2).expect("two steps");
        let before = device.read_meter();
        assert!(few.steps(3).expect("three steps") > 0.0);
        let after = device.read_meter();
        // Of each step, and before and after them.
        assert_eq!(after.synchronisations - before.synchronisations, 3 + 2);
        assert_eq!(after.allocations, before.allocations);
        let used = few.most_used();
        assert!((MEMORY as usize / 20..MEMORY as usize).contains(&used), "{used}");
        drop(few);
        device.empty_cache().expect("a working card");
        let err = training(64).and_then(|mut it| it.steps(1)).expect_err("it does not fit");
        // What `device check` recognises it by.
        assert!(err.to_string().contains("out of memory"), "{err}");
    });
}

#[test]
fn a_run_that_does_not_fit_is_refused_with_the_batch_that_does() {
    on_card(|device, claim| {
        claim.set_memory(MEMORY);
        let tried = |n: usize| {
            let n = format!("train.batch_size={n}");
            let sets = [
                "run.check_memory=true",
                "augment.train=[{ kind = \"center_crop\", size = [36, 36] }]",
                &n,
            ];
            plan(&experiment(device, &sets))
        };
        let plan = tried(21);
        let callback = Steps::new(None);
        let err = check_memory(&plan, &callback).expect_err("it does not fit");
        assert!(matches!(err, FitError::Memory { .. }) && err.is_refusal());
        let text = err.to_string();
        assert!(text.starts_with(&format!("memory of `{device}`: this run needs about")), "{text}");
        let n = text.split_once("`train.batch_size = ").expect("a batch size").1;
        let n: usize = n.split('`').next().expect("a number").parse().expect("a number");
        assert!((2..21).contains(&n), "{text}");
        drop(plan);

        let plan = tried(n);
        check_memory(&plan, &callback).expect("it fits");
        let notes = callback.notes();
        assert!(notes.contains(&format!("memory of `{device}`: needs about")), "{notes}");
        let dir = tempfile::tempdir().expect("a folder");
        let run = Run::create(&dir.path().join("run"), "").expect("a run");
        fit(&plan, &run, &Steps::until(2, None)).expect("two steps");
    });
}

/// Bytes of a card on which the tiny network fits in small batches only.
const MEMORY: u64 = 6 << 20;
