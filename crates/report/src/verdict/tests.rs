use base::task::Unit;

use super::{Basis, Grounds, verdict};
use crate::contents::{
    AttributeScores, ClassRow, ClassTable, ConfusionMatrix, Curve, CurvePoint, Estimate,
    FactorLabels, GapTest, ModelScores, PairCount, ReliabilityBin, ReliabilityOf, RunReport,
    ScopeScores, TestScope, TestScores,
};

fn between(value: f64, low: f64, high: f64) -> Estimate {
    Estimate { value: Some(value), low: Some(low), high: Some(high) }
}

fn scope(name: &str, macro_f1: Estimate) -> ScopeScores {
    let accuracy = Estimate::of(0.9);
    ScopeScores { name: name.to_owned(), macro_f1, accuracy, ..ScopeScores::default() }
}

/// A run with a score and nothing that limits it.
fn plain() -> (RunReport, Grounds) {
    let run = RunReport {
        set: "test set".to_owned(),
        scores: vec![scope("joint", between(0.8, 0.76, 0.84))],
        ..RunReport::default()
    };
    let grounds = Grounds {
        basis: Basis::Test,
        unit: Unit::Person,
        n_images: 210,
        n_groups: 30,
        n_wrong: 20,
        n_wrong_factors: vec![20],
        rarest: None,
        estimate: None,
        n_earlier: 0,
        n_earlier_of_test: 0,
    };
    (run, grounds)
}

#[test]
fn the_score_and_what_it_holds_for_are_always_there() {
    let (run, grounds) = plain();
    assert_eq!(
        verdict(&run, &grounds),
        [
            "Macro F1 is 0.800 (95 % CI 0.760 to 0.840), and accuracy 0.900, on the test set (210 images of 30 people).",
            "These images were used neither for training nor for selecting the model: the score is an unbiased estimate.",
        ]
    );
    for (basis, want) in [
        (Basis::Selected, "optimistically biased"),
        (Basis::OutOfFold, "slightly optimistically biased"),
        (Basis::Trained, "says nothing about new ones"),
        (Basis::Nested, "nested"),
        (Basis::Evaluated, "not known"),
    ] {
        let it = verdict(&run, &Grounds { basis, ..grounds.clone() });
        assert!(it[1].contains(want), "{it:?}");
    }
    // A model may have seen them before.
    let it = verdict(&run, &Grounds { n_earlier: 9, ..grounds.clone() });
    assert_eq!(
        it[1],
        "The bundle that the model continued from was trained on 9 of these 30 people, so the score is too good."
    );
    let basis = Basis::Trained;
    let it = verdict(&run, &Grounds { basis, n_earlier: 9, ..grounds.clone() });
    assert!(it[1].contains("says nothing about new ones"), "{it:?}");
    // Nothing else follows from images that were trained on.
    let estimate = Some(("folds".to_owned(), between(0.7, 0.66, 0.74)));
    let it =
        verdict(&run, &Grounds { basis: Basis::Trained, n_wrong: 0, estimate, ..grounds.clone() });
    assert_eq!(
        it[2..],
        [
            "What estimates its score is the out-of-fold macro F1 of the cross-validation `folds`: 0.700 (95 % CI 0.660 to 0.740)."
        ]
    );
    // Without a score there is no interval.
    let run = RunReport { scores: vec![scope("joint", Estimate::default())], ..run };
    assert!(verdict(&run, &grounds)[0].starts_with("The score is undefined"));
    assert_eq!(verdict(&RunReport::default(), &grounds).len(), 1);
}

#[test]
fn the_test_score_of_a_cross_validation_counts() {
    let (run, grounds) = plain();
    let model = |macro_f1| ModelScores { macro_f1, accuracy: Estimate::of(0.5) };
    let scope = |ensemble, folds| TestScope {
        name: "joint".to_owned(),
        ensemble: model(ensemble),
        folds: model(folds),
    };
    let sentence = |it: TestScope, n_folds| {
        let test =
            TestScores { n_images: 21, n_groups: 3, n_folds, has_ensemble: true, scopes: vec![it] };
        let run = RunReport { test: Some(test), ..run.clone() };
        verdict(&run, &Grounds { basis: Basis::OutOfFold, ..grounds.clone() }).swap_remove(2)
    };
    let counts =
        "The test score is the one that counts: no model was trained or selected on these images.";
    assert_eq!(
        sentence(scope(between(0.75, 0.7, 0.8), between(0.625, 0.5, 0.75)), 5),
        format!(
            "On the test set (21 images of 3 people), macro F1 is 0.750 (95 % CI 0.700 to 0.800) for the models of \
             all folds together, and 0.625 (95 % CI 0.500 to 0.750) for a single model (mean of 5 folds). {counts}"
        )
    );
    // One of them is unknown, and a single group has no interval.
    assert_eq!(
        sentence(scope(Estimate::default(), Estimate::of(0.625)), 1),
        format!(
            "On the test set (21 images of 3 people), macro F1 is 0.625 for a single model (mean of 1 fold). {counts}"
        )
    );
    // The models may have seen it before.
    let grounds = Grounds { n_earlier_of_test: 2, ..grounds };
    let test = TestScores {
        n_images: 21,
        n_groups: 3,
        n_folds: 1,
        scopes: vec![scope(Estimate::default(), Estimate::of(0.625))],
        ..TestScores::default()
    };
    let it = verdict(&RunReport { test: Some(test), ..run.clone() }, &grounds).swap_remove(2);
    assert!(
        it.ends_with(
            " It is too good: the bundle that the models continued from was trained on 2 of these 3 people."
        ),
        "{it}"
    );
}

