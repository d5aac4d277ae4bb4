//! Conversion between RGB and HSV in bytes, as in PIL and in OpenCV.
//!
//! v is the largest channel, s = (v - min) / v, and h goes from red over green and blue back to red.
//! All are in units of 1/255, except OpenCV's hue, in units of 1/180. PIL truncates, OpenCV rounds.

/// PIL's conversion, bit for bit.
pub(super) mod pil {
    use ops::to_byte;

    /// Converts to hue, saturation and value.
    #[inline(always)]
    pub(in crate::transform) fn from_rgb([r, g, b]: [i32; 3]) -> [i32; 3] {
        let most = r.max(g).max(b);
        let range = most - r.min(g).min(b);
        let (sector, difference) = if r == most {
            (0.0, g - b)
        } else if g == most {
            (2.0, b - r)
        } else {
            (4.0, r - g)
        };
        // PIL computes in two precisions; this one gives the same bytes.
        let of = range.max(1) as f32;
        let near = (of - difference.abs() as f32) / of;
        let sign = if difference < 0 { -1.0 } else { 1.0 };
        let sixths: f32 = (sector + sign) - sign * near;
        let part = sixths / 6.0;
        let hue = if part < 0.0 { part + 1.0 } else { part };
        let rounded = to_byte(hue * 255.0);
        // The product may have been rounded up to an integer; these differences are exact.
        let is_less = hue * 256.0 - (rounded as f32) < hue;
        // A quotient of bytes is never so close below an integer that it is rounded up to it.
        let s = to_byte((range * 255) as f32 / most.max(1) as f32);
        [rounded - i32::from(is_less), s, most]
    }

    /// Converts back to red, green and blue.
    #[inline(always)]
    pub(in crate::transform) fn to_rgb(hsv: [i32; 3]) -> [i32; 3] {
        [channel(5, hsv), channel(3, hsv), channel(1, hsv)]
    }

    /// A channel: v, reduced by a fraction of s in some sixths of the circle, from `start` on.
    #[inline(always)]
    fn channel(start: i32, [h, s, v]: [i32; 3]) -> i32 {
        const SIXTH: i32 = 255;
        const ONE: i32 = 255 * SIXTH;
        let at = start * SIXTH + h * 6;
        // Less than two turns: `start` is at most 5, and h six sixths.
        let at = if at >= 6 * SIXTH { at - 6 * SIXTH } else { at };
        let less = at.min(4 * SIXTH - at).clamp(0, SIXTH);
        let unrounded = v * (ONE - s * less) + ONE / 2;
        // Unsigned division compiles to a multiplication and a shift.
        (unrounded as u32 / ONE as u32) as i32
    }
}

/// OpenCV's conversion for bytes, whose last bit differs between its versions.
pub(super) mod opencv {
    use super::of_sector;

    /// The number of hues.
    pub(in crate::transform) const HUES: u8 = 180;

    /// `of` divided by each index, in units of 1/4096.
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

    /// Converts to hue, saturation and value.
    #[inline]
    pub(in crate::transform) fn from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
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

    /// Converts back to red, green and blue; the hue is below [`HUES`].
    #[inline]
    pub(in crate::transform) fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
        let (sector, within) = (u32::from(h) / 30, u32::from(h) % 30);
        of_sector::<30>(sector, within, [s, v])
    }
}

/// Each channel is v, or v reduced by s, or by a fraction of s that falls or rises within the sector.
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

/// Which of v, p, q and t each channel is; PIL's hue 255 is red again.
const SECTORS: [[usize; 3]; 7] =
    [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2], [0, 3, 1]];

#[cfg(test)]
mod tests {
    use super::{of_sector, opencv, pil};

    #[test]
    fn a_round_trip_is_nearly_the_identity() {
        for it in 0..1 << 15_u32 {
            let rgb = [it, it >> 5, it >> 10].map(|it| (it % 32 * 8) as u8);
            let of_pil = pil::to_rgb(pil::from_rgb(rgb.map(i32::from))).map(|it| it as u8);
            for back in [of_pil, opencv::to_rgb(opencv::from_rgb(rgb))] {
                // A step of hue is up to 6 or 8.5 steps of a byte.
                assert!(back.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) <= 8), "{rgb:?} {back:?}");
            }
        }
    }
    /// A hue as PIL computes it, in two precisions; they differ at hues that are integers.
    fn hue(largest: usize, range: i32, difference: i32) -> i32 {
        let range = range as f32;
        // The normalised distances of the other two channels from the largest: one of them is the smallest.
        let near = (range - difference.abs() as f32) / range;
        let (one, other) = if difference < 0 { (near, 1.0) } else { (1.0, near) };
        let sixths = match largest {
            0 => f64::from(one - other),
            it => 2.0 * it as f64 + f64::from(one) - f64::from(other),
        };
        let turns = f64::from(sixths as f32) / 6.0 + 1.0;
        let hue = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
        // A grey pixel divides by 0: NaN becomes 0.
        (f64::from(hue) * 255.0) as i32
    }

    #[test]
    fn every_hue_and_saturation_agrees_with_pil() {
        for range in 0..=255 {
            for difference in -range..=range {
                for largest in 0..3 {
                    let mut rgb = [0; 3];
                    rgb[largest] = range;
                    rgb[(largest + 1) % 3] = difference.max(0);
                    rgb[(largest + 2) % 3] = (-difference).max(0);
                    // Of two equal largest channels, the first counts.
                    if rgb[..largest].contains(&range) {
                        continue;
                    }
                    let [h, _, v] = pil::from_rgb(rgb);
                    assert_eq!((h, v), (hue(largest, range, difference), range), "{rgb:?}");
                }
            }
            for most in range.max(1)..=255 {
                let [_, s, _] = pil::from_rgb([most, most - range, most]);
                assert_eq!(s, range * 255 / most);
            }
        }
    }

    #[test]
    fn every_colour_agrees_with_its_sector() {
        for it in 0..1 << 24 {
            let hsv = [it, it >> 8, it >> 16].map(|it| it as u8);
            let (sixths, [_, s, v]) = (u32::from(hsv[0]) * 6, hsv);
            let want = of_sector::<255>(sixths / 255, sixths % 255, [s, v]).map(i32::from);
            assert_eq!(pil::to_rgb(hsv.map(i32::from)), want, "{hsv:?}");
        }
    }
}
