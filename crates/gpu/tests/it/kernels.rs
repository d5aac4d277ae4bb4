//! Every case of `gpu_check`, against f64, on the emulated card; and that the layers to time can be run.

use std::collections::BTreeSet;

use gpu::Storage;
use gpu_check::{Case, Check, Limits, Timer, cases, families, timed_layers};

use crate::harness::Test;

/// Runs cases, and fails with all that is wrong.
#[track_caller]
fn all_are_right(cases: &[Case]) {
    assert!(!cases.is_empty(), "there are no cases");
    let mut test = Test::new();
    let mut wrong = String::new();
    for case in cases {
        let name = format!("{} {}, {}", case.family, case.storage.name(), case.name);
        let found = match case.run(test.device()) {
            Ok(outcome) => {
                assert!(outcome.worst <= 1.0 || !outcome.failures.is_empty(), "{name}");
                outcome.failures
            }
            Err(err) => vec![err.to_string()],
        };
        wrong.extend(found.iter().map(|it| format!("\n  {name}: {it}")));
        // After a fault nothing works, as on a real card.
        let faults = test.faults();
        if !faults.is_empty() {
            test.settle();
            panic!("{name}: the emulator found:\n  {}{wrong}", faults.join("\n  "));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Makes a test of each group of families, and the list of all that they have.
macro_rules! groups {
    ($($test:ident: $($family:literal),+;)+) => {
        $(
            #[test]
            fn $test() {
                all_are_right(&cases([$($family),+], false));
            }
        )+

        const TESTED: &[&str] = &[$($($family),+),+];
    };
}

groups! {
    products_are_right: "product";
    layers_of_few_rows_are_right: "few-rows";
    convolutions_are_right: "conv";
    grouped_convolutions_are_right: "grouped-conv";
    depthwise_convolutions_are_right: "depthwise";
    depthwise_convolutions_without_tiles_are_right: "any-depthwise";
    norms_are_right: "norm";
    norms_of_rows_are_right: "layer-norm", "l2-normalise";
    elementwise_operations_are_right: "elementwise";
    pooling_is_right: "pool";
    concatenation_and_dropout_are_right: "concat", "dropout";
    images_and_casts_are_right: "image", "cast";
    optimizers_are_right: "optimizer", "average";
}

#[test]
fn every_family_is_tested() {
    let (tested, all): (BTreeSet<_>, BTreeSet<_>) =
        (TESTED.iter().copied().collect(), families().collect());
    assert_eq!(tested, all);
    // The names tell the cases of a family apart, and the whole list has those of the short one.
    for family in families() {
        let name = |it: &Case| (it.storage, it.name.clone());
        let (short, whole) = (cases([family], false), cases([family], true));
        let names: BTreeSet<_> = short.iter().map(name).collect();
        assert_eq!(names.len(), short.len(), "two cases of {family} have one name");
        assert!(names.is_subset(&whole.iter().map(name).collect()), "{family}");
    }
}

#[test]
fn every_family_has_layers_that_can_be_timed() {
    let test = Test::new();
    let device = test.device();
    let limits = Limits::measure(device, 1 << 16, 3).unwrap();
    assert!(limits.bandwidth > 0.0 && limits.tensor > limits.f32, "{limits:?}");
    let layers = timed_layers(1, 32);
    let timed: BTreeSet<_> = layers.iter().map(|it| it.family).collect();
    assert_eq!(timed, families().collect());
    let mut timer = Timer::new(device, 1, 1 << 10).unwrap();
    for (layer, storage) in layers.iter().zip(Storage::ALL.into_iter().cycle()) {
        let mut check = Check::without_reference(device);
        let each = &mut |pass: &str, run: &mut dyn FnMut() -> gpu::Result<()>| {
            let time = timer.time(run)?;
            let is_whole = time.seconds > 0.0 && time.launches > 0 && time.bytes > 0;
            assert!(is_whole, "{} {}, {pass}: {time:?}", layer.family, layer.name);
            Ok(())
        };
        layer.passes(&mut check, storage, each).unwrap();
    }
}
