//! Changes of a byte that depend on its value alone, as tables of 256.

use super::Image;

/// What each value becomes.
pub(super) type Table = [u8; 256];

/// Every value itself.
pub(super) const UNCHANGED: Table = {
    let mut table = [0; 256];
    let mut it = 0;
    while it < 256 {
        table[it] = it as u8;
        it += 1;
    }
    table
};

/// The table of a function.
pub(super) fn table(f: impl Fn(u8) -> u8) -> Table {
    UNCHANGED.map(f)
}

/// Replaces every byte.
pub(super) fn look_up(image: &mut Image, table: &Table) {
    for byte in image.iter_mut() {
        *byte = table[usize::from(*byte)];
    }
}

/// Replaces every byte by the table of its channel.
pub(super) fn look_up_each(image: &mut Image, [r, g, b]: &[Table; 3]) {
    for pixel in image.as_chunks_mut::<3>().0 {
        *pixel = [r[usize::from(pixel[0])], g[usize::from(pixel[1])], b[usize::from(pixel[2])]];
    }
}

/// Replaces every pixel.
pub(super) fn each_pixel(image: &mut Image, f: impl Fn([u8; 3]) -> [u8; 3]) {
    for pixel in image.as_chunks_mut::<3>().0 {
        *pixel = f(*pixel);
    }
}

/// How often each channel has each value.
pub(super) fn histograms(image: &Image) -> [[u32; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.as_chunks::<3>().0 {
        for (counts, &value) in counts.iter_mut().zip(pixel) {
            counts[usize::from(value)] += 1;
        }
    }
    counts
}
