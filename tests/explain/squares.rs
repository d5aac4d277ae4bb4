//! Coloured squares on grey noise: in a network whose weights are set by hand, and in one that has learned their
//! colours, the maps lie on the squares, where those of a random map lie by the squares' share of the pixels.

use ::explain::{Explainer, Heatmap, Method, Target};
use augment::Image;
use base::{
    Seed, Task,
    mix::whole,
    task::{Factor, Scope},
};
use candle::{Device, Result, Tensor};
use models::{BackboneConfig, HeadConfig, Kind, Model, ModelSpec, ResNet, Vgg};
use ops::{Pass, Rows, Tape, Training};
use testkit::numbers;
use trainer::{OptimConfig, ParamGroups, Rates};

use super::explainer;

const SIDE: usize = 64;
const SQUARE: usize = 16;

/// An image of a square, and the pixels that it covers.
struct Drawn {
    image: Image,
    area: Vec<bool>,
}

/// Draws a square whose channel `channel` is bright and whose others are dark, on grey noise.
///
/// - `name`: of the noise.
fn draw(name: &str, channel: usize, [top, left]: [usize; 2]) -> Drawn {
    let noise = numbers(name, SIDE * SIDE);
    let is_in =
        |y: usize, x: usize| (top..top + SQUARE).contains(&y) && (left..left + SQUARE).contains(&x);
    let (mut pixels, mut area) = (Vec::new(), Vec::new());
    for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y, x))) {
        let grey = (128.0 + 50.0 * noise[y * SIDE + x]) as u8;
        let of = |c: usize| match (is_in(y, x), c == channel) {
            (true, true) => 255,
            (true, false) => 0,
            (false, _) => grey,
        };
        pixels.extend((0..3).map(of));
        area.push(is_in(y, x));
    }
    let image = Image::from_raw(SIDE as u32, SIDE as u32, pixels).expect("three bytes per pixel");
    Drawn { image, area }
}

fn colours() -> Task {
    Task::new(vec![Factor::new("colour", &["red", "green", "blue"])])
}

fn map(by: &Explainer, it: &Drawn, class: usize, method: Method, stage: &str) -> Heatmap {
    let target = Target { scope: Scope::Joint, class: Some(class) };
    by.explain_image(it.image.clone(), &target, method, Some(stage)).expect("an image").heatmap
}

/// VGG whose convolutions pass one channel on, red - (green + blue) / 2 - 0.1, and whose class 0 is the mean of it.
fn red_detector() -> Result<Model> {
    let vgg = Vgg { depth: 11, batch_norm: false, hidden: 0, dropout: 0.0, width: 0.125 };
    let head = toml::from_str("kind = \"joint\"\ndropout = 0.0").expect("settings");
    let spec = ModelSpec { backbone: BackboneConfig::Vgg(vgg), head };
    let model = Model::fresh(&spec, &colours(), Seed(0), &Device::Cpu)?;
    for (name, param) in model.params().named() {
        // In files a convolution's weight is `[out, in, 3, 3]`.
        let dims = param.kind.file_dims(param.var.dims());
        let mut values = vec![0f32; dims.iter().product()];
        match param.kind {
            Kind::Dense => {
                let centre = |channel: usize| channel * 9 + 4;
                values[centre(0)] = 1.0;
                if dims[1] == 3 {
                    (values[centre(1)], values[centre(2)]) = (-0.5, -0.5);
                }
            }
            Kind::Matrix => values[0] = 100.0,
            // Rounding errors of grey pixels stay below 0.
            _ if name == "features.0.bias" => values[0] = -0.1,
            _ => assert!(name.ends_with("bias"), "{name}"),
        }
        param.set_from_file(&Tensor::from_vec(values, dims, &Device::Cpu)?)?;
    }
    Ok(model)
}

#[test]
fn the_map_of_a_detector_of_red_lies_on_the_red_square() -> Result<()> {
    let by = explainer(red_detector()?, &colours());
    // Whole cells of stage 3, which has one for 8 pixels.
    for place in [[0, 0], [16, 32], [40, 24]] {
        let it = draw("red", 0, place);
        for method in [Method::GradCam, Method::GradCamPlusPlus] {
            // Half a cell is interpolated across each edge, of which 1/8 of a cell's mass is lost: with n cells in a
            // row (n - 1/4)² / n² is left, 0.94, 0.88 and 0.77.
            for (stage, least) in [("stage1", 0.85), ("stage2", 0.75), ("stage3", 0.6)] {
                let share = map(&by, &it, 0, method, stage).share_on(&it.area).expect("a map");
                assert!(share > least, "{method} of {stage} at {place:?}: {share}");
            }
        }
        // Red lowers the odds of green: its map is 0.
        let other = map(&by, &it, 1, Method::GradCam, "stage3");
        assert_eq!(other.mass(), 0.0);
        // A green square does not make a map of red.
        let green = draw("green", 1, place);
        assert_eq!(map(&by, &green, 0, Method::GradCam, "stage3").mass(), 0.0);
    }
    Ok(())
}

