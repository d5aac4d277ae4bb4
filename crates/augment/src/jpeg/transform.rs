//! The inverse discrete cosine transform (IDCT) of several blocks at once.
//!
//! Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", 1989, in
//! fixed point: factors in units of 1/8192, columns first with two more bits than the result has, as
//! libjpeg's `jidctint`, with identical results. A group of blocks is transformed together, each in its own
//! SIMD lane: no number changes its lane.
//!
//! For a reduced image, a block becomes 4x4 or 2x2 pixels, or one: the same transform without the highest
//! frequencies, as libjpeg's `jidctred`.

/// The number of blocks in a group.
pub(super) const LANES: usize = 16;

/// A group of blocks: each coefficient of all of them together.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) coefficients: [[i16; LANES]; 64],
    /// The last coefficient, in the order of the file, that is not zero in some block.
    pub(super) last: usize,
}

impl Default for Group {
    fn default() -> Group {
        Group { coefficients: [[0; LANES]; 64], last: 0 }
    }
}

/// The fractional bits of the factors.
const BITS: u32 = 13;
/// The additional bits of the first pass.
const EXTRA_BITS: u32 = 2;

/// Transforms to blocks of `side` pixels, 8, 4, 2 or 1: calls `write` with each row of pixels, those of all
/// blocks side by side.
#[inline(always)]
pub(super) fn transform(group: &Group, side: usize, mut write: impl FnMut(usize, &[u8])) {
    // The first ten in the order of the file are in the first four rows and columns.
    match (side, group.last) {
        (8, 0) => flat::<8>(group, write),
        (8, 1..10) => within::<4>(group, |row, pixels| write(row, pixels.as_flattened())),
        (8, _) => within::<8>(group, |row, pixels| write(row, pixels.as_flattened())),
        (4, 0) => flat::<4>(group, write),
        (4, _) => smaller(group, four, BITS + 1, write),
        (2, 1..) => smaller(group, two, BITS + 2, write),
        (2, _) => flat::<2>(group, write),
        _ => flat::<1>(group, write),
    }
}

/// Blocks with only the DC coefficient.
#[inline(always)]
fn flat<const SIDE: usize>(group: &Group, mut write: impl FnMut(usize, &[u8])) {
    let byte = |it: i16| (((i32::from(it) + 4) >> 3) + 128).clamp(0, 255) as u8;
    let pixels = group.coefficients[0].map(|it| [byte(it); SIDE]);
    for row in 0..SIDE {
        write(row, pixels.as_flattened());
    }
}

/// Blocks of fewer pixels: columns by `part`, then rows, with `bits` fractional bits.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "each lane goes through several arrays together")]
fn smaller<const SIDE: usize>(
    group: &Group,
    part: impl Fn([i32; 8]) -> [i32; SIDE],
    bits: u32,
    mut write: impl FnMut(usize, &[u8]),
) {
    let mut between = [[[0_i16; LANES]; 8]; SIDE];
    for column in 0..8 {
        for lane in 0..LANES {
            let sums =
                part(std::array::from_fn(|row| group.coefficients[row * 8 + column][lane].into()));
            for row in 0..SIDE {
                let [least, most] = [i16::MIN, i16::MAX].map(i32::from);
                between[row][column][lane] =
                    descale(sums[row], bits - EXTRA_BITS).clamp(least, most) as i16;
            }
        }
    }
    for (row, between) in between.iter().enumerate() {
        let mut pixels = [[0; SIDE]; LANES];
        for (lane, pixels) in pixels.iter_mut().enumerate() {
            let sums = part(std::array::from_fn(|column| between[column][lane].into()));
            *pixels = sums.map(|it| (descale(it, bits + EXTRA_BITS + 3) + 128).clamp(0, 255) as u8);
        }
        write(row, pixels.as_flattened());
    }
}

/// Four pixels of eight coefficients, in units of 1/16384. The fifth coefficient is not used.
#[inline(always)]
fn four([x0, x1, x2, x3, _, x5, x6, x7]: [i32; 8]) -> [i32; 4] {
    let sum = |terms: [(i32, i32); 4]| {
        terms.into_iter().fold(0_i32, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(b)))
    };
    let whole = x0 << (BITS + 1);
    let even = sum([(x2, 15137), (x6, -6270), (0, 0), (0, 0)]);
    let inner = sum([(x7, -1730), (x5, 11893), (x3, -17799), (x1, 8697)]);
    let outer = sum([(x7, -4176), (x5, -4926), (x3, 7373), (x1, 20995)]);
    let [high, low] = [whole.wrapping_add(even), whole.wrapping_sub(even)];
    [
        high.wrapping_add(outer),
        low.wrapping_add(inner),
        low.wrapping_sub(inner),
        high.wrapping_sub(outer),
    ]
}

