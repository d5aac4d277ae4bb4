//! A run of several phases: its plan, its plot, its end.

use expect_test::expect;

use crate::bench::{Bench, text};

#[test]
fn a_setting_of_a_phase_is_named_as_it_is_written() {
    let bench = Bench::new();
    let phases = "phase=[{ name = \"a\", total = \"1 epochs\", freeze = [{ layers = \"stem\", until = \"2 steps\" }] }, \
                  { name = \"b\", total = \"1 epochs\" }]";
    let of_run = "train.freeze=[{ layers = \"norm\", until = \"3 steps\" }]";
    let args = ["train", "small.toml", "--fast", "--set", "train.warmup=0 steps", "--set", of_run];
    let (out, notes) = bench.both(&[&args[..], &["--set", phases]].concat());
    let all = (out + &notes).split_whitespace().collect::<Vec<_>>().join(" ");
    // The second phase has the run's.
    assert!(all.contains("`phase[0].freeze[0]` ends"), "{all}");
    assert!(all.contains("`train.freeze[0]` ends"), "{all}");
    assert_eq!(all.matches("freeze[0]` ends").count(), 2, "{all}");
}

const PHASES: &str = "phase=[{ name = \"a\", total = \"1 epochs\" }, { name = \"b\", total = \"1 epochs\", \
                      lr = 1e-3, data = \"all\", schedule = { kind = \"constant\" } }]";

#[test]
fn phases_are_listed_trained_and_plotted() {
    let bench = Bench::new();
    let small = ["small.toml", "--set", PHASES, "--set", "train.warmup=0 steps"];
    let out = bench.ok(&[&["schedule"], &small[..]].concat());
    assert!(out.starts_with("cosine, then constant over 12 steps\n"), "{out}");
    for want in [
        "phase `a`, from step 0:\nlearning rate: from 2.0e-3, to ",
        "phase `b`, from step 5:\nlearning rate: from 1.0e-3, to 1.0e-3 at the last step\n",
    ] {
        assert!(out.contains(want), "{out}");
    }

    let (out, notes) = bench.both(&[&["train"], &small[..], &["--set", "run.name=a"]].concat());
    for want in [
        "data:  training set    42 images of 6 people\n",
        "       validation set  14 images of 2 people, also trained on from phase `b` on\n",
        "plan:  2 epochs, 12 steps, 5 in the first epoch, 7 in the last, in 2 phases\n",
        "       phase 1 of 2 `a`: 1 epoch, 5 steps, 42 images of 32x24,\n       cosine with lr 0.002\n",
        "       phase 2 of 2 `b`: 1 epoch, 7 steps, all 56 images of 32x24,\n       constant with lr 0.001\n",
        "\nphase 2 of 2 `b`: 1 epoch, 7 steps, all 56 images of 32x24, ",
        "\nphase `b`: the validation images are trained on, so that scores are",
        "  biased\n",
    ] {
        assert!(notes.contains(want), "{want}: {notes}");
    }
    let end = "last model: epoch 2, trained on the validation set too:\n";
    assert!(out.contains(end) && out.contains("(meaningless: it was trained on"), "{out}");
    // Its predictions for the validation set are no estimate.
    for args in [&["labels", "a", "-o", "issues"][..], &["compare", "a", "a"]] {
        let output = bench.run(args);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("this run was trained on its validation set"), "{err}");
    }
    let runs = bench.ok(&["runs"]);
    assert!(runs.contains("finished  2 of 1 epochs + 1 epochs      -"), "{runs}");

    bench.fails(
        &["kfold", "small.toml", "--set", PHASES],
        expect![[
            r#"error: at `phase[1].data`: "all" trains on the images that a fold holds out: leave the phase out of a cross-validation, or use "train""#
        ]],
    );
    let twice = PHASES.replace("\"b\"", "\"a\"");
    bench.fails(
        &["train", "small.toml", "--set", &twice],
        expect!["error: at `phase[1].name`: an earlier phase is called `a` too"],
    );
}