/// Draws images of all colours in turn, at random places.
fn drawn(n: usize, name: &str) -> Vec<Drawn> {
    let places = numbers(name, 2 * n);
    let start = |at: f64| ((at + 1.0) / 2.0 * (SIDE - SQUARE + 1) as f64) as usize;
    let square = |it: usize| {
        let place = [start(places[2 * it]), start(places[2 * it + 1])];
        draw(&format!("{name}/{it}"), it % 3, place)
    };
    (0..n).map(square).collect()
}

/// Trains a small ResNet to tell the colours apart.
fn trained() -> Result<Model> {
    const BATCH: usize = 24;
    let task = colours();
    let resnet = ResNet { depth: 18, width: 0.125, ..ResNet::default() };
    let head = HeadConfig::default();
    let spec = ModelSpec { backbone: BackboneConfig::ResNet(resnet), head };
    let model = Model::fresh(&spec, &task, Seed(0), &Device::Cpu)?;
    let optim: OptimConfig = toml::from_str("kind = \"adam\"\nlr = 3e-3").expect("settings");
    let mut optimizer = optim.get().build(model.params(), &ParamGroups::default());
    for step in 0..60 {
        let images: Vec<u8> = drawn(BATCH, &format!("train/{step}"))
            .iter()
            .flat_map(|it| it.image.as_raw().clone())
            .collect();
        let rows = Rows { images: &images, size: [SIDE, SIDE], samples: &whole(BATCH) };
        let xs = ops::normalise(rows, [0.5; 3], [0.5; 3], &Device::Cpu)?;
        let tape = Tape::default();
        let pass = Training { tape: &tape, seed: Seed(0), step, first_row: 0, momentum: None };
        let outputs = model.forward(&xs, &Pass::Train(pass))?;
        let loss = candle_nn::loss::cross_entropy(&outputs[0].numbers, &classes(BATCH)?)?;
        optimizer.step(&tape.backward(&loss)?, Rates::of(1.0))?;
    }
    Ok(model)
}

fn classes(n: usize) -> Result<Tensor> {
    Tensor::from_iter((0..n as u32).map(|it| it % 3), &Device::Cpu)
}

/// The correlation of the pixels of two maps; 0 if one of them is constant.
fn correlation(a: &Heatmap, b: &Heatmap) -> f64 {
    let centred = |it: &Heatmap| {
        let mean = it.mass() / it.values.len() as f64;
        it.values.iter().map(|x| f64::from(*x) - mean).collect::<Vec<f64>>()
    };
    let (a, b) = (centred(a), centred(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norm = (dot(&a, &a) * dot(&b, &b)).sqrt();
    if norm > 0.0 { dot(&a, &b) / norm } else { 0.0 }
}

#[test]
fn the_maps_of_a_learned_network_lie_on_the_squares() -> Result<()> {
    let by = explainer(trained()?, &colours());
    let (mut shares, mut correlations, mut n_correct) = ([0.0; 3], 0.0, 0);
    let test = drawn(24, "test");
    for (idx, it) in test.iter().enumerate() {
        let target = Target::PREDICTED;
        let found = by.explain_image(it.image.clone(), &target, Method::GradCam, None);
        n_correct += usize::from(found.expect("an image").class == idx % 3);
        let maps = Method::ALL.map(|method| map(&by, it, idx % 3, method, "stage2"));
        for (sum, map) in shares.iter_mut().zip(&maps) {
            // A map of zeros lies nowhere.
            *sum += map.share_on(&it.area).unwrap_or(0.0) / test.len() as f64;
        }
        correlations += correlation(&maps[0], &maps[2]) / test.len() as f64;
    }
    let random = (SQUARE * SQUARE) as f64 / (SIDE * SIDE) as f64;
    eprintln!("{n_correct} of 24 are correct; on the square: {shares:.3?}, random {random:.3}");
    eprintln!("correlation of Grad-CAM with occlusion: {correlations:.3}");
    assert!(n_correct >= 20, "{n_correct} of 24 are correct");
    // Grad-CAM++ has positive weights only, also for channels of the background.
    for (method, share, times) in [
        (Method::GradCam, shares[0], 2.0),
        (Method::GradCamPlusPlus, shares[1], 1.0),
        (Method::Occlusion, shares[2], 2.0),
    ] {
        let least = times * random;
        assert!(share > least, "{method}: {share} of the mass, where {random} is of the pixels");
    }
    assert!(correlations > 0.2, "occlusion does not agree with Grad-CAM: {correlations}");
    Ok(())
}
