//! crates/explain against Grad-CAM and Grad-CAM++ in PyTorch: see explanations.py.

use std::{collections::BTreeMap, rc::Rc};

use augment::{Image, Pipeline, Statistics};
use base::{Seed, task::Scope};
use candle::{Device, Result};
use explain::{Explainer, Method, Target};
use infer::{Bundle, Member};
use models::{HeadConfig, Joint, Model, ModelSpec};
use testkit::{check_close_slices, numbers};

use super::{
    golden,
    networks::{network, plain_task, set_by_formula},
};

/// The image of explanations.py.
fn image([h, w]: [usize; 2]) -> Image {
    let (coarse, fine) = (numbers("explained", 6 * 4 * 3), numbers("grain", h * w * 3));
    let pixel = |at: usize| {
        let (y, x, c) = (at / (w * 3), at / 3 % w, at % 3);
        let x = 1.0 + 0.8 * coarse[(y / 16 * 4 + x / 16) * 3 + c] + 0.2 * fine[at];
        (127.5 * x).floor() as u8
    };
    let pixels = (0..h * w * 3).map(pixel).collect();
    Image::from_raw(w as u32, h as u32, pixels).expect("three bytes per pixel")
}

#[test]
fn every_map_agrees_with_pytorch() -> Result<()> {
    let golden = golden("explanations");
    let (size, step): ([usize; 2], usize) = (golden.to("size"), golden.to("step"));
    let cases = golden.at("cases");
    for name in cases.keys() {
        let case = cases.at(&name);
        let head = HeadConfig::Joint(Joint { dropout: 0.0, ..Joint::default() });
        let (spec, task) = (ModelSpec { backbone: network(&name), head }, plain_task(18));
        let model = Model::fresh(&spec, &task, Seed(0), &Device::Cpu)?;
        set_by_formula(&model)?;
        let statistics = Statistics { mean: [0.5; 3], std: [0.5; 3] };
        let pipeline = Pipeline { ops: Vec::new(), statistics, max_pixels: 1 << 20 };
        let member = Member::new(Rc::new(model), task.clone(), pipeline);
        let explainer = Explainer::new(&Bundle::new(task, vec![member]), 0).expect("a member");
        let target = Target { scope: Scope::Joint, class: Some(case.to("target")) };
        let stages: BTreeMap<String, BTreeMap<String, Vec<f64>>> = case.to("stages");
        for (stage, maps) in stages {
            for (method, want) in maps {
                let method: Method = method.parse().expect("a method");
                let it = explainer.explain_image(image(size), &target, method, Some(&stage));
                let it = it.unwrap_or_else(|err| panic!("{name}: {err}"));
                let probability = case.to::<f64>("probability");
                check_close_slices(&[it.probability], &[probability], 1e-3 * probability);
                let rows = it.heatmap.values.chunks_exact(size[1]).step_by(step);
                let got = rows.flat_map(|row| row.iter().step_by(step).map(|&it| f64::from(it)));
                let got: Vec<f64> = got.collect();
                let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                eprintln!("{name} {stage} {method}: off by at most {worst:.1e}");
                // Ours computes in f32, which moves a few values across the kink of a ReLU.
                check_close_slices(&got, &want, 5e-3);
            }
        }
    }
    Ok(())
}
