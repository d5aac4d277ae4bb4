//! Convolutions: windows, strides, padding, groups, storages and prologues, on odd sizes.

use gpu::{
    Storage,
    conv::{Tile, Window},
    prologue::Activation,
};

use crate::{case::List, layer::Layer, prologue::Read};

/// Same as `Padding::Same`: more zeros after than before.
const WINDOWS: [Window; 6] = [
    Window { size: [5, 7], kernel: [3, 3], stride: 1, before: [1, 1], after: [1, 1] },
    Window { size: [6, 7], kernel: [3, 3], stride: 2, before: [0, 1], after: [1, 1] },
    Window { size: [8, 9], kernel: [4, 4], stride: 4, before: [0, 0], after: [0, 0] },
    Window { size: [5, 4], kernel: [1, 1], stride: 2, before: [0, 0], after: [0, 0] },
    Window { size: [4, 6], kernel: [5, 2], stride: 3, before: [2, 0], after: [2, 1] },
    Window { size: [1, 1], kernel: [3, 3], stride: 2, before: [1, 1], after: [1, 1] },
];

/// Convolutions without groups.
pub(crate) fn cases(list: &mut List) {
    for storage in [Storage::Bf16, Storage::F16] {
        for window in WINDOWS {
            list.layer(Layer::conv(storage, [2, 16, 24, 1], window));
        }
    }
    for tile in [Tile::Large, Tile::Narrow, Tile::Small] {
        let layer = Layer::conv(Storage::Bf16, [3, 8, 72, 1], WINDOWS[0]);
        list.layer(Layer { tile: Some(tile), ..layer });
        let (x, g, activation) = (Read::Gate, Read::Norm, Activation::Silu);
        let read = Layer { tile: Some(tile), x, g, activation, has_extras: true, ..layer };
        list.layer(Layer { n_out: 16, ..read });
    }
    // Channels that are no multiples of 8, and f32.
    let any = [
        (Storage::F32, [2, 3, 10, 1]),
        (Storage::F32, [1, 8, 16, 1]),
        (Storage::Bf16, [2, 3, 16, 1]),
        (Storage::F16, [2, 11, 5, 1]),
    ];
    for window in WINDOWS {
        for (storage, sizes) in any {
            for storage in list.storages(&[storage]) {
                list.layer(Layer::conv(storage, sizes, window));
            }
        }
    }
    for storage in Storage::ALL {
        for (n_in, x, g, activation) in [
            (16, Read::Norm, Read::Norm, Activation::Silu),
            (5, Read::Norm, Read::Gate, Activation::Relu),
            (16, Read::Gate, Read::Norm, Activation::Gelu),
            (7, Read::Gate, Read::GateAlone, Activation::Relu6),
        ] {
            for window in &WINDOWS[..if list.is_whole { 6 } else { 2 }] {
                let layer = Layer::conv(storage, [2, n_in, 8, 1], *window);
                list.layer(Layer { x, g, activation, has_extras: true, ..layer });
            }
        }
    }
}

/// Convolutions with groups.
pub(crate) fn groups(list: &mut List) {
    let window = Window { size: [4, 3], kernel: [3; 2], stride: 2, before: [1; 2], after: [1; 2] };
    for storage in Storage::ALL {
        // Merged in narrow products, of few or many channels; one product each; no multiples of 8.
        for (n_in, n_out, groups) in [(16, 16, 4), (64, 64, 8), (96, 48, 3), (80, 80, 2), (6, 9, 3)]
        {
            let layer = Layer::conv(storage, [1, n_in, n_out, groups], window);
            list.layer(Layer { x: Read::Norm, activation: Activation::Relu, ..layer });
        }
    }
}