/// Two pixels of eight coefficients, in units of 1/32768. Of the even coefficients only the first is used.
#[inline(always)]
fn two([x0, x1, _, x3, _, x5, _, x7]: [i32; 8]) -> [i32; 2] {
    let terms = [(x7, -5906), (x5, 6967), (x3, -10426), (x1, 29692)];
    let odd = terms.into_iter().fold(0_i32, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(b)));
    let whole = x0 << (BITS + 2);
    [whole.wrapping_add(odd), whole.wrapping_sub(odd)]
}

/// Blocks with only zeros beyond the first `N` rows and columns.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "each lane goes through several arrays together")]
fn within<const N: usize>(group: &Group, mut write: impl FnMut(usize, &[[u8; 8]; LANES])) {
    let mut between = [[0_i16; LANES]; 64];
    for column in 0..N {
        for lane in 0..LANES {
            let of = |row: usize| {
                if row < N { i32::from(group.coefficients[row * 8 + column][lane]) } else { 0 }
            };
            let sums = eight([of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)]);
            for row in 0..8 {
                let [least, most] = [i16::MIN, i16::MAX].map(i32::from);
                between[row * 8 + column][lane] =
                    descale(sums[row], BITS - EXTRA_BITS).clamp(least, most) as i16;
            }
        }
    }
    for row in 0..8 {
        let mut fours = [[0_u32; LANES]; 2];
        for lane in 0..LANES {
            let of = |column: usize| {
                if column < N { i32::from(between[row * 8 + column][lane]) } else { 0 }
            };
            let sums = eight([of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)]);
            let bytes =
                sums.map(|it| (descale(it, BITS + EXTRA_BITS + 3) + 128).clamp(0, 255) as u32);
            let four = |at: usize| {
                bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24
            };
            fours[0][lane] = four(0);
            fours[1][lane] = four(4);
        }
        let mut pixels = [[0; 8]; LANES];
        for ((pixels, &low), &high) in pixels.iter_mut().zip(&fours[0]).zip(&fours[1]) {
            *pixels = (u64::from(low) | u64::from(high) << 32).to_le_bytes();
        }
        write(row, &pixels);
    }
}

/// Removes `bits` fractional bits, with rounding.
#[inline(always)]
fn descale(it: i32, bits: u32) -> i32 {
    it.wrapping_add(1 << (bits - 1)) >> bits
}

/// The transform of eight numbers, in units of 1/8192.
#[inline(always)]
fn eight([x0, x1, x2, x3, x4, x5, x6, x7]: [i32; 8]) -> [i32; 8] {
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let mul = i32::wrapping_mul;
    // The even coefficients: a rotation by 3π/8, and sums.
    let rotated = mul(add(x2, x6), 4433);
    let c = sub(rotated, mul(x6, 15137));
    let d = add(rotated, mul(x2, 6270));
    let a = add(x0, x4) << BITS;
    let b = sub(x0, x4) << BITS;
    let even = [add(a, d), add(b, c), sub(b, c), sub(a, d)];
    // The odd coefficients.
    let [z1, z2, z3, z4] = [add(x7, x1), add(x5, x3), add(x7, x3), add(x5, x1)];
    let z5 = mul(add(z3, z4), 9633);
    let z1 = mul(z1, -7373);
    let z2 = mul(z2, -20995);
    let z3 = add(mul(z3, -16069), z5);
    let z4 = add(mul(z4, -3196), z5);
    let odd = [
        add(mul(x1, 12299), add(z1, z4)),
        add(mul(x3, 25172), add(z2, z3)),
        add(mul(x5, 16819), add(z2, z4)),
        add(mul(x7, 2446), add(z1, z3)),
    ];
    [
        add(even[0], odd[0]),
        add(even[1], odd[1]),
        add(even[2], odd[2]),
        add(even[3], odd[3]),
        sub(even[3], odd[3]),
        sub(even[2], odd[2]),
        sub(even[1], odd[1]),
        sub(even[0], odd[0]),
    ]
}
