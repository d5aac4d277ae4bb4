//! What the hot products of EfficientNet B0 cost, as the emulator counts it: instructions, transactions, spills.
//!
//! Instructions are those of PTX, of which the card has fewer. The limits are a tenth above what was counted: whoever
//! passes one has made a hot loop longer.

use emulator::counts::Counts;
use gpu::{Storage, product::Tile, prologue::Activation};
use gpu_check::{Check, Layer, Read};

use crate::harness::Test;

/// n_in, n_out, how x is read, how g is read, the activation, the tile, and the most instructions of warps a row in the
/// forward pass, for the input's gradient and for the weight's.
type Hot = (usize, usize, Read, Read, Activation, Tile, [usize; 3]);

const HOT: [Hot; 5] = [
    (32, 16, Read::Gate, Read::Norm, Activation::Silu, Tile::Narrow, [68, 126, 188]),
    (16, 96, Read::Norm, Read::Plain, Activation::None, Tile::Large, [117, 112, 141]),
    (144, 24, Read::Gate, Read::Plain, Activation::Silu, Tile::Narrow, [218, 359, 270]),
    (112, 672, Read::Norm, Read::Plain, Activation::None, Tile::Large, [1363, 527, 873]),
    (672, 112, Read::Gate, Read::Plain, Activation::Silu, Tile::Large, [1196, 1626, 1160]),
];

#[test]
fn hot_products_are_frugal() {
    let test = Test::new();
    for (n_in, n_out, x, g, activation, tile, most) in HOT {
        let layer = Layer::product(Storage::Bf16, [2, 196, n_in, n_out]);
        let layer = Layer { x, g, activation, tile: Some(tile), ..layer };
        let mut limits = most.into_iter();
        let each = &mut |pass: &str, run: &mut dyn FnMut() -> gpu::Result<()>| {
            run()?;
            let most = limits.next().expect("there are three passes");
            if let Some(claim) = test.claim() {
                let mut counts = Counts::default();
                let of_products =
                    claim.counts().into_iter().filter(|(it, _)| it.contains("product_"));
                of_products.for_each(|(_, it)| counts += &it);
                claim.clear();
                check(&format!("{n_in} -> {n_out}, {pass}"), &counts, 2 * 196 * most);
            }
            Ok(())
        };
        layer.passes(&mut Check::without_reference(test.device()), each).expect("three passes");
        assert!(limits.next().is_none(), "a pass is missing");
    }
}

#[track_caller]
fn check(what: &str, counts: &Counts, most: usize) {
    assert_eq!(counts.local, 0, "{what}: spills");
    assert!(
        counts.global_sectors as f64 <= 1.25 * counts.global_sectors_least as f64,
        "{what}: not coalesced"
    );
    assert!(
        counts.warp_instructions <= most as u64,
        "{what}: {} instructions",
        counts.warp_instructions
    );
}
