//! Conversion between RGB and CIE 1976 L*a*b* in bytes, as in OpenCV.
//!
//! L is 255 for white, and a and b are 128 for grey. sRGB with the illuminant D65.

use std::sync::LazyLock;

/// Steps of linear light: eight per step of a byte.
const LIGHT: usize = 255 * 8;

struct Tables {
    /// The linear light of each byte, in steps.
    light: [u32; 256],
    /// f of linear light up to 1.5, in units of 2⁻¹⁵.
    root: Vec<i32>,
    /// The byte of linear light of 0..=1 in 4095ths.
    byte: Vec<u8>,
    /// f of the Y of each L.
    root_of: [f32; 256],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let linear = |it: f64| match it {
        it if it <= 0.040_45 => it / 12.92,
        it => ((it + 0.055) / 1.055).powf(2.4),
    };
    let curved = |it: f64| match it {
        it if it <= 0.003_130_8 => it * 12.92,
        it => 1.055 * it.powf(1.0 / 2.4) - 0.055,
    };
    let root = |it: f64| match it {
        it if it < 0.008_856 => it * 7.787 + 16.0 / 116.0,
        it => it.cbrt(),
    };
    Tables {
        light: std::array::from_fn(|it| (linear(it as f64 / 255.0) * LIGHT as f64).round() as u32),
        root: (0..LIGHT * 3 / 2)
            .map(|it| (root(it as f64 / LIGHT as f64) * 32_768.0).round() as i32)
            .collect(),
        byte: (0..4096).map(|it| (curved(f64::from(it) / 4095.0) * 255.0).round() as u8).collect(),
        root_of: std::array::from_fn(|it| ((it as f32 * 100.0 / 255.0) + 16.0) / 116.0),
    }
});

/// Red, green and blue to X, Y and Z relative to white, in units of 1/4096.
const TO_XYZ: [[u32; 3]; 3] = [[1777, 1541, 778], [871, 2929, 296], [73, 448, 3575]];

/// X, Y and Z relative to white to red, green and blue.
const TO_RGB: [[f32; 3]; 3] = [
    [3.079_935, -1.537_152, -0.542_783],
    [-0.921_234, 1.875_99, 0.045_244],
    [0.052_890, -0.204_041, 1.151_152],
];

/// Converts to L, a and b.
#[inline]
pub(super) fn from_rgb(rgb: [u8; 3]) -> [u8; 3] {
    let tables = &*TABLES;
    let [r, g, b] = rgb.map(|it| tables.light[usize::from(it)]);
    let [x, y, z] = TO_XYZ.map(|[of_r, of_g, of_b]| {
        tables.root[((r * of_r + g * of_g + b * of_b + 2048) >> 12) as usize]
    });
    // 116 f - 16, 500 (fx - fy) and 200 (fy - fz), L by 255 / 100.
    let l = (296 * y - 1_336_934 + (1 << 14)) >> 15;
    let [a, b] = [500 * (x - y), 200 * (y - z)]
        .map(|it| ((it + (128 << 15) + (1 << 14)) >> 15).clamp(0, 255));
    [l.clamp(0, 255) as u8, a as u8, b as u8]
}

/// Converts back to red, green and blue.
#[inline]
pub(super) fn to_rgb([l, a, b]: [u8; 3]) -> [u8; 3] {
    let tables = &*TABLES;
    let y = tables.root_of[usize::from(l)];
    let x = y + (f32::from(a) - 128.0) / 500.0;
    let z = y - (f32::from(b) - 128.0) / 200.0;
    let [x, y, z] = [x, y, z].map(|it| match it {
        it if it <= 24.0 / 116.0 => (it - 16.0 / 116.0) / 7.787,
        it => it * it * it,
    });
    TO_RGB.map(|[of_x, of_y, of_z]| {
        let light = of_x * x + of_y * y + of_z * z;
        tables.byte[((light * 4095.0 + 0.5) as i32).clamp(0, 4095) as usize]
    })
}
