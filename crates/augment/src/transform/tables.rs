//! Bytewise operations as look-up tables of 256 entries.

use super::Image;

/// The output of each value.
pub(super) type Table = [u8; 256];

/// The identity.
pub(super) const IDENTITY: Table = {
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
    IDENTITY.map(f)
}

/// Replaces every byte by its entry in the table.
pub(super) fn look_up(image: &mut Image, table: &Table) {
    for byte in image.iter_mut() {
        *byte = table[usize::from(*byte)];
    }
}

/// Replaces every byte by its entry in the table of its channel.
pub(super) fn look_up_each(image: &mut Image, [r, g, b]: &[Table; 3]) {
    for pixel in image.as_chunks_mut::<3>().0 {
        *pixel = [r[usize::from(pixel[0])], g[usize::from(pixel[1])], b[usize::from(pixel[2])]];
    }
}

/// Replaces every pixel by `f` of it.
pub(super) fn each_pixel(image: &mut Image, f: impl Fn([u8; 3]) -> [u8; 3]) {
    for pixel in image.as_chunks_mut::<3>().0 {
        *pixel = f(*pixel);
    }
}

/// The histogram of each channel.
pub(super) fn histograms(image: &Image) -> [[u32; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.as_chunks::<3>().0 {
        for (counts, &value) in counts.iter_mut().zip(pixel) {
            counts[usize::from(value)] += 1;
        }
    }
    counts
}
