//! What does not fit is an error that says what, where and what would, before the driver sees it.

use std::sync::Arc;

use gpu::{
    Buffer, Shape, Storage,
    average::Average,
    concat::concat,
    conv::Window,
    depthwise::{self, Depthwise},
    dropout, elementwise,
    image::{Area, Erased, Fill, Images, Layer, Sample, Stretch, normalise, upsample},
    norm::{self, Backward},
    pool::{Pooling, Windows, max_pool},
    product::{Epilogue, Linear},
    prologue::{GradPrologue, Prologue},
};

use crate::harness::Test;

#[test]
fn sizes_of_a_product_that_do_not_fit() {
    let test = Test::new();
    let of = Linear { storage: Storage::Bf16, images: 2, area: 3, n_in: 8, n_out: 8, tile: None };
    let (x, w) = (test.alloc(Storage::Bf16, 48), test.alloc(Storage::Bf16, 63));
    let mut y = test.alloc(Storage::Bf16, 48);
    let run = |of: Linear, y: &mut gpu::Buffer| {
        let then = Epilogue::default();
        of.forward(test.device(), (&x, Prologue::default()), &w, then, false, y)
            .unwrap_err()
            .to_string()
    };
    let err = run(of, &mut y);
    assert!(err.contains("`weight` has 126 bytes") && err.contains("128"), "{err}");
    let err = run(Linear { images: 0, ..of }, &mut y);
    assert!(err.contains("no images"), "{err}");
    let err = run(Linear { n_in: 0, ..of }, &mut y);
    assert!(err.contains("no input channels"), "{err}");
}

#[test]
fn a_window_that_does_not_fit() {
    let (size, kernel) = ([2, 2], [7, 7]);
    let window = Window { size, kernel, stride: 1, before: [1, 1], after: [1, 1] };
    let err = window.out().unwrap_err().to_string();
    assert!(err.contains("does not fit the map"), "{err}");
}

#[test]
fn sizes_of_a_depthwise_convolution_that_do_not_fit() {
    let test = Test::new();
    let (size, kernel, before) = ([4, 4], [3, 3], [1, 1]);
    let base = Depthwise {
        storage: Storage::F32,
        images: 1,
        size,
        out: size,
        kernel,
        stride: 1,
        before,
        c: 8,
    };
    let of = base;
    let (x, weight) = (test.put(Storage::F32, &[0.0; 128]).0, test.put(Storage::F32, &[0.0; 72]).0);
    let mut y = test.alloc(Storage::F32, 127);
    let mut run = |of: &Depthwise| {
        depthwise::forward(
            test.device(),
            of,
            (&x, &Default::default()),
            &weight,
            None,
            &mut y,
            false,
        )
        .unwrap_err()
        .to_string()
    };
    assert!(run(&of).contains("`y` has 508 bytes, and needs 512"), "{}", run(&of));
    let err = run(&Depthwise { out: [6, 4], ..of });
    assert!(
        err.contains("6 windows of 3 with stride 1 and padding 1 do not fit a map of 4"),
        "{err}"
    );
    let err = run(&Depthwise { images: 0, ..of });
    assert!(err.contains("there are no"), "{err}");
}

#[test]
fn sizes_of_elementwise_operations_that_do_not_fit() {
    let test = Test::new();
    let of = Shape { storage: Storage::F32, images: 2, area: 3, c: 4 };
    let (x, short) = (test.put(of.storage, &[0.0; 24]).0, test.put(of.storage, &[0.0; 23]).0);
    let mut out = test.alloc(of.storage, 24);
    let mut run = |x: &Buffer, of: Shape| {
        elementwise::apply(test.device(), of, (x, &Prologue::default()), &mut out)
            .unwrap_err()
            .to_string()
    };
    assert!(run(&short, of).contains("`x` has 92 bytes, and needs 96"), "{}", run(&short, of));
    assert!(
        run(&x, Shape { area: 0, ..of }).contains("there are no rows"),
        "{}",
        run(&x, Shape { area: 0, ..of })
    );
    let plain = (&x, &GradPrologue::default());
    let err = elementwise::gradient(test.device(), of, plain, None, None, &mut out, true)
        .unwrap_err()
        .to_string();
    assert!(err.contains("there is none"), "{err}");
}

#[test]
fn sizes_of_a_norm_that_do_not_fit() {
    let test = Test::new();
    let of = Shape { storage: Storage::Bf16, images: 2, area: 2, c: 8 };
    let z = test.put(Storage::Bf16, &[0.0; 31]).0;
    let err = norm::moments(test.device(), of, &z).unwrap_err().to_string();
    assert!(err.contains("`z` has 62 bytes, and needs 64"), "{err}");
    let whole = test.put(Storage::Bf16, &[0.0; 32]).0;
    let empty = Shape { images: 0, ..of };
    let err = norm::moments(test.device(), empty, &whole).unwrap_err().to_string();
    assert!(err.contains("there are no rows"), "{err}");
    let parts = norm::moments(test.device(), of, &whole).unwrap();
    let err = norm::backward(test.device(), &parts, Backward::default()).unwrap_err().to_string();
    assert!(err.contains("the parts are Moments, and must be Norm"), "{err}");
    let gamma = test.put(Storage::F32, &[1.0; 7]).0;
    let err =
        norm::batch(test.device(), &parts, Some(&gamma), None, 1e-3, None).unwrap_err().to_string();
    assert!(err.contains("`gamma` has 28 bytes, and needs 32"), "{err}");
    let prologue = Prologue { scale: Some(&gamma), ..Prologue::default() };
    let err =
        norm::gate_sums(test.device(), of, &whole, (&whole, &prologue)).unwrap_err().to_string();
    assert!(err.contains("`prologue.scale` has 28 bytes"), "{err}");
}

