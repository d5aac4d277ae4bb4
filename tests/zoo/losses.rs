//! Every loss, on outputs of every form.

use base::{
    Task,
    mix::{Part, Row, unmixed},
    task::Scope,
};
use candle::{DType, Device, Result, Tensor, Var};
use losses::{Counts, Criterion, HeadOutput, Labels, LossConfig, LossTerms, Targets, TermValue};
use ops::{Decide, Form, Output};
use testkit::{check_gradient, numbers};

use super::CLOCK;

/// The labels of a subset of three images, for outputs of every form.
fn labels(rows: &[usize]) -> Labels {
    let classes = [0, 10, 17];
    Labels {
        classes: rows.iter().map(|&it| classes[it]).collect(),
        numbers: rows.iter().map(|&it| Some(20.0 + 20.0 * it as f64)).collect(),
        weights: rows.iter().map(|&it| [1.0, 0.5, 2.0][it]).collect(),
        ..Labels::default()
    }
}

fn targets(rows: &[usize]) -> Targets {
    let task = Task::mask_gender_age();
    Targets::new(&task, labels(rows), &unmixed(rows.len()), DType::F64, &Device::Cpu)
}

/// The outputs of a head: for each the scope, the form, and the number of values.
type HeadSpec = Vec<(Scope, Form, usize)>;

/// The outputs of a head, sliced from the columns of one tensor.
fn outputs(all: &Tensor, head: &HeadSpec) -> Result<Vec<Output>> {
    let mut start = 0;
    let slice = |(scope, form, n): &(Scope, Form, usize)| {
        start += n;
        Ok(Output::new(*scope, form.clone(), all.narrow(1, start - n, *n)?))
    };
    head.iter().map(slice).collect()
}

/// Heads with outputs of every form, and their total number of values.
fn heads() -> Vec<(HeadSpec, usize)> {
    let task = Task::mask_gender_age();
    let classes = |it| (it, Form::Classes, task.n_classes_of(it));
    let [mask, gender, age] = [0, 1, 2].map(Scope::Factor);
    let cuts = vec![30.0, 60.0];
    let bins = Form::Bins { min: 0, decide: Decide::Mass, cuts: cuts.clone() };
    let number = Form::Number { scale: 10.0, center: 40.0, cuts: Some(cuts) };
    let all = [
        vec![classes(Scope::Joint)],
        vec![(Scope::Joint, Form::Cosines { scale: 30.0 }, 18)],
        vec![classes(mask), classes(gender), classes(age)],
        vec![(Scope::Joint, Form::Independent, 18)],
        vec![classes(mask), classes(gender), (age, bins, 61)],
        vec![classes(mask), classes(gender), (age, number, 1)],
    ];
    all.map(|it| {
        let n = it.iter().map(|it| it.2).sum();
        (it, n)
    })
    .into()
}

/// Every loss with every head that it applies to: the bound loss, the head, and its number of values.
fn losses() -> Vec<(&'static str, Criterion, HeadSpec, usize)> {
    let task = Task::mask_gender_age();
    let counts = Counts { classes: (1..=18).collect(), numbers: vec![20.0, 20.5, 60.0] };
    let mut bound = Vec::new();
    for (kind, loss) in LossConfig::zoo() {
        assert_eq!(loss.get().problem(), None, "{kind}");
        let before = bound.len();
        for (head, width) in heads() {
            let output = |(scope, form, n): &(Scope, Form, usize)| {
                HeadOutput::new(&task, *scope, form, *n, &counts)
            };
            let outputs: Vec<HeadOutput<'_>> = head.iter().map(output).collect();
            match Criterion::new(&loss, &outputs) {
                Ok(criterion) => bound.push((kind, criterion, head, width)),
                Err(text) => assert!(text.contains("applies to"), "{kind}: {text}"),
            }
        }
        if bound.len() == before {
            // A loss of a number alone needs another for the classes.
            let text =
                format!("kind = \"sum\"\nparts = [{{ kind = \"{kind}\" }}, {{ kind = \"f1\" }}]");
            let sum: LossConfig = toml::from_str(&text).expect("settings");
            let (head, width) = heads().pop().expect("a number");
            let output = |(scope, form, n): &(Scope, Form, usize)| {
                HeadOutput::new(&task, *scope, form, *n, &counts)
            };
            let outputs: Vec<HeadOutput<'_>> = head.iter().map(output).collect();
            bound.push((kind, Criterion::new(&sum, &outputs).expect(kind), head, width));
        }
    }
    bound
}

#[test]
fn every_loss_has_the_right_gradient() {
    for (kind, loss, head, width) in losses() {
        eprintln!("{kind} on {width}");
        check_gradient(&numbers("logits", 3 * width), |at| {
            let value = || -> Result<(f64, Vec<f64>)> {
                let var = Var::from_slice(at, (3, width), &Device::Cpu)?;
                let outputs = outputs(var.as_tensor(), &head)?;
                let mean = loss.compute(&outputs, &targets(&[0, 1, 2]), &CLOCK)?.mean()?;
                let grads = mean.backward()?;
                let grad = grads.get(&var).expect("a gradient").flatten_all()?;
                Ok((mean.to_scalar()?, grad.to_vec1()?))
            };
            value().expect("the loss can be computed")
        });
    }
}

