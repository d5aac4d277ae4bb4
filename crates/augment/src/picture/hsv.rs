//! Hue, saturation and value of a pixel in bytes, as PIL and as OpenCV have them.
//!
//! v is the largest channel, s = (v - min) / v, and h goes around once from red over green and blue.
//! All are of 255, but OpenCV's hue, which is of 180. PIL cuts off, OpenCV rounds.

/// As PIL: bit for bit.
pub(super) mod pil {
    use std::sync::LazyLock;

    use super::of_sector;

    /// The hue for the largest channel (of three), how far it is from the smallest (of 256), and the
    /// difference of the others (of 512, from -256).
    static HUES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let hue = |it: usize| hue(it >> 17, (it >> 9) as u8, (it % 512) as i32 - 256);
        (0..3 << 17).map(hue).collect()
    });

    /// PIL mixes two precisions, and a hue that is a whole number tells them apart.
    fn hue(largest: usize, range: u8, difference: i32) -> u8 {
        let range = f32::from(range);
        // How far each of the others is from the largest: one of them is the smallest.
        let near = (range - difference.abs() as f32) / range;
        let (one, other) = if difference < 0 { (near, 1.0) } else { (1.0, near) };
        let sixths = match largest {
            0 => f64::from(one - other),
            it => 2.0 * it as f64 + f64::from(one) - f64::from(other),
        };
        let turns = f64::from(sixths as f32) / 6.0 + 1.0;
        let hue = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
        // A grey pixel has divided by 0: what is not a number becomes 0.
        (f64::from(hue) * 255.0) as u8
    }

    /// 2²⁴ by the largest channel, rounded up, so that the quotients of bytes are right.
    static INVERSES: [u32; 256] = {
        let mut inverses = [0; 256];
        let mut it = 1;
        while it < 256 {
            inverses[it as usize] = (1_u32 << 24).div_ceil(it);
            it += 1;
        }
        inverses
    };

    /// To hue, saturation and value.
    #[inline]
    pub(in crate::picture) fn from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let range = most - least;
        let (largest, one, other) = if r == most {
            (0, g, b)
        } else if g == most {
            (1, b, r)
        } else {
            (2, r, g)
        };
        let difference = 256 + usize::from(one) - usize::from(other);
        let hue = HUES[(largest << 17) | (usize::from(range) << 9) | difference];
        let parts = u64::from(range) * 255 * u64::from(INVERSES[usize::from(most)]);
        [hue, (parts >> 24) as u8, most]
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
        let sixths = if r == most {
            g_ - b_
        } else if g == most {
            b_ - r_ + 2 * range
        } else {
            r_ - g_ + 4 * range
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

/// Each channel is v, or less by s, or less by a part of s that goes down or up within the sector.
#[inline]
fn of_sector<const PARTS: u32>(sector: u32, within: u32, [s, v]: [u8; 2]) -> [u8; 3] {
    let (s, most) = (u32::from(s), u32::from(v));
    let less = |part: u32| {
        let one = 255 * PARTS;
        ((most * (one - s * part) + one / 2) / one) as u8
    };
    let (p, q, t) = (less(PARTS), less(within), less(PARTS - within));
    let values = [v, p, q, t];
    SECTORS[sector as usize].map(|it| values[it])
}

/// Which of v, p, q and t each channel is; hue 255 of PIL's is red again.
const SECTORS: [[usize; 3]; 7] =
    [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2], [0, 3, 1]];

#[cfg(test)]
mod tests {
    use super::{opencv, pil};

    #[test]
    fn there_and_back_is_about_the_same() {
        for it in 0..1 << 15_u32 {
            let rgb = [it, it >> 5, it >> 10].map(|it| (it % 32 * 8) as u8);
            for back in [pil::to_rgb(pil::from_rgb(rgb)), opencv::to_rgb(opencv::from_rgb(rgb))] {
                // A step of hue is up to 6 or 8.5 of a byte.
                assert!(back.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) <= 8), "{rgb:?} {back:?}");
            }
        }
    }
}