#[test]
fn a_wide_interval_and_no_errors_are_named() {
    let (mut run, mut grounds) = plain();
    run.scores = vec![scope("joint", between(0.8, 0.7, 0.86))];
    grounds.n_wrong = 0;
    let it = verdict(&run, &grounds);
    assert_eq!(
        it[2],
        "The interval is 0.16 wide, since the set has only 30 people, and the score itself is not known better than \
         that. The interval of a difference is narrower: compare two runs with `maskfit compare`."
    );
    assert_eq!(it[3], "No image is predicted wrongly.");
    // All resamples of few people may have the same score.
    run.scores = vec![scope("joint", between(0.25, 0.25, 0.25 + 1e-12))];
    let it = verdict(&run, &grounds);
    assert!(it[0].starts_with("Macro F1 is 0.250 (no interval: no spread), and "), "{it:?}");
    let want = "All resamples of the 30 people have the same score, so there is no interval, and the score is no more \
                certain.";
    assert_eq!(it[2], want);
}

#[test]
fn the_worst_factor_or_the_most_frequent_confusion_is_named() {
    let (mut run, mut grounds) = plain();
    for name in ["mask", "나이"] {
        run.scores.push(scope(name, between(0.8, 0.79, 0.81)));
    }
    grounds.n_wrong_factors = vec![4, 17];
    let it = verdict(&run, &grounds);
    assert_eq!(
        it[2],
        "`나이` limits the score most: it is wrong in 17 of the 20 wrong images (85 %)."
    );

    let (mut run, grounds) = plain();
    let pair = |of_errors| PairCount {
        actual: "<script>".to_owned(),
        predicted: "a, b".to_owned(),
        n_images: 2,
        of_class: 0.1,
        of_errors,
    };
    run.confusions = vec![ConfusionMatrix { pairs: vec![pair(0.1)], ..ConfusionMatrix::default() }];
    let want = "The most frequent error is `<script>` predicted as `a, b`: 2 of the 20 wrong images (10 %).";
    assert_eq!(verdict(&run, &grounds)[2], want);
    run.confusions[0].pairs = vec![pair(0.09)];
    assert_eq!(verdict(&run, &grounds).len(), 2);
}

#[test]
fn the_rarest_class_is_named_where_its_f1_is_low() {
    let (mut run, mut grounds) = plain();
    let class = |name: &str, f1| ClassRow {
        name: name.to_owned(),
        f1: Estimate::of(f1),
        n_images: 10,
        ..ClassRow::default()
    };
    grounds.rarest = Some(("b".to_owned(), 12));
    let rows = vec![class("a", 0.2), class("b", 0.75)];
    run.classes = vec![ClassTable { rows, ..ClassTable::default() }];
    let want = "Of the classes that have images here, `b` is the rarest in training (12 images): its F1 is 0.750, 0.050 \
                below the mean.";
    assert_eq!(verdict(&run, &grounds)[2], want);
    run.classes[0].rows[1] = class("b", 0.76);
    assert_eq!(verdict(&run, &grounds).len(), 2);
}

#[test]
fn the_largest_significant_gap_is_named() {
    let (mut run, grounds) = plain();
    let attribute = |name: &str, difference, p| AttributeScores {
        name: name.to_owned(),
        gap: Some(GapTest {
            lowest: String::new(),
            highest: "B".to_owned(),
            difference: between(difference, 0.05, 0.3),
            p: Some(p),
            test: String::new(),
        }),
        ..AttributeScores::default()
    };
    run.attributes = vec![attribute("race", 0.125, 0.02), attribute("site", 0.2, 0.03)];
    // The limit of two tests is 0.025.
    let want = "By `race`, accuracy is 0.125 lower for (empty) than for `B`, 95 % CI 0.050 to 0.300 (p = 0.020, 2 \
                attributes tested).";
    assert_eq!(verdict(&run, &grounds)[2], want);
    run.attributes.remove(0);
    assert!(verdict(&run, &grounds)[2].contains("By `site`, accuracy is 0.200 lower"));
    run.attributes = vec![attribute("race", 0.125, 0.03), attribute("site", 0.2, 0.03)];
    let want = "No gap of accuracy between the values of `race`, `site` is significant.";
    assert_eq!(verdict(&run, &grounds)[2], want);
    run.attributes[0].gap = None;
    run.attributes[1].gap = None;
    assert_eq!(verdict(&run, &grounds).len(), 2);
}

