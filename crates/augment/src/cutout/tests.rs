use super::{Cutout, connected};
use crate::{Image, face::Face};

/// A portrait of 96x72: skin, a red shirt, and a background with a pattern of two greens.
fn portrait() -> (Image, Face, impl Fn(u32, u32) -> bool) {
    let is_person = |x: u32, y: u32| {
        let (x, y) = (f64::from(x) - 36.0, f64::from(y) - 40.0);
        let is_head = (x / 15.0).powi(2) + (y / 20.0).powi(2) < 1.0;
        is_head || (y > 18.0 && x.abs() < 10.0 + (y - 18.0))
    };
    let image = Image::from_fn(72, 96, |x, y| {
        let noise = (x * 7 + y * 13) as u8 % 9;
        image::Rgb(match (is_person(x, y), y > 58) {
            (true, false) => [210 + noise, 160, 130 + noise],
            (true, true) => [180, 20 + noise, 30],
            (false, _) if (x / 6 + y / 6) % 2 == 0 => [30, 120 + noise, 40],
            _ => [60, 90, 50 + noise],
        })
    });
    (image, Face { top: 26, left: 22, height: 28, width: 28, score: 9.0 }, is_person)
}

#[test]
fn a_synthetic_person_is_segmented() {
    let (image, face, is_person) = portrait();
    let mask = Cutout::of(&image, &face).mask([96, 72]);
    let wrong = mask.enumerate_pixels().filter(|(x, y, it)| (it.0[0] > 127) != is_person(*x, *y));
    // Wrong pixels are at corners of the outline, where the edge is smoothed.
    let wrong = wrong.count();
    assert!(wrong < 96 * 72 / 50, "{wrong} pixels");
    assert_eq!((mask.get_pixel(36, 40).0, mask.get_pixel(2, 2).0), ([255], [0]));
}

#[test]
fn a_written_mask_is_read_back() {
    let (image, face, _) = portrait();
    let cutout = Cutout::of(&image, &face);
    let bytes = cutout.write();
    let again = Cutout::read(&bytes, [96, 72]).unwrap();
    assert!(again.mask([96, 72]) == cutout.mask([96, 72]));
    assert!(Cutout::read(&bytes[1..], [96, 72]).is_none());
    assert!(Cutout::read(&bytes, [72, 72]).is_none());
}

#[test]
fn images_of_any_size_work_and_the_mask_is_never_empty() {
    for [h, w] in [[1, 1], [1, 5000], [5000, 1], [3, 2], [2, 301], [64, 64]] {
        let image = Image::from_pixel(w as u32, h as u32, image::Rgb([9, 9, 9]));
        let corner = Face { top: h - 1, left: w - 1, height: 1, width: 1, score: 1.0 };
        for cutout in [
            Cutout::typical([h, w]),
            Cutout::of(&image, &Face::typical([h, w])),
            Cutout::of(&image, &corner),
        ] {
            let mask = cutout.mask([h, w]);
            assert_eq!(mask.dimensions(), (w as u32, h as u32));
            assert!(mask.iter().any(|&it| it > 127), "{h}x{w}: the mask is empty");
        }
    }
}

#[test]
fn islands_are_removed_and_holes_are_filled() {
    // The mask; only pixel 9 is certain to be the person.
    let mask = ["#......", "..###..", "..#.#..", "..###..", "......#"];
    let want = [".......", "..###..", "..###..", "..###..", "......."];
    let bits = |rows: [&str; 5]| rows.concat().chars().map(|it| it == '#').collect::<Vec<_>>();
    let mut shape = vec![1.0; 35];
    shape[9] = 0.1;
    assert_eq!(connected(&bits(mask), &shape, [5, 7]), bits(want));
}
