//! Which weights of another model are taken over, by the names of its outputs and classes.

use base::{Seed, Task, task::Factor};
use candle::{Device, Tensor};
use expect_test::{Expect, expect};

use crate::{
    BackboneConfig, Branched, Cosine, EfficientNet, Factored, HeadConfig, Joint, Model, ModelSpec,
    MultiSampleDropout, Variant,
};

fn model(variant: Variant, head: HeadConfig, task: &Task, seed: u64) -> Model {
    // Narrow, so that the test is quick.
    let backbone = EfficientNet { variant, width: 0.25, depth: 0.3, ..EfficientNet::default() };
    let spec = ModelSpec { backbone: BackboneConfig::EfficientNet(backbone), head };
    Model::fresh(&spec, task, Seed(seed), &Device::Cpu).unwrap()
}

fn lite(head: HeadConfig, task: &Task, seed: u64) -> Model {
    model(Variant::Lite0, head, task, seed)
}

fn joint() -> HeadConfig {
    HeadConfig::Joint(Joint::default())
}

fn values(model: &Model, name: &str) -> Tensor {
    model.params().get(name).unwrap().var.as_detached_tensor()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns a row of a weight.
fn row(model: &Model, name: &str, idx: usize) -> Vec<f32> {
    numbers(&values(model, name).narrow(0, idx, 1).unwrap())
}

#[test]
fn same_classes_are_taken_over_whole() {
    let task = Task::mask_gender_age();
    for (head, want) in [
        (
            HeadConfig::Factored(Factored { depth: 1, width: 8, ..Factored::default() }),
            expect![
                "N tensors of the backbone; the classifier of `mask` is kept (3 classes); the classifier of `gender` is kept (2 classes); the classifier of `age` is kept (3 classes)"
            ],
        ),
        (
            HeadConfig::Cosine(Cosine::default()),
            expect!["N tensors of the backbone; the classifier is kept (18 classes)"],
        ),
    ] {
        let (from, to) = (lite(head.clone(), &task, 1), lite(head, &task, 2));
        let continued = to.continue_from(&task, &from, &task).unwrap();
        let n = from.params().named().filter(|it| !it.0.starts_with("head.")).count();
        assert_eq!(continued.n_loaded, n);
        want.assert_eq(&continued.to_string().replace(&format!("{n} tensors"), "N tensors"));
        for (name, _) in from.params().named() {
            assert_eq!(numbers(&values(&from, name)), numbers(&values(&to, name)), "{name}");
        }
    }
}

#[test]
fn rows_of_classes_are_found_by_name_in_any_order() {
    let fruit = |levels: &[&str]| Task::new(vec![Factor::new("fruit", levels)]);
    let (three, five) =
        (fruit(&["apple", "pear", "plum"]), fruit(&["plum", "fig", "apple", "lime", "quince"]));
    let (from, to) = (lite(joint(), &three, 1), lite(joint(), &five, 2));
    let fresh = lite(joint(), &five, 2);
    let continued = to.continue_from(&five, &from, &three).unwrap();
    expect!["of the classifier 2 of 5 classes are kept by name, and 3 (`fig`, `lime`, `quince`) newly initialised; 1 (`pear`) of the bundle's are left out"]
        .assert_eq(&continued.outputs[0].to_string());
    for name in ["head.joint.weight", "head.joint.bias"] {
        for (ours, theirs) in [(0, Some(2)), (1, None), (2, Some(0)), (3, None), (4, None)] {
            let want = theirs.map_or_else(|| row(&fresh, name, ours), |it| row(&from, name, it));
            assert_eq!(row(&to, name, ours), want, "{name} {ours}");
        }
    }
}

#[test]
fn joint_classes_are_the_same_whatever_the_order_of_their_factors() {
    let task = Task::mask_gender_age();
    let mut turned = task.clone();
    turned.factors.reverse();
    let (from, to) = (lite(joint(), &task, 1), lite(joint(), &turned, 2));
    let continued = to.continue_from(&turned, &from, &task).unwrap();
    assert!(continued.outputs[0].added.is_empty(), "{continued}");
    // Mask 2, gender 1, age 0: 2 * 6 + 1 * 3 + 0, and turned 0 * 6 + 1 * 3 + 2.
    let name = "head.joint.weight";
    assert_eq!(row(&to, name, 5), row(&from, name, 15));
}

#[test]
fn heads_of_other_kinds_keep_what_means_the_same() {
    #[track_caller]
    fn check(from: HeadConfig, to: HeadConfig, want: Expect) -> [Model; 2] {
        let task = Task::mask_gender_age();
        let (from, to) = (lite(from, &task, 1), lite(to, &task, 2));
        let continued = to.continue_from(&task, &from, &task).unwrap().to_string();
        want.assert_eq(continued.split_once("backbone").unwrap().1);
        [from, to]
    }
    let factored = || HeadConfig::Factored(Factored::default());
    let branched = || HeadConfig::Branched(Branched::default());
    check(
        HeadConfig::MultiSampleDropout(MultiSampleDropout::default()),
        joint(),
        expect!["; the classifier is kept (18 classes)"],
    );
    check(
        HeadConfig::Cosine(Cosine::default()),
        joint(),
        expect![
            "; the classifier is newly initialised (18 classes), since the numbers of the bundle's mean something else"
        ],
    );
    check(
        factored(),
        joint(),
        expect![
            "; the classifier is newly initialised (18 classes), since the bundle's head has none of this name; the bundle's classifier of `age` is left out; the bundle's classifier of `gender` is left out; the bundle's classifier of `mask` is left out"
        ],
    );
    check(
        HeadConfig::Joint(Joint { depth: 1, ..Joint::default() }),
        joint(),
        expect![
            "; the classifier is newly initialised (18 classes), since the layers of the bundle's have other sizes"
        ],
    );
    let [from, to] = check(
        factored(),
        branched(),
        expect![
            "; the classifier of `mask` is kept (3 classes); the classifier of `gender` is kept (2 classes); the classifier of `age` is kept (3 classes)"
        ],
    );
    // Every copy starts from the stage.
    for factor in ["mask", "age"] {
        let copy = format!("head.{factor}.branch.conv_head.weight");
        assert_eq!(numbers(&values(&to, &copy)), numbers(&values(&from, "conv_head.weight")));
    }
    let [from, to] = check(
        branched(),
        factored(),
        expect![
            ", the last stages from the copy of `age`; the classifier of `mask` is kept (3 classes); the classifier of `gender` is kept (2 classes); the classifier of `age` is kept (3 classes)"
        ],
    );
    let copy = values(&from, "head.age.branch.conv_head.weight");
    assert_eq!(numbers(&values(&to, "conv_head.weight")), numbers(&copy));
}

#[test]
fn another_variant_is_refused_and_changes_nothing() {
    let task = Task::mask_gender_age();
    let (from, to) = (model(Variant::B0, joint(), &task, 1), lite(joint(), &task, 2));
    let before = numbers(&values(&to, "conv_stem.weight"));
    let err = to.continue_from(&task, &from, &task).unwrap_err().to_string();
    assert!(
        err.starts_with("the bundle's backbone is another one than that of the settings (")
            && err.contains("`variant` is \"b0\", not \"lite0\""),
        "{err}"
    );
    assert_eq!(numbers(&values(&to, "conv_stem.weight")), before);
    // What only training depends on may differ.
    let drop_path = |drop_path| {
        let backbone =
            EfficientNet { drop_path, width: 0.25, depth: 0.3, ..EfficientNet::default() };
        let spec = ModelSpec { backbone: BackboneConfig::EfficientNet(backbone), head: joint() };
        Model::fresh(&spec, &task, Seed(1), &Device::Cpu).unwrap()
    };
    drop_path(0.2).continue_from(&task, &drop_path(0.0), &task).unwrap();
}