fn curve(points: &[(f64, f64)]) -> Curve {
    let point = |(idx, &(train, valid)): (usize, &(f64, f64))| CurvePoint {
        step: 10 * (idx + 1),
        epoch: (idx + 1) as f64,
        train_loss: Some(train),
        valid_loss: Some(valid),
        ..CurvePoint::default()
    };
    Curve { points: points.iter().enumerate().map(point).collect(), ..Curve::default() }
}

#[test]
fn over_fitting_and_short_training_are_read_from_the_losses() {
    let (mut run, grounds) = plain();
    let over = curve(&[(2.0, 1.5), (1.0, 1.0), (0.5, 1.1)]);
    run.curves = vec![over.clone()];
    let want = "The model over-fits: the validation loss rises from 1.000 at epoch 2 to 1.100 at the end, while the \
                training loss falls.";
    assert_eq!(verdict(&run, &grounds)[2], want);
    // Less than a tenth, or a training loss that rises too, is none.
    for it in [&[(2.0, 1.5), (1.0, 1.0), (0.5, 1.09)], &[(2.0, 1.5), (1.0, 1.0), (1.5, 1.2)]] {
        run.curves = vec![curve(it)];
        assert_eq!(verdict(&run, &grounds).len(), 2, "{it:?}");
    }
    let short = curve(&[(2.0, 1.5), (1.0, 1.0), (0.9, 0.98)]);
    run.curves = vec![short.clone()];
    let want = "The validation loss was still falling at the end: longer training may help.";
    assert_eq!(verdict(&run, &grounds)[2], want);
    run.curves = vec![curve(&[(2.0, 1.5), (1.0, 1.0), (0.9, 0.995)])];
    assert_eq!(verdict(&run, &grounds).len(), 2);
    // In folds, most of them count.
    run.curves = vec![over.clone(), over.clone(), short.clone()];
    assert!(verdict(&run, &grounds)[2].starts_with("The model over-fits in 2 of 3 folds: "));
    run.curves = vec![over, short];
    assert_eq!(verdict(&run, &grounds).len(), 2);
}

#[test]
fn miscalibration_and_label_noise_are_named() {
    let (mut run, grounds) = plain();
    let bin = |n_images, confidence, accuracy| ReliabilityBin {
        n_images,
        confidence,
        accuracy,
        ..ReliabilityBin::default()
    };
    run.reliability = vec![ReliabilityOf {
        ece: Estimate::of(0.05),
        bins: vec![bin(0, 0.0, 0.0), bin(10, 0.9, 0.8), bin(5, 0.5, 0.6)],
        ..ReliabilityOf::default()
    }];
    let factor = |factor: &str, n_errors| FactorLabels {
        factor: factor.to_owned(),
        n_labels: 100,
        n_errors,
    };
    run.labels.factors = vec![factor("mask", 0), factor("<b>", 1)];
    let it = verdict(&run, &grounds);
    assert_eq!(
        it[2..],
        [
            "Probabilities are overconfident: confidence and accuracy differ by 0.050 on average (ECE).",
            "The model doubts 1 of the 100 labels of `<b>` (1.0 %): look at it under likely label errors.",
        ]
    );
    run.reliability[0].bins = vec![bin(10, 0.8, 0.9)];
    assert!(verdict(&run, &grounds)[2].starts_with("Probabilities are underconfident"));
    run.reliability[0].ece = Estimate::of(0.049);
    run.labels.factors.remove(1);
    assert_eq!(verdict(&run, &grounds).len(), 2);
}

#[test]
fn labels_are_doubted_only_by_an_accurate_model_that_doubts_few() {
    let (mut run, mut grounds) = plain();
    let accurate = |name: &str, accuracy| ScopeScores {
        accuracy: Estimate::of(accuracy),
        ..scope(name, between(0.8, 0.79, 0.81))
    };
    let factor = |factor: &str, n_errors| FactorLabels {
        factor: factor.to_owned(),
        n_labels: 360,
        n_errors,
    };
    run.scores.extend([accurate("mask", 0.79), accurate("age", 0.8)]);
    grounds.n_wrong = 0;
    // The model is weak at `mask`.
    run.labels.factors = vec![factor("mask", 60), factor("age", 56)];
    let want = "The model doubts 56 of the 360 labels of `age` (15.6 %): look at them under likely label errors.";
    assert_eq!(verdict(&run, &grounds)[3], want);
    for (n, is_named) in [(3, false), (4, true), (72, true), (73, false)] {
        run.labels.factors[1].n_errors = n;
        assert_eq!(verdict(&run, &grounds).len(), 3 + usize::from(is_named), "{n}");
    }
    // A task of one factor has one scope.
    let (mut run, grounds) = plain();
    run.labels.factors = vec![factor("class", 36)];
    assert!(verdict(&run, &grounds)[2].contains("36 of the 360 labels of `class` (10.0 %)"));
    run.scores[0].accuracy = Estimate::of(0.5);
    assert_eq!(verdict(&run, &grounds).len(), 2);
}
