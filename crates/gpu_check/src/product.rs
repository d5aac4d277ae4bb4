//! Products of rows: every tile, storage and prologue, on odd sizes.

use gpu::{
    Storage,
    product::{Epilogue, Tile},
    prologue::{Activation, Prologue},
};

use crate::{case::List, layer::Layer, prologue::Read};

/// Kernels with tiles.
pub(crate) fn cases(list: &mut List) {
    for storage in [Storage::Bf16, Storage::F16] {
        for tile in [Tile::Large, Tile::Narrow, Tile::Small] {
            // More than one tile of rows and of columns, and none of them whole; one image ends within a tile.
            let layer = Layer::product(storage, [3, 47, 40, 136]);
            list.layer(Layer { tile: Some(tile), ..layer });
            let (x, g, activation) = (Read::Gate, Read::Norm, Activation::Silu);
            let layer = Layer::product(storage, [2, 70, 40, 24]);
            list.layer(Layer { tile: Some(tile), x, g, activation, has_extras: true, ..layer });
        }
    }
    for storage in Storage::ALL {
        for (x, g, activation) in [
            (Read::Norm, Read::Norm, Activation::Silu),
            (Read::Gate, Read::Norm, Activation::Silu),
            (Read::Norm, Read::Gate, Activation::Gelu),
            (Read::GateAlone, Read::GateAlone, Activation::Relu),
            (Read::Gate, Read::Gate, Activation::Sigmoid),
        ] {
            let layer = Layer::product(storage, [3, 23, 40, 24]);
            list.layer(Layer { x, g, activation, has_extras: true, ..layer });
        }
        // Channels that are no multiples of 8.
        for size in [[1, 1, 3, 5], [2, 70, 17, 8], [5, 1, 8, 18], [1, 66, 35, 71]] {
            let layer = Layer::product(storage, size);
            list.layer(layer);
            let (x, g, activation) = (Read::Gate, Read::Gate, Activation::Relu6);
            list.layer(Layer { x, g, activation, has_extras: true, ..layer });
        }
        // A weight's gradient of many rows is summed in parts.
        list.layer(Layer::product(storage, [2, 600, 8, 16]));
    }
    large_mean(list);
    if list.is_whole {
        of_networks(list);
    }
}

/// Kernels for layers of few rows.
pub(crate) fn few(list: &mut List) {
    for storage in Storage::ALL {
        for (size, x) in [
            ([1, 1, 3, 5], Read::Plain),
            ([5, 1, 40, 18], Read::Norm),
            ([20, 1, 300, 6], Read::Norm),
            ([3, 2, 10, 133], Read::Norm),
            ([2, 3, 2064, 8], Read::GateAlone),
        ] {
            let layer = Layer { is_few: true, ..Layer::product(storage, size) };
            list.layer(layer);
            let (g, activation) = (Read::Gate, Activation::Silu);
            list.layer(Layer { x, g, activation, has_extras: true, ..layer });
        }
    }
}

/// y = 1000 + x of 8 channels, by the identity and a bias: the mean does not cancel the moments.
fn large_mean(list: &mut List) {
    list.add(Storage::F32, "a large mean".into(), |check| {
        let (x, _) = check.uniform(Storage::F32, 200 * 8, -1.0, 1.0)?;
        let identity: Vec<f32> = (0..64).map(|it| f32::from(u8::from(it % 9 == 0))).collect();
        let (w, _) = check.put(Storage::F32, &identity)?;
        let (bias, _) = check.put(Storage::F32, &[1000.0; 8])?;
        let of = Layer { tile: None, ..Layer::product(Storage::F32, [1, 200, 8, 8]) };
        let mut y = check.alloc(Storage::F32, 200 * 8)?;
        let then = Epilogue { shift: Some(&bias), ..Epilogue::default() };
        let parts = of.forward_pass(check, (&x, Prologue::default()), &w, then, true, &mut y)?;
        check.holds("moments", parts.is_some(), || "there are none".into());
        let stored = check.list(&y)?;
        parts.map_or(Ok(()), |it| check.moments("a large mean", &it, &stored, false))
    });
}

/// Every tile that the sizes of EfficientNet B0 choose, at two images.
fn of_networks(list: &mut List) {
    for storage in Storage::ALL {
        for (area, n_in, n_out, x, g) in [
            (3136, 32, 16, Read::Gate, Read::Norm),
            (784, 24, 144, Read::Norm, Read::Norm),
            (196, 112, 672, Read::Norm, Read::Norm),
            (196, 672, 112, Read::Gate, Read::Norm),
            (49, 320, 1280, Read::Norm, Read::Norm),
        ] {
            let layer = Layer::product(storage, [2, area, n_in, n_out]);
            list.layer(Layer { tile: None, x, g, activation: Activation::Silu, ..layer });
        }
    }
}
