//! How the numbers of a tensor are stored on the device; arithmetic and sums are always in f32.

use cudarc::driver::DeviceRepr;
use half::{bf16, f16};

/// A number, or a `#[repr(C)]` struct of numbers, that can be copied from the device.
///
/// # Safety
/// Every pattern of bits is one.
#[expect(unsafe_code, reason = "promises something about the bits of a type")]
pub unsafe trait Number: DeviceRepr + Copy + Default {}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(
            #[expect(unsafe_code, reason = "promises something about the bits of a type")]
            // SAFETY: every pattern of bits is a number.
            unsafe impl Number for $type {}
        )*
    };
}

numbers!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bf16, f16);

/// How the numbers of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Storage {
    /// IEEE 754 single precision: 24 significant bits.
    F32,
    /// The upper half of f32: 8 significant bits, the range of f32.
    Bf16,
    /// IEEE 754 half precision: 11 significant bits, at most 65,504.
    F16,
}

impl Storage {
    /// All of them, for tests and tables.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Bytes of one number.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Its name, which ends the names of kernels: `f32`, `bf16`, `f16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The largest relative error of rounding a number of its normal range: half a unit in the last place.
    #[must_use]
    pub fn unit(self) -> f64 {
        match self {
            Self::F32 => 2f64.powi(-24),
            Self::Bf16 => 2f64.powi(-8),
            Self::F16 => 2f64.powi(-11),
        }
    }

    /// A number as it reads after being stored: rounded to the nearest, ties to even.
    #[must_use]
    pub fn round(self, number: f32) -> f32 {
        match self {
            Self::F32 => number,
            Self::Bf16 => bf16::from_f32(number).to_f32(),
            Self::F16 => f16::from_f32(number).to_f32(),
        }
    }

    /// The bytes that store these numbers.
    #[must_use]
    pub fn encode(self, numbers: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => numbers.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Self::Bf16 => numbers.iter().flat_map(|it| bf16::from_f32(*it).to_le_bytes()).collect(),
            Self::F16 => numbers.iter().flat_map(|it| f16::from_f32(*it).to_le_bytes()).collect(),
        }
    }

    /// The numbers that these bytes store; the inverse of [`Storage::encode`] but for the rounding.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect(),
            Self::Bf16 => {
                bytes.as_chunks().0.iter().map(|it| bf16::from_le_bytes(*it).to_f32()).collect()
            }
            Self::F16 => {
                bytes.as_chunks().0.iter().map(|it| f16::from_le_bytes(*it).to_f32()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_they_are_stored() {
        // 1 + 3/512: bf16 has steps of 1/128 here, so it lies between 1 and 1 + 1/128; f16 holds it.
        let number = 1.0 + 3.0 / 512.0;
        assert_eq!(Storage::Bf16.round(number), 1.0 + 1.0 / 128.0);
        assert_eq!(Storage::F16.round(number), number);
        for storage in Storage::ALL {
            let numbers = [number, -0.1, 65_504.0, 1e-3, 0.0];
            let stored = storage.decode(&storage.encode(&numbers));
            for (got, want) in stored.iter().zip(numbers) {
                assert_eq!(*got, storage.round(want));
                assert!(f64::from((got - want).abs()) <= storage.unit() * f64::from(want.abs()));
            }
        }
    }
}
