//! Products of rows: every tile, storage and prologue, on odd sizes.

use gpu::{
    Storage,
    product::{Epilogue, Linear, Tile},
    prologue::{Activation, Prologue},
};

use crate::{bounds::check_moments, harness::Test, prologue::Read, reference::Case};

#[test]
fn each_tile_of_a_product_is_right() {
    let mut test = Test::new();
    for storage in [Storage::Bf16, Storage::F16] {
        for tile in [Tile::Large, Tile::Narrow, Tile::Small] {
            // More than one tile of rows and of columns, and none of them whole; one image ends within a tile.
            let case = Case::product(storage, [3, 47, 40, 136]);
            Case { tile: Some(tile), ..case }.check(&mut test);
            let (x, g, activation) = (Read::Gate, Read::Norm, Activation::Silu);
            let case = Case::product(storage, [2, 70, 40, 24]);
            let read = Case { tile: Some(tile), x, g, activation, has_extras: true, ..case };
            read.check(&mut test);
        }
    }
}

#[test]
fn products_read_through_prologues() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for (x, g, activation) in [
            (Read::Norm, Read::Norm, Activation::Silu),
            (Read::Gate, Read::Norm, Activation::Silu),
            (Read::Norm, Read::Gate, Activation::Gelu),
            (Read::GateAlone, Read::GateAlone, Activation::Relu),
            (Read::Gate, Read::Gate, Activation::Sigmoid),
        ] {
            let case = Case::product(storage, [3, 23, 40, 24]);
            Case { x, g, activation, has_extras: true, ..case }.check(&mut test);
        }
    }
}

#[test]
fn layers_of_few_rows_are_right() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for (size, x) in [
            ([1, 1, 3, 5], Read::Plain),
            ([5, 1, 40, 18], Read::Norm),
            ([20, 1, 300, 6], Read::Norm),
            ([3, 2, 10, 133], Read::Norm),
            ([2, 3, 2064, 8], Read::GateAlone),
        ] {
            let case = Case { is_few: true, ..Case::product(storage, size) };
            case.check(&mut test);
            let (g, activation) = (Read::Gate, Activation::Silu);
            Case { x, g, activation, has_extras: true, ..case }.check(&mut test);
        }
    }
}

#[test]
fn products_of_any_channels_are_right() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for [images, area, n_in, n_out] in
            [[1, 1, 3, 5], [2, 70, 17, 8], [5, 1, 8, 18], [1, 66, 35, 71]]
        {
            let case = Case::product(storage, [images, area, n_in, n_out]);
            case.check(&mut test);
            let (x, g, activation) = (Read::Gate, Read::Gate, Activation::Relu6);
            Case { x, g, activation, has_extras: true, ..case }.check(&mut test);
        }
    }
}

#[test]
fn a_weight_gradient_of_many_rows_is_summed_in_parts() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        Case::product(storage, [2, 600, 8, 16]).check(&mut test);
    }
}

#[test]
fn a_large_mean_does_not_cancel_the_moments() {
    let mut test = Test::new();
    // y = 1000 + x of 8 channels: the identity and a bias.
    let numbers = test.numbers(200 * 8, -1.0, 1.0);
    let (x, _) = test.put(Storage::F32, &numbers);
    let identity: Vec<f32> = (0..64).map(|it| f32::from(u8::from(it % 9 == 0))).collect();
    let ((w, _), (bias, _)) =
        (test.put(Storage::F32, &identity), test.put(Storage::F32, &[1000.0; 8]));
    let of = Linear { storage: Storage::F32, images: 1, area: 200, n_in: 8, n_out: 8, tile: None };
    let mut y = test.alloc(Storage::F32, 200 * 8);
    let then = Epilogue { shift: Some(&bias), ..Epilogue::default() };
    let parts = of
        .forward(test.device(), (&x, Prologue::default()), &w, then, true, &mut y)
        .unwrap()
        .unwrap();
    let (stored, found) = (test.get(&y, Storage::F32), test.get(&parts.buffer, Storage::F32));
    check_moments("a large mean", &found, &parts, &stored, false);
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
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