#[test]
fn windows_beyond_the_map() {
    let test = Test::new();
    let (x, _) = test.put(Storage::F32, &[0.0; 9]);
    let (mut y, mut taps) = (test.alloc(Storage::F32, 9), test.device().alloc(9).unwrap());
    let windows = Windows::Sliding { kernel: [2; 2], stride: 1, before: [0; 2] };
    let (storage, size) = (Storage::F32, [3, 3]);
    let it = Pooling { storage, images: 1, size, out: [2, 2], c: 1, windows };
    let mut fails = |it: Pooling| {
        let err =
            max_pool(test.device(), &it, &x, &Prologue::default(), &mut y, &mut taps).unwrap_err();
        err.to_string()
    };
    let err = fails(Pooling { out: [4, 4], ..it });
    assert!(err.contains("not on the map"), "{err}");
    let err = fails(Pooling { c: 0, ..it });
    assert!(err.contains("no channels"), "{err}");
    let err = fails(Pooling { images: 2, ..it });
    assert!(err.contains("`x` has 36 bytes"), "{err}");
    let err = fails(Pooling { windows: Windows::Adaptive, ..it });
    assert!(err.contains("sliding"), "{err}");
}

#[test]
fn a_part_that_is_not_of_the_whole() {
    let test = Test::new();
    let (x, _) = test.put(Storage::F32, &[0.0; 12]);
    let mut y = test.alloc(Storage::F32, 12);
    let of = |area, c| Shape { storage: Storage::F32, images: 1, area, c };
    for (part, offset) in [(of(2, 3), 4), (of(1, 3), 0), (of(2, 7), 0), (of(2, 3), usize::MAX)] {
        let err = concat(test.device(), (part, of(2, 6)), offset, &x, &Prologue::default(), &mut y);
        let err = err.unwrap_err().to_string();
        assert!(err.contains("is not a part of"), "{err}");
    }
}

#[test]
fn a_mask_that_is_too_short() {
    let test = Test::new();
    let (x, mask) = (test.put(Storage::F32, &[0.0; 9]).0, test.put_plain(&[255_u8]));
    let mut y = test.alloc(Storage::F32, 9);
    let err = dropout::dropout(test.device(), (9, Storage::F32), &x, (&mask, 1.5), &mut y);
    let err = err.unwrap_err().to_string();
    assert!(err.contains("`mask` has 1 bytes, and needs 2"), "{err}");
}

#[test]
fn images_and_areas_that_are_not_there() {
    let test = Test::new();
    let [h, w] = [5, 7];
    let pixels = test.put_plain(&vec![0_u8; 3 * h * w * 3]);
    let (mean, std) = ([0.5; 3], [0.25; 3]);
    let images = Images { pixels: pixels.whole(), n: 3, size: [h, w], mean, std };
    let mut ys = test.alloc(Storage::F32, h * w * 3);
    let mut fails = |sample: Sample| {
        let err = normalise(test.device(), &images, &[sample], Storage::F32, 3, &mut ys);
        err.unwrap_err().to_string()
    };
    let whole = |image| Sample { image, over: None, erased: Vec::new() };
    let area = Area { top: 1, left: 2, height: 3, width: 4 };
    let err = fails(whole(3));
    assert!(err.contains("image 3, there are 3"), "{err}");
    let over = Some(Layer { image: 2, area, from: [3, 0], share: 0.5 });
    let err = fails(Sample { over, ..whole(0) });
    assert!(err.contains("not within"), "{err}");
    let short = Erased { area, fill: Fill::Pixels(vec![0.0; 3]) };
    let err = fails(Sample { erased: vec![short], ..whole(0) });
    assert!(err.contains("do not fill"), "{err}");

    let (from, mut to) =
        (test.put_plain(&[0u8, 100, 255, 40, 101, 0]), test.alloc(Storage::F32, 3));
    let stretch = Stretch { n: 2, start: 0.0, length: 3.0, size: 4 };
    let err = upsample(test.device(), &stretch, (1, 3), &from, &mut to).unwrap_err();
    assert!(err.to_string().contains("not a part"), "{err}");
}

#[test]
fn averages_of_other_weights() {
    let test = Test::new();
    let weights = (0..3).map(|_| Arc::new(test.put(Storage::F32, &[0.0]).0)).collect();
    let err = Average::new(test.device(), vec![], weights).unwrap_err();
    assert!(err.to_string().contains("0 averages of 3"), "{err}");
}
