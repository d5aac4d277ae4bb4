//! Convolutions: windows, strides, padding, groups, storages and prologues, on odd sizes.

use gpu::{
    Storage,
    conv::{Tile, Window},
    prologue::Activation,
};

use crate::{harness::Test, prologue::Read, reference::Case};

fn window(size: [usize; 2], kernel: usize, stride: usize, before: usize, after: usize) -> Window {
    Window { size, kernel: [kernel; 2], stride, before: [before; 2], after: [after; 2] }
}

/// Same as `Padding::Same`: more zeros after than before.
const WINDOWS: [Window; 6] = [
    Window { size: [5, 7], kernel: [3, 3], stride: 1, before: [1, 1], after: [1, 1] },
    Window { size: [6, 7], kernel: [3, 3], stride: 2, before: [0, 1], after: [1, 1] },
    Window { size: [8, 9], kernel: [4, 4], stride: 4, before: [0, 0], after: [0, 0] },
    Window { size: [5, 4], kernel: [1, 1], stride: 2, before: [0, 0], after: [0, 0] },
    Window { size: [4, 6], kernel: [5, 2], stride: 3, before: [2, 0], after: [2, 1] },
    Window { size: [1, 1], kernel: [3, 3], stride: 2, before: [1, 1], after: [1, 1] },
];

#[test]
fn windows_of_whole_channels_are_right() {
    let mut test = Test::new();
    for storage in [Storage::Bf16, Storage::F16] {
        for window in WINDOWS {
            Case::conv(storage, [2, 16, 24, 1], window).check(&mut test);
        }
    }
    for tile in [Tile::Large, Tile::Narrow, Tile::Small] {
        let case = Case::conv(Storage::Bf16, [3, 8, 72, 1], WINDOWS[0]);
        Case { tile: Some(tile), ..case }.check(&mut test);
        let (x, g, activation) = (Read::Gate, Read::Norm, Activation::Silu);
        let read = Case { tile: Some(tile), x, g, activation, has_extras: true, ..case };
        Case { n_out: 16, ..read }.check(&mut test);
    }
}

#[test]
fn windows_of_any_channels_are_right() {
    let mut test = Test::new();
    for window in WINDOWS {
        Case::conv(Storage::F32, [2, 3, 10, 1], window).check(&mut test);
        Case::conv(Storage::F32, [1, 8, 16, 1], window).check(&mut test);
        Case::conv(Storage::Bf16, [2, 3, 16, 1], window).check(&mut test);
        Case::conv(Storage::F16, [2, 11, 5, 1], window).check(&mut test);
    }
}

#[test]
fn windows_read_through_prologues() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        for (n_in, x, g, activation) in [
            (16, Read::Norm, Read::Norm, Activation::Silu),
            (5, Read::Norm, Read::Gate, Activation::Relu),
            (16, Read::Gate, Read::Norm, Activation::Gelu),
            (7, Read::Gate, Read::GateAlone, Activation::Relu6),
        ] {
            for window in [WINDOWS[0], WINDOWS[1]] {
                let case = Case::conv(storage, [2, n_in, 8, 1], window);
                Case { x, g, activation, has_extras: true, ..case }.check(&mut test);
            }
        }
    }
}

#[test]
fn groups_are_right() {
    let mut test = Test::new();
    for storage in Storage::ALL {
        // Merged in narrow products, of few or many channels; one product each; no multiples of 8.
        for (n_in, n_out, groups) in [(16, 16, 4), (64, 64, 8), (96, 48, 3), (80, 80, 2), (6, 9, 3)]
        {
            let case = Case::conv(storage, [1, n_in, n_out, groups], window([4, 3], 3, 2, 1, 1));
            Case { x: Read::Norm, activation: Activation::Relu, ..case }.check(&mut test);
        }
    }
}

#[test]
fn a_window_that_does_not_fit_is_an_error() {
    let err = window([2, 2], 7, 1, 1, 1).out().unwrap_err().to_string();
    assert!(err.contains("does not fit the map"), "{err}");
}