#[test]
fn soft_labels_of_one_class_are_hard_labels_in_every_loss() -> Result<()> {
    let (task, hard) = (Task::mask_gender_age(), labels(&[0, 1, 2]));
    let one_hot = |class: &usize| (0..18).map(|it| f32::from(it == *class)).collect();
    let soft = hard.classes.iter().map(one_hot).collect();
    let soft = Labels { classes: vec![5; 3], soft, ..hard.clone() };
    for (kind, loss, head, width) in losses() {
        let all = Tensor::from_vec(numbers("logits", 3 * width), (3, width), &Device::Cpu)?;
        let bits = |labels: &Labels| -> Result<u64> {
            let targets =
                Targets::new(&task, labels.clone(), &unmixed(3), DType::F64, &Device::Cpu);
            let mean = loss.compute(&outputs(&all, &head)?, &targets, &CLOCK)?.mean()?;
            Ok(mean.to_scalar::<f64>()?.to_bits())
        };
        assert_eq!(bits(&hard)?, bits(&soft)?, "{kind} on {width}");
    }
    Ok(())
}

#[test]
fn soft_label_is_the_mean_of_its_classes_in_losses_of_rows() -> Result<()> {
    // The loss of a soft label is that of a row that is mixed from an image of each class.
    let task = Task::mask_gender_age();
    let classes = vec![0, 10];
    let mixed: Row = [0, 1].map(|image| Part { image, weight: 0.5 }).to_vec();
    let mixed = (Labels { classes, ..Labels::default() }, mixed);
    let mut soft = vec![0.0; 18];
    (soft[0], soft[10]) = (0.5, 0.5);
    let soft = Labels { classes: vec![5], soft: vec![soft], ..Labels::default() };
    let soft = (soft, vec![Part { image: 0, weight: 1.0 }]);
    for (kind, loss, head, width) in losses() {
        if head.iter().any(|it| it.1.is_numeric()) {
            // An image with a soft label has no number.
            continue;
        }
        let all = Tensor::from_vec(numbers("logits", width), (1, width), &Device::Cpu)?;
        let mean = |(labels, row): &(Labels, Row)| -> Result<f64> {
            let rows = std::slice::from_ref(row);
            let targets = Targets::new(&task, labels.clone(), rows, DType::F64, &Device::Cpu);
            loss.compute(&outputs(&all, &head)?, &targets, &CLOCK)?.mean()?.to_scalar()
        };
        let (want, got) = (mean(&mixed)?, mean(&soft)?);
        assert!((want - got).abs() < 1e-12, "{kind} on {width}: {want}, not {got}");
    }
    Ok(())
}

#[test]
fn per_example_losses_do_not_depend_on_other_rows() -> Result<()> {
    for (kind, loss, head, width) in losses() {
        let all = Tensor::from_vec(numbers("logits", 3 * width), (3, width), &Device::Cpu)?;
        let terms = |rows: &[usize]| -> Result<LossTerms> {
            let at =
                Tensor::new(rows.iter().map(|&it| it as u32).collect::<Vec<_>>(), &Device::Cpu)?;
            let xs = all.index_select(&at, 0)?;
            loss.compute(&outputs(&xs, &head)?, &targets(rows), &CLOCK)
        };
        let together = terms(&[0, 1, 2])?;
        let alone = [terms(&[0])?, terms(&[1])?, terms(&[2])?];
        for (idx, term) in together.terms.iter().enumerate() {
            let TermValue::PerExample { weighted, norm } = &term.value else { continue };
            let mut sum = 0.0;
            for (row, want) in weighted.to_vec1::<f64>()?.into_iter().enumerate() {
                let TermValue::PerExample { weighted, norm } = &alone[row].terms[idx].value else {
                    panic!("{kind}: the term is not per example for a single row")
                };
                let got = weighted.to_vec1::<f64>()?;
                assert_eq!(got, [want], "{kind}: row {row} depends on other rows");
                sum += norm;
            }
            assert!((sum - norm).abs() < 1e-12, "{kind}: the norms of parts do not add up");
        }
    }
    Ok(())
}

#[test]
fn every_loss_is_finite_for_extreme_logits() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        for (kind, loss, head, width) in losses() {
            for size in [1e4, 1.0, 0.0] {
                let extreme = |x: f64| x.signum() * size;
                let xs = numbers("extreme", 3 * width).into_iter().map(extreme).collect();
                let xs = Tensor::from_vec(xs, (3, width), &Device::Cpu)?.to_dtype(dtype)?;
                let var = Var::from_tensor(&xs)?;
                let outputs = outputs(var.as_tensor(), &head)?;
                let targets = Targets::new(
                    &Task::mask_gender_age(),
                    labels(&[0, 1, 2]),
                    &unmixed(3),
                    dtype,
                    &Device::Cpu,
                );
                let mean = loss.compute(&outputs, &targets, &CLOCK)?.mean()?;
                let grads = mean.backward()?;
                let grad = grads.get(&var).expect("a gradient").to_dtype(DType::F64)?;
                let grad = grad.flatten_all()?.to_vec1::<f64>()?;
                assert!(mean.to_dtype(DType::F64)?.to_scalar::<f64>()?.is_finite(), "{kind}");
                assert!(grad.iter().all(|it| it.is_finite()), "{kind} at {size}: {grad:?}");
            }
        }
    }
    Ok(())
}
