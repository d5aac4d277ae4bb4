//! Hue, saturation and value of a pixel in bytes, as PIL and as OpenCV have them.
//!
//! v is the largest channel, s = (v - min) / v, and h goes around once from red over green and blue.
//! All are of 255, but OpenCV's hue, which is of 180. PIL cuts off, OpenCV rounds.

/// As PIL: bit for bit.
pub(super) mod pil {
    use super::{of_sector, spread};

    /// To hue, saturation and value.
    #[inline]
    pub(in crate::picture) fn from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let (range, v) = (spread(most, least), f32::from(most));
        let [to_r, to_g, to_b] = [r, g, b].map(|it| spread(most, it) / range);
        // PIL mixes two precisions, and what is a whole number tells them apart.
        let sixths = match () {
            () if r == most => f64::from(to_b - to_g),
            () if g == most => 2.0 + f64::from(to_r) - f64::from(to_b),
            () => 4.0 + f64::from(to_g) - f64::from(to_r),
        };
        let turns = f64::from(sixths as f32) / 6.0 + 1.0;
        let hue = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
        // A grey pixel has divided by 0: what is not a number becomes 0.
        [(f64::from(hue) * 255.0) as u8, (f64::from(range / v) * 255.0) as u8, most]
    }

    /// Back to red, green and blue.
    #[inline]
    pub(in crate::picture) fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
        let sixths = u32::from(h) * 6;
        of_sector::<255>(sixths / 255, sixths % 255, [s, v])
    }
}

/// As OpenCV for bytes, whose last bit differs between its versions.
pub(super) mod opencv {
    use super::of_sector;

    /// How many hues there are.
    pub(in crate::picture) const HUES: u8 = 180;

    /// One part of so many, in parts of 4096.
    const fn parts(of: i32) -> [i32; 256] {
        let mut parts = [0; 256];
        let mut it = 1;
        while it < 256 {
            parts[it as usize] = (2 * of * 4096 + it) / (2 * it);
            it += 1;
        }
        parts
    }

    static PARTS_OF_SIXTH: [i32; 256] = parts(30);
    static PARTS_OF_BYTE: [i32; 256] = parts(255);

    /// To hue, saturation and value.
    #[inline]
    pub(in crate::picture) fn from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let range = i32::from(most - least);
        let [r_, g_, b_] = [r, g, b].map(i32::from);
        let sixths = match () {
            () if r == most => g_ - b_,
            () if g == most => b_ - r_ + 2 * range,
            () => r_ - g_ + 4 * range,
        };
        let hue = (sixths * PARTS_OF_SIXTH[range as usize] + 2048) >> 12;
        let s = (range * PARTS_OF_BYTE[usize::from(most)] + 2048) >> 12;
        [(if hue < 0 { hue + i32::from(HUES) } else { hue }) as u8, s as u8, most]
    }

    /// Back to red, green and blue; the hue is below [`HUES`].
    #[inline]
    pub(in crate::picture) fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
        let (sector, within) = (u32::from(h) / 30, u32::from(h) % 30);
        of_sector::<30>(sector, within, [s, v])
    }
}

fn spread(most: u8, it: u8) -> f32 {
    f32::from(most - it)
}

/// Each channel is v, or less by s, or less by a part of s that goes down or up within the sector.
#[inline]
fn of_sector<const PARTS: u32>(sector: u32, within: u32, [s, v]: [u8; 2]) -> [u8; 3] {
    let (s, most) = (u32::from(s), u32::from(v));
    let less = |part: u32| {
        let one = 255 * PARTS;
        ((most * (one - s * part) + one / 2) / one) as u8
    };
    let (p, q, t) = (less(PARTS), less(within), less(PARTS - within));
    match sector {
        0 | 6 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
