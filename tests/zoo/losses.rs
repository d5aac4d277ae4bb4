//! Every loss, on everything that a head may ask.

use base::{Task, mix::unmixed, task::Scope};
use candle::{DType, Device, Result, Tensor, Var};
use losses::{Counts, Criterion, HeadOutput, Labels, LossConfig, LossTerms, Targets, TermValue};
use ops::{Decide, Form, Output};
use testkit::{check_gradient, numbers};

use super::CLOCK;

/// The labels of some of three images, for outputs of every form.
fn labels(rows: &[usize]) -> Labels {
    let classes = [0, 10, 17];
    Labels {
        classes: rows.iter().map(|&it| classes[it]).collect(),
        ages: rows.iter().map(|&it| Some(20.0 + 20.0 * it as f64)).collect(),
        weights: rows.iter().map(|&it| [1.0, 0.5, 2.0][it]).collect(),
    }
}

fn targets(rows: &[usize]) -> Targets {
    let task = Task::mask_gender_age();
    Targets::new(&task, labels(rows), &unmixed(rows.len()), DType::F64, &Device::Cpu)
}

/// What a head may ask: a scope, a form, and how many numbers are the answer.
type Questions = Vec<(Scope, Form, usize)>;

/// The numbers of some rows for all questions, cut out of one tensor.
fn outputs(all: &Tensor, questions: &Questions) -> Result<Vec<Output>> {
    let mut start = 0;
    let cut = |(scope, form, n): &(Scope, Form, usize)| {
        start += n;
        Ok(Output::new(*scope, form.clone(), all.narrow(1, start - n, *n)?))
    };
    questions.iter().map(cut).collect()
}

/// Questions of every form, and how many numbers they are together.
fn questions() -> Vec<(Questions, usize)> {
    let task = Task::mask_gender_age();
    let classes = |it| (it, Form::Classes, task.n_classes_of(it));
    let [mask, gender, age] = [0, 1, 2].map(Scope::Factor);
    let cuts = vec![30.0, 60.0];
    let bins = Form::Bins { decide: Decide::Mass, cuts: cuts.clone() };
    let years = Form::Number { scale: 10.0, shift: 40.0, cuts: Some(cuts) };
    let all = [
        vec![classes(Scope::Joint)],
        vec![(Scope::Joint, Form::Cosines { scale: 30.0 }, 18)],
        vec![classes(mask), classes(gender), classes(age)],
        vec![(Scope::Joint, Form::Independent, 18)],
        vec![classes(mask), classes(gender), (age, bins, 61)],
        vec![classes(mask), classes(gender), (age, years, 1)],
    ];
    all.map(|it| {
        let n = it.iter().map(|it| it.2).sum();
        (it, n)
    })
    .into()
}

/// Every loss, and what it judges of all that a head may ask: itself bound, the questions, and how
/// many numbers they are.
fn losses() -> Vec<(&'static str, Criterion, Questions, usize)> {
    let task = Task::mask_gender_age();
    let counts = Counts { classes: (1..=18).collect(), ages: vec![20.0, 20.5, 60.0] };
    let mut bound = Vec::new();
    for (kind, loss) in LossConfig::zoo() {
        assert_eq!(loss.get().problem(), None, "{kind}");
        let before = bound.len();
        for (questions, width) in questions() {
            let ask = |(scope, form, n): &(Scope, Form, usize)| {
                HeadOutput::new(&task, *scope, form, *n, &counts)
            };
            let asked: Vec<HeadOutput<'_>> = questions.iter().map(ask).collect();
            match Criterion::new(&loss, &asked) {
                Ok(judge) => bound.push((kind, judge, questions, width)),
                Err(text) => assert!(text.contains("judges"), "{kind}: {text}"),
            }
        }
        if bound.len() == before {
            // One that judges years alone stands beside one that judges the classes.
            let text =
                format!("kind = \"sum\"\nparts = [{{ kind = \"{kind}\" }}, {{ kind = \"f1\" }}]");
            let beside: LossConfig = toml::from_str(&text).expect("settings");
            let (questions, width) = questions().pop().expect("years as a number");
            let ask = |(scope, form, n): &(Scope, Form, usize)| {
                HeadOutput::new(&task, *scope, form, *n, &counts)
            };
            let asked: Vec<HeadOutput<'_>> = questions.iter().map(ask).collect();
            bound.push((kind, Criterion::new(&beside, &asked).expect(kind), questions, width));
        }
    }
    bound
}

#[test]
fn every_loss_has_the_right_gradient() {
    for (kind, loss, questions, width) in losses() {
        eprintln!("{kind} on {width}");
        check_gradient(&numbers("logits", 3 * width), |at| {
            let value = || -> Result<(f64, Vec<f64>)> {
                let var = Var::from_slice(at, (3, width), &Device::Cpu)?;
                let outputs = outputs(var.as_tensor(), &questions)?;
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
fn a_loss_that_is_per_example_does_not_depend_on_the_neighbours() -> Result<()> {
    for (kind, loss, questions, width) in losses() {
        let all = Tensor::from_vec(numbers("logits", 3 * width), (3, width), &Device::Cpu)?;
        let judge = |rows: &[usize]| -> Result<LossTerms> {
            let at =
                Tensor::new(rows.iter().map(|&it| it as u32).collect::<Vec<_>>(), &Device::Cpu)?;
            let xs = all.index_select(&at, 0)?;
            loss.compute(&outputs(&xs, &questions)?, &targets(rows), &CLOCK)
        };
        let together = judge(&[0, 1, 2])?;
        let alone = [judge(&[0])?, judge(&[1])?, judge(&[2])?];
        for (idx, term) in together.terms.iter().enumerate() {
            let TermValue::PerExample { weighted, norm } = &term.value else { continue };
            let mut sum = 0.0;
            for (row, want) in weighted.to_vec1::<f64>()?.into_iter().enumerate() {
                let TermValue::PerExample { weighted, norm } = &alone[row].terms[idx].value else {
                    panic!("{kind} changes")
                };
                let got = weighted.to_vec1::<f64>()?;
                assert_eq!(got, [want], "{kind}: row {row} depends on its neighbours");
                sum += norm;
            }
            assert!((sum - norm).abs() < 1e-12, "{kind}: the norms of parts do not add up");
        }
    }
    Ok(())
}

#[test]
fn every_loss_survives_extreme_logits() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        for (kind, loss, questions, width) in losses() {
            for size in [1e4, 1.0, 0.0] {
                let extreme = |x: f64| x.signum() * size;
                let xs = numbers("extreme", 3 * width).into_iter().map(extreme).collect();
                let xs = Tensor::from_vec(xs, (3, width), &Device::Cpu)?.to_dtype(dtype)?;
                let var = Var::from_tensor(&xs)?;
                let outputs = outputs(var.as_tensor(), &questions)?;
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
