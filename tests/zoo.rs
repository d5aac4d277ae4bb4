//! What every member of a registry must satisfy, checked for whatever the registry holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use augment::{MixOpConfig, MixPlan, Mixing, Picture, PictureOpConfig, StatisticsConfig};
use base::{
    Clock, Seed, Task,
    mix::{Row, unmixed, whole},
    task::Scope,
};
use candle::{DType, Device, Result, Tensor, Var};
use data::{Groups, SamplerConfig, SourceConfig, SplitConfig};
use losses::{Counts, Judge, Judged, Labels, LossConfig, Penalty, Question, Targets};
use metrics::{MetricConfig, Predictions};
use models::{
    BackboneConfig, ConvNeXt, DenseNet, EfficientNet, HeadConfig, Init, Kind, Model, ModelSpec,
    Params, ResNet, Vgg, XResNet, published,
};
use ops::{Decide, Form, Output, Pass, Tape, Training, Value};
use serde::{Serialize, de::DeserializeOwned};
use testkit::{check_gradient, numbers};
use trainer::{OptimConfig, Rates, ScheduleConfig};

const CLOCK: Clock = Clock { step: 3, total: 10, epoch: 0.75 };

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(zoo: Vec<(&'static str, T)>) {
    for (kind, member) in zoo {
        let text = toml::to_string(&member).expect("a config is TOML");
        assert_eq!(toml::from_str::<T>(&text).as_ref(), Ok(&member), "{kind}:\n{text}");
    }
}

#[test]
fn every_member_survives_a_round_trip_through_toml() {
    round_trip(SourceConfig::zoo());
    round_trip(SplitConfig::zoo());
    round_trip(SamplerConfig::zoo());
    round_trip(PictureOpConfig::zoo());
    round_trip(MixOpConfig::zoo());
    round_trip(StatisticsConfig::zoo());
    round_trip(BackboneConfig::zoo());
    round_trip(HeadConfig::zoo());
    round_trip(LossConfig::zoo());
    round_trip(OptimConfig::zoo());
    round_trip(ScheduleConfig::zoo());
    round_trip(MetricConfig::zoo());
}

// Losses.

/// The labels of some of three pictures, for outputs of every form.
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
    let cut = |(asks, form, n): &(Scope, Form, usize)| {
        start += n;
        Ok(Output::new(*asks, form.clone(), all.narrow(1, start - n, *n)?))
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
fn losses() -> Vec<(&'static str, Judge, Questions, usize)> {
    let task = Task::mask_gender_age();
    let counts = Counts { classes: (1..=18).collect(), ages: vec![20.0, 20.5, 60.0] };
    let mut bound = Vec::new();
    for (kind, loss) in LossConfig::zoo() {
        assert_eq!(loss.get().problem(), None, "{kind}");
        let before = bound.len();
        for (questions, width) in questions() {
            let ask = |(asks, form, n): &(Scope, Form, usize)| {
                Question::new(&task, *asks, form, *n, &counts)
            };
            let asked: Vec<Question<'_>> = questions.iter().map(ask).collect();
            match Judge::new(&loss, &asked) {
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
            let ask = |(asks, form, n): &(Scope, Form, usize)| {
                Question::new(&task, *asks, form, *n, &counts)
            };
            let asked: Vec<Question<'_>> = questions.iter().map(ask).collect();
            bound.push((kind, Judge::new(&beside, &asked).expect(kind), questions, width));
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
                let mean = loss.judge(&outputs, &targets(&[0, 1, 2]), &CLOCK)?.mean()?;
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
        let judge = |rows: &[usize]| -> Result<Penalty> {
            let at =
                Tensor::new(rows.iter().map(|&it| it as u32).collect::<Vec<_>>(), &Device::Cpu)?;
            let xs = all.index_select(&at, 0)?;
            loss.judge(&outputs(&xs, &questions)?, &targets(rows), &CLOCK)
        };
        let together = judge(&[0, 1, 2])?;
        let alone = [judge(&[0])?, judge(&[1])?, judge(&[2])?];
        for (idx, term) in together.terms.iter().enumerate() {
            let Judged::PerExample { weighted, norm } = &term.judged else { continue };
            let mut sum = 0.0;
            for (row, want) in weighted.to_vec1::<f64>()?.into_iter().enumerate() {
                let Judged::PerExample { weighted, norm } = &alone[row].terms[idx].judged else {
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
                let mean = loss.judge(&outputs, &targets, &CLOCK)?.mean()?;
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

// Models.

fn spec(backbone: BackboneConfig, head: HeadConfig) -> ModelSpec {
    ModelSpec { backbone, head }
}

fn pictures(n: usize, h: usize, w: usize) -> Result<Tensor> {
    let xs = numbers("pictures", n * h * w * 3);
    Tensor::from_vec(xs, (n, h, w, 3), &Device::Cpu)?.to_dtype(DType::F32)
}

fn flat(outputs: &[Output]) -> Vec<f32> {
    let list = |it: &Output| it.numbers.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    outputs.iter().flat_map(list).collect()
}

/// Everything that is asked of what a network says of `n` pictures when it answers.
fn check_outputs(name: &str, outputs: &[Output], n: usize, task: &Task) -> Result<()> {
    let mut said = vec![Vec::new(); n];
    for output in outputs {
        let width = match output.form {
            Form::Classes | Form::Cosines { .. } | Form::Independent => {
                task.n_classes_of(output.asks)
            }
            Form::Bins { .. } => 61,
            Form::Number { .. } => 1,
        };
        assert_eq!(output.numbers.dims(), [n, width], "{name}");
        for (said, answer) in said.iter_mut().zip(output.answers()?.into_iter().flatten()) {
            said.push(answer);
        }
    }
    assert!(flat(outputs).iter().all(|it| it.is_finite()), "{name}: {outputs:?}");
    for said in said {
        let p = task.join(&[said]).unwrap_or_else(|err| panic!("{name}: {err}"));
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{name}: {p:?}");
        // Deep networks that have not learned their running statistics saturate the softmax.
        let is_moderate = flat(outputs).iter().all(|it| it.abs() < 100.0);
        assert!(p.iter().all(|&it| it > 0.0) || !is_moderate, "{name}: {p:?}");
    }
    Ok(())
}

/// Everything that is asked of a network with a head.
fn check_model(name: &str, spec: &ModelSpec) -> Result<()> {
    eprintln!("{name}");
    let task = Task::mask_gender_age();
    let fresh = |seed| Model::fresh(spec, &task, Seed(seed), &Device::Cpu);
    let model = fresh(0)?;
    for (n, h, w) in [(2, 64, 64), (1, 96, 70)] {
        let outputs = model.forward(&pictures(n, h, w)?, &Pass::Eval)?;
        check_outputs(name, &outputs, n, &task)?;
    }

    let xs = pictures(2, 64, 64)?;
    let before = flat(&model.forward(&xs, &Pass::Eval)?);
    assert_eq!(before, flat(&model.forward(&xs, &Pass::Eval)?), "{name}: answering changes it");
    assert_eq!(before, flat(&fresh(0)?.forward(&xs, &Pass::Eval)?), "{name}: same seed");
    assert_ne!(before, flat(&fresh(1)?.forward(&xs, &Pass::Eval)?), "{name}: other seed");

    let other = fresh(1)?;
    let tensors: BTreeMap<String, Tensor> = model.params().to_file()?.into_iter().collect();
    other.params().load(&tensors).expect("the same network");
    assert_eq!(before, flat(&other.forward(&xs, &Pass::Eval)?), "{name}: saved and loaded");

    let tape = Tape::default();
    let training = Training { tape: &tape, seed: Seed(0), step: 0, first_row: 0 };
    let outputs = model.forward(&pictures(4, 64, 64)?, &Pass::Train(training))?;
    let asked = spec.head.get().questions(&task)?;
    let said = |it: &Output| (it.asks, it.form.clone(), it.weight, it.numbers.dims()[1]);
    let asked = asked.iter().map(|it| (it.asks, it.form.clone(), it.weight, it.n_out));
    assert_eq!(outputs.iter().map(said).collect::<Vec<_>>(), asked.collect::<Vec<_>>(), "{name}");
    let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for output in &outputs {
        loss = (loss + output.numbers.sqr()?.sum_all()?)?;
    }
    let grads = tape.backward(&loss)?;
    for (param, it) in model.params().trained() {
        let grad = grads.get(&it.var).unwrap_or_else(|| panic!("{name}: {param} has no gradient"));
        let grad = grad.flatten_all()?.to_vec1::<f32>()?;
        assert!(grad.iter().all(|it| it.is_finite()), "{name}: {param}");
    }
    let has_statistics = model.params().named().any(|(_, it)| it.kind == Kind::Buffer);
    let moved = flat(&model.forward(&xs, &Pass::Eval)?);
    assert_eq!(before != moved, has_statistics, "{name}: training moves the running statistics");

    let maps = model.maps(&xs, &Pass::Eval)?;
    let (stages, n_heads) = (model.stages(), spec.head.get().n_copied());
    assert_eq!(maps.len() + 1, stages.len(), "{name}");
    let is_map = |it: &Value| it.dims().len() == 4;
    assert!(maps[..maps.len() - 1].iter().all(is_map), "{name}: a stage before the neck");
    assert_eq!(is_map(&maps[maps.len() - 1]), n_heads > 0, "{name}: the neck ends in features");
    for (idx, stage) in stages.iter().enumerate() {
        let has_params = model.params().named().any(|(_, it)| it.stage == idx);
        assert!(has_params || stage == "neck", "{name}: {stage} is empty");
    }
    Ok(())
}

/// The same network, so narrow that the largest take seconds and not minutes.
fn narrow(backbone: BackboneConfig) -> BackboneConfig {
    let width = 0.25;
    match backbone {
        BackboneConfig::EfficientNet(it) => {
            BackboneConfig::EfficientNet(EfficientNet { width, ..it })
        }
        BackboneConfig::ResNet(it) => BackboneConfig::ResNet(ResNet { width, ..it }),
        BackboneConfig::XResNet(it) => BackboneConfig::XResNet(XResNet { width, ..it }),
        BackboneConfig::Vgg(it) => BackboneConfig::Vgg(Vgg { width, hidden: 64, ..it }),
        BackboneConfig::DenseNet(it) => BackboneConfig::DenseNet(DenseNet { width, ..it }),
        BackboneConfig::ConvNeXt(it) => BackboneConfig::ConvNeXt(ConvNeXt { width, ..it }),
    }
}

#[test]
fn every_published_network_is_sound() -> Result<()> {
    let mut kinds = BTreeSet::new();
    for it in published() {
        kinds.insert(it.backbone.kind());
        assert_eq!(it.backbone.get().problem(), None, "{}", it.name);
        check_model(it.name, &spec(narrow(it.backbone), HeadConfig::default()))?;
    }
    assert_eq!(kinds.into_iter().collect::<BTreeSet<_>>().len(), BackboneConfig::KINDS.len());
    Ok(())
}

#[test]
fn every_head_is_sound() -> Result<()> {
    // A head sees nothing of a backbone but its features, so a narrow one does.
    let config = EfficientNet { width: 0.25, ..EfficientNet::default() };
    let mut heads = HeadConfig::zoo();
    for text in [
        "kind = \"joint\"\ndepth = 2\nwidth = 32\nactivation = \"silu\"\ninit = \"kaiming\"",
        "kind = \"factored\"\ndepth = 1\nwidth = 16\ninit = \"xavier\"",
        "kind = \"cosine\"\nby = \"factor\"",
        "kind = \"age_bins\"\ndecide = \"likeliest\"\ncuts = [31, 59]",
        "kind = \"age_bins\"\ndecide = \"expected\"\ndepth = 1\ninit = \"trunc_normal\"",
        "kind = \"age_number\"\nbeside = false",
        "kind = \"multi_sample_dropout\"\nmean = \"logits\"",
    ] {
        heads.push((text, toml::from_str(text).expect("settings")));
    }
    for (kind, head) in heads {
        check_model(kind, &spec(BackboneConfig::EfficientNet(config.clone()), head))?;
    }
    Ok(())
}

// Pictures.

fn drawn(w: u32, h: u32) -> Picture {
    Picture::from_fn(w, h, |x, y| image::Rgb([(x * 5) as u8, (y * 3) as u8, (x + y) as u8]))
}

#[test]
fn every_picture_operation_keeps_its_promises() {
    for (kind, op) in PictureOpConfig::zoo() {
        assert_eq!(op.get().problem(), None, "{kind}: its defaults make no sense");
        for (w, h) in [(225, 301), (301, 225), (1, 1), (224, 224)] {
            let apply = |seed| op.get().apply(drawn(w, h), &mut Seed(seed).stream("zoo"));
            // A crop of a picture that is too small is refused, with a word on what to do.
            let once = match apply(0) {
                Ok(it) => it,
                Err(text) => {
                    assert!(text.contains("resize"), "{kind}: {text}");
                    continue;
                }
            };
            let size = op.get().gives_size().unwrap_or([h as usize, w as usize]);
            match &op {
                PictureOpConfig::ResizeShorter(it) => {
                    assert_eq!(once.height().min(once.width()) as usize, it.size, "{kind}");
                }
                _ => assert_eq!([once.height() as usize, once.width() as usize], size, "{kind}"),
            }
            assert_eq!(once, apply(0).unwrap(), "{kind}: the same stream gives another picture");
            let others = (1..20).any(|seed| apply(seed).unwrap() != once);
            if !op.get().is_random() {
                assert!(!others, "{kind} says that it leaves nothing to chance");
            } else if w > 1 && (w, h) != (224, 224) {
                assert!(others, "{kind} says that it is random");
            }
        }
    }
}

#[test]
fn strength_zero_is_the_identity() {
    let nothing = [
        "kind = \"horizontal_flip\"\np = 0.0",
        "kind = \"color_jitter\"\nbrightness = 0.0\ncontrast = 0.0\nsaturation = 0.0",
        "kind = \"resize\"\nsize = [31, 23]",
        "kind = \"resize_shorter\"\nsize = 23",
        "kind = \"center_crop\"\nsize = [31, 23]",
        "kind = \"random_crop\"\nsize = [31, 23]",
    ];
    assert_eq!(nothing.len(), PictureOpConfig::KINDS.len(), "an operation without its zero");
    for text in nothing {
        let op: PictureOpConfig = toml::from_str(text).unwrap();
        for seed in 0..10 {
            let got = op.get().apply(drawn(23, 31), &mut Seed(seed).stream("zoo")).unwrap();
            assert_eq!(got, drawn(23, 31), "{text}");
        }
    }
}

// Batches.

/// What an operation, with settings besides its defaults, makes of a batch of `n` pictures of 9x7.
fn mixed(kind: &str, settings: &str, n: usize, batch: usize) -> MixPlan {
    let op: MixOpConfig = toml::from_str(&format!("kind = \"{kind}\"\n{settings}")).unwrap();
    assert_eq!(op.get().problem(), None, "{kind}: {settings}");
    let mixing = Mixing::new(&[op], &Task::mask_gender_age(), &[], |_| usize::MAX).unwrap();
    mixing.plan(batch, n, [9, 7], |_| Seed(0).stream(&format!("mix/{batch}")))
}

#[test]
fn every_mixing_keeps_its_promises() -> Result<()> {
    for &(kind, _) in MixOpConfig::KINDS {
        let both: &[&str] = match kind {
            "random_erasing" => &["", "fill = \"rand\"", "fill = \"pixel\""],
            _ => &[
                "",
                "per = \"example\"",
                "per = \"example\"\npartner = \"flipped\"",
                "per = \"pair\"\npartner = \"flipped\"",
            ],
        };
        for settings in both {
            for n in [1, 2, 5, 8] {
                let name = format!("{kind} {settings}: a batch of {n}");
                let pictures: Vec<u8> =
                    (0..n * 9 * 7 * 3).map(|it| (it * 37 % 256) as u8).collect();
                let seen = |plan: &MixPlan| -> Result<Vec<f32>> {
                    let rows =
                        ops::Rows { pictures: &pictures, size: [9, 7], collages: &plan.rows };
                    let xs = ops::normalise(rows, [0.5; 3], [0.25; 3], &Device::Cpu)?;
                    assert_eq!(xs.dims(), [n, 9, 7, 3], "{name}");
                    xs.flatten_all()?.to_vec1()
                };
                let is_whole = MixPlan { size: [9, 7], rows: whole(n), guests: vec![] };
                let mut n_changed = 0;
                for batch in 0..20 {
                    let plan = mixed(kind, settings, n, batch);
                    assert_eq!(plan, mixed(kind, settings, n, batch), "{name}: it is not repeated");
                    let rows: Vec<Row> = plan.rows.iter().map(|it| it.row([9, 7])).collect();
                    assert_eq!(rows.len(), n, "{name}");
                    for row in &rows {
                        let sum: f32 = row.iter().map(|it| it.weight).sum();
                        assert!((sum - 1.0).abs() < 1e-6, "{name}: {row:?}");
                        assert!(row.iter().all(|it| (0.0..=1.0).contains(&it.weight)), "{name}");
                    }
                    assert!(seen(&plan)?.iter().all(|it| it.is_finite()), "{name}");
                    n_changed += usize::from(plan != is_whole);
                    let nothing = mixed(kind, &format!("p = 0.0\n{settings}"), n, batch);
                    assert_eq!(nothing, is_whole, "{name}: p = 0 changes something");
                }
                assert!(
                    n_changed > 5 || (n == 1 && settings.contains("pair")),
                    "{name}: too little"
                );
            }
        }
        let plans = [0, 1].map(|it| mixed(kind, "", 8, it));
        assert_ne!(plans[0], plans[1], "{kind}: two batches are alike");
        for wrong in ["p = 1.5", "p = nan"] {
            let op: MixOpConfig = toml::from_str(&format!("kind = \"{kind}\"\n{wrong}")).unwrap();
            assert!(op.get().problem().is_some_and(|it| it.contains("`p`")), "{kind}: {wrong}");
        }
    }
    Ok(())
}

// Samplers and splits.

/// Examples of these classes, of which there is one more, without examples; people have seven each.
fn groups(classes: &[usize]) -> Groups {
    let n_classes = classes.iter().max().map_or(1, |it| it + 2);
    let of = |class| (0..classes.len()).filter(|&it| classes[it] == class).collect();
    let all: Vec<usize> = (0..classes.len()).collect();
    Groups {
        names: (0..n_classes).map(|it| it.to_string()).collect(),
        classes: (0..n_classes).map(of).collect(),
        people: all.chunks(7).map(<[usize]>::to_vec).collect(),
    }
}

/// Further settings that samplers are asked with.
fn samplers() -> Vec<(&'static str, SamplerConfig)> {
    let mut samplers = SamplerConfig::zoo();
    for text in [
        "kind = \"weighted\"\npower = 0.5\nnum_samples = 100",
        "kind = \"weighted\"\nreplacement = false\nnum_samples = 20",
        "kind = \"balance_class\"\nmode = \"upsampling\"",
        "kind = \"balance_class\"\nmode = 15",
        "kind = \"dynamic_balance\"\nmode = 30\nmax_d = 2",
    ] {
        samplers.push((text, toml::from_str(text).expect("settings")));
    }
    samplers
}

#[test]
fn every_sampler_reaches_everything_and_differs_between_epochs() {
    let groups = groups(&(0..60).map(|it| it % 7 % 3).collect::<Vec<_>>());
    for (kind, sampler) in samplers() {
        let sampler = sampler.get();
        assert_eq!((sampler.problem(), sampler.misfit(&groups)), (None, None), "{kind}");
        let order = |epoch| {
            let mut rng = Seed(0).stream(&format!("sample/{epoch}"));
            let order = sampler.order(&groups, epoch, &mut rng);
            assert_eq!(order.len(), sampler.n_draws(&groups, epoch), "{kind}");
            order
        };
        let mut reached = BTreeSet::new();
        for epoch in 0..100 {
            let order = order(epoch);
            assert!(order.iter().all(|&it| it < 60), "{kind}");
            reached.extend(order);
        }
        assert_eq!(reached.len(), 60, "{kind} never reaches some examples");
        assert_eq!(order(0), order(0), "{kind}: the same epoch differs");
        assert_ne!(order(0), order(1), "{kind}: two epochs are alike");
    }
}

#[test]
fn every_sampler_takes_few_examples_or_none() {
    for (kind, sampler) in samplers() {
        for groups in [Groups::default(), groups(&[]), groups(&[0]), groups(&[3])] {
            let n_examples = groups.n_examples();
            for epoch in [0, 1, 1000] {
                let order = sampler.get().order(&groups, epoch, &mut Seed(0).stream("sample"));
                assert_eq!(order.len(), sampler.get().n_draws(&groups, epoch), "{kind}");
                assert_eq!(order.is_empty(), n_examples == 0, "{kind}");
                assert!(order.iter().all(|&it| it == 0), "{kind}");
            }
        }
    }
}

#[test]
fn ten_thousand_draws_of_every_sampler_have_its_shares() {
    // 210 examples: 90, 60, 30, 0 and 30 of a class, so that a person's seven pictures differ in class.
    let classes: Vec<usize> = (0..210).map(|it| [0, 0, 0, 1, 1, 2, 4][it * 3 % 7]).collect();
    let groups = groups(&classes);
    let counts: Vec<f64> = groups.counts().map(|it| it as f64).collect();
    for (kind, sampler) in SamplerConfig::zoo() {
        // What an example weighs; classes without examples count nowhere.
        let weight = |class: usize| match kind {
            "shuffled" | "dynamic_balance" | "one_per_person" => 1.0,
            "weighted" | "imbalanced" | "balance_class" => 1.0 / counts[class],
            other => panic!("what are the shares of `{other}`?"),
        };
        let whole: f64 = classes.iter().map(|&it| weight(it)).sum();
        let rng = &mut Seed(0).stream("sample");
        let mut drawn = Vec::new();
        while drawn.len() < 10_000 {
            drawn.extend(sampler.get().order(&groups, 0, rng));
        }
        let check = |what: &str, n: usize, p: f64| {
            let bound = 4.0 * (p * (1.0 - p) / drawn.len() as f64).sqrt();
            let share = n as f64 / drawn.len() as f64;
            assert!((share - p).abs() <= bound, "{kind}: {what} has {share}, not {p} ± {bound}");
        };
        for (class, n) in groups.counts_of(&drawn).into_iter().enumerate() {
            check(&format!("class {class}"), n, counts[class] * weight(class).min(1.0) / whole);
        }
        for (example, &class) in classes.iter().enumerate() {
            let n = drawn.iter().filter(|&&it| it == example).count();
            check(&format!("example {example}"), n, weight(class) / whole);
        }
    }
}

#[test]
fn every_split_holds_some_people_out_and_repeats_itself() {
    let strata: Vec<Vec<usize>> = (0..50).map(|it| vec![it % 2, it % 3]).collect();
    for (kind, split) in SplitConfig::zoo() {
        let held_out = || split.get().held_out(&strata, &mut Seed(0).stream("split")).unwrap();
        for fold in held_out() {
            assert!(!fold.is_empty() && fold.len() < strata.len(), "{kind}");
            assert!(fold.is_sorted_by(|a, b| a < b), "{kind}: people twice, or out of order");
        }
        assert_eq!(held_out(), held_out(), "{kind}");
    }
}

// Optimizers and schedules.

/// Minimises a function of two numbers from a start, and returns where it ends.
fn minimise(
    optim: &OptimConfig,
    start: [f32; 2],
    n_steps: usize,
    lr: f64,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Vec<f32>> {
    let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
    let var = params.builder().param("x", Kind::Vector, &[2], Init::Constant(0.0))?;
    var.set(&Tensor::new(&start, &Device::Cpu)?)?;
    let mut optimizer = optim.get().build(&params);
    for _ in 0..n_steps {
        let tape = Tape::default();
        let loss = f(&tape.export(&tape.leaf(&var))?)?;
        let share = lr / optim.get().lr();
        optimizer.step(&tape.backward(&loss)?, Rates { lr: share })?;
    }
    var.to_vec1()
}

#[test]
fn every_optimizer_finds_the_bottom_of_a_bowl_and_of_a_valley() -> Result<()> {
    let bowl = |x: &Tensor| -> Result<Tensor> {
        (x - Tensor::new(&[1f32, -2.0], &Device::Cpu)?)?.sqr()?.sum_all()
    };
    // Rosenbrock: (1 - x)² + 100 (y - x²)², with its bottom at (1, 1).
    let valley = |x: &Tensor| -> Result<Tensor> {
        let (x, y) = (x.get(0)?, x.get(1)?);
        let (a, b) = ((1.0 - &x)?.sqr()?, (y - x.sqr()?)?.sqr()?);
        a + (b * 100.0)?
    };
    for (kind, optim) in OptimConfig::zoo() {
        assert_eq!(optim.get().problem(), None, "{kind}: its defaults make no sense");
        let at = minimise(&optim, [0.0, 0.0], 2000, 1e-2, bowl)?;
        assert!((at[0] - 1.0).abs() < 0.05 && (at[1] + 2.0).abs() < 0.1, "{kind}: {at:?}");
        let at = minimise(&optim, [-1.0, 1.0], 6000, 5e-3, valley)?;
        assert!((at[0] - 1.0).abs() < 0.1 && (at[1] - 1.0).abs() < 0.2, "{kind}: {at:?}");
    }
    Ok(())
}

#[test]
fn every_schedule_stays_between_nothing_and_the_peak() {
    for (kind, schedule) in ScheduleConfig::zoo() {
        assert_eq!(schedule.get().problem(), None, "{kind}: its defaults make no sense");
        for (total, steps_per_epoch) in [(1, 1), (100, 7), (100, 1000)] {
            let at = |step| Clock { step, total, epoch: step as f64 / f64::from(steps_per_epoch) };
            for warmup in [0, 10, total] {
                for step in 0..=total {
                    let lr = schedule.rates(&at(step), &at(warmup)).lr;
                    assert!((0.0..=1.0).contains(&lr), "{kind} at {step} of {total}: {lr}");
                }
            }
        }
    }
}

// Metrics.

#[test]
fn every_metric_knows_right_from_wrong_and_no_order() {
    let task = Task::mask_gender_age();
    let predictions = |shift: usize, order: &dyn Fn(usize) -> usize| {
        let classes: Vec<usize> = (0..36).map(|it| order(it) % 18).collect();
        let p = |class: &usize| {
            let mut p = vec![0.01 / 17.0; 18];
            p[(class + shift) % 18] = 0.99;
            p
        };
        let probabilities = classes.iter().map(p).collect();
        let years = (0..36).map(|it| 30.0 + (order(it) + shift) as f64).collect();
        let ages = (0..36).map(|it| Some(30.0 + order(it) as f64)).collect();
        Predictions::new(task.clone(), probabilities, classes, (0..36).collect())
            .with_years(Some(years), ages)
    };
    for (kind, metric) in MetricConfig::zoo() {
        let score = |it: &Predictions| metric.get().score(it);
        let (right, wrong) = (predictions(0, &|it| it), predictions(1, &|it| it));
        assert!(metric.get().improves(score(&right), score(&wrong)), "{kind}");
        assert!(
            !metric.get().improves(score(&right), score(&right)),
            "{kind}: no better than itself"
        );
        assert!(
            !metric.get().improves(f64::NAN, score(&wrong)),
            "{kind}: no number is no improvement"
        );
        let turned = predictions(1, &|it| 35 - it);
        assert!((score(&wrong) - score(&turned)).abs() < 1e-12, "{kind}: the order matters");
        let nobody = Predictions::new(task.clone(), vec![], vec![], vec![]);
        assert_eq!(score(&nobody).is_nan(), metric.get().needs_years(), "{kind}");
        assert_eq!(metric.get().problem(), None, "{kind}: its defaults make no sense");
    }
}
