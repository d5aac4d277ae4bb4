//! CRC-32 checksums: Castagnoli's polynomial (CRC-32C) for TensorBoard's records, IEEE 802.3's for those of
//! Weights & Biases.
//!
//! Reflected form, a byte at a time by a lookup table (Sarwate, 1988).

/// The lookup table of a polynomial.
pub(crate) struct Crc([u32; 256]);

/// Castagnoli's polynomial.
pub(crate) const CRC32C: Crc = Crc::new(0x82f6_3b78);

/// The polynomial of IEEE 802.3, as in zlib.
pub(crate) const CRC32: Crc = Crc::new(0xedb8_8320);

impl Crc {
    const fn new(reflected: u32) -> Crc {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { reflected } else { 0 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        Crc(table)
    }

    /// Returns the checksum of several pieces, concatenated.
    pub(crate) fn of(&self, pieces: &[&[u8]]) -> u32 {
        let bytes = pieces.iter().copied().flatten();
        !bytes.fold(!0, |crc: u32, &it| (crc >> 8) ^ self.0[usize::from(crc as u8 ^ it)])
    }
}

#[cfg(test)]
mod tests {
    use super::{CRC32, CRC32C};

    #[test]
    fn checksums_match_the_catalogue() {
        // Cook, "Catalogue of parametrised CRC algorithms".
        assert_eq!(CRC32C.of(&[b"123456789"]), 0xe306_9283);
        assert_eq!(CRC32.of(&[b"1234", b"56789"]), 0xcbf4_3926);
    }
}
