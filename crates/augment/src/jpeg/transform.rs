//! The inverse cosine transform of blocks, several side by side.
//!
//! Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", 1989,
//! in whole numbers: factors in parts of 8192, columns first with two more bits than the result has, as
//! libjpeg's `jidctint`, so that the result is its. A lot of blocks goes through it together, each in a
//! lane of its own: no number has to change its lane.

/// How many blocks.
pub(super) const LANES: usize = 16;

/// Blocks side by side: each coefficient of all of them together.
#[derive(Clone)]
pub(super) struct Lot {
    pub(super) coefficients: [[i16; LANES]; 64],
    /// The last one in the order of the file that is not zero in some block.
    pub(super) last: usize,
}

impl Default for Lot {
    fn default() -> Lot {
        Lot { coefficients: [[0; LANES]; 64], last: 0 }
    }
}

/// Parts of a whole.
const BITS: u32 = 13;
/// What the first pass has more.
const MORE: u32 = 2;

/// Tells `write` eight pixels of each block, for each of eight rows.
#[inline(always)]
pub(super) fn transform(lot: &Lot, write: impl FnMut(usize, &[[u8; 8]; LANES])) {
    // The first ten in the order of the file lie in the first four rows and columns.
    match lot.last {
        0 => flat(lot, write),
        1..10 => within::<4>(lot, write),
        _ => within::<8>(lot, write),
    }
}

/// Blocks with nothing but their mean.
#[inline(always)]
fn flat(lot: &Lot, mut write: impl FnMut(usize, &[[u8; 8]; LANES])) {
    let pixels =
        lot.coefficients[0].map(|it| [(((i32::from(it) + 4) >> 3) + 128).clamp(0, 255) as u8; 8]);
    for row in 0..8 {
        write(row, &pixels);
    }
}

/// Blocks with nothing but zeros beyond the first `N` rows and columns.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "each lane goes through several arrays together")]
fn within<const N: usize>(lot: &Lot, mut write: impl FnMut(usize, &[[u8; 8]; LANES])) {
    let mut between = [[0_i16; LANES]; 64];
    for column in 0..N {
        for lane in 0..LANES {
            let of = |row: usize| {
                if row < N { i32::from(lot.coefficients[row * 8 + column][lane]) } else { 0 }
            };
            let sums = eight([of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)]);
            for row in 0..8 {
                let [least, most] = [i16::MIN, i16::MAX].map(i32::from);
                between[row * 8 + column][lane] =
                    descale(sums[row], BITS - MORE).clamp(least, most) as i16;
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
            let bytes = sums.map(|it| (descale(it, BITS + MORE + 3) + 128).clamp(0, 255) as u32);
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

/// Parts back to wholes, rounded.
#[inline(always)]
fn descale(it: i32, bits: u32) -> i32 {
    it.wrapping_add(1 << (bits - 1)) >> bits
}

/// The transform of eight numbers, in parts of 8192.
#[inline(always)]
fn eight([x0, x1, x2, x3, x4, x5, x6, x7]: [i32; 8]) -> [i32; 8] {
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let mul = i32::wrapping_mul;
    // The even ones: a rotation by 3/8 of a right angle's half, and sums.
    let turned = mul(add(x2, x6), 4433);
    let c = sub(turned, mul(x6, 15137));
    let d = add(turned, mul(x2, 6270));
    let a = add(x0, x4) << BITS;
    let b = sub(x0, x4) << BITS;
    let even = [add(a, d), add(b, c), sub(b, c), sub(a, d)];
    // The odd ones.
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
