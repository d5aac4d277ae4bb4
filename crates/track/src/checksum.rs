//! Cyclic redundancy checks of 32 bits: Castagnoli's polynomial guards TensorBoard's records, IEEE
//! 802.3's those of Weights & Biases.
//!
//! Bit by bit in the reflected form, a byte at a time by a table (Sarwate, 1988).

/// A polynomial's table.
pub(crate) struct Crc([u32; 256]);

/// Castagnoli's.
pub(crate) const CRC32C: Crc = Crc::new(0x82f6_3b78);

/// IEEE 802.3's, as zlib has it.
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

    /// The checksum of several pieces in a row.
    pub(crate) fn of(&self, pieces: &[&[u8]]) -> u32 {
        let bytes = pieces.iter().copied().flatten();
        !bytes.fold(!0, |crc: u32, &it| (crc >> 8) ^ self.0[usize::from(crc as u8 ^ it)])
    }
}

#[cfg(test)]
mod tests {
    use super::{CRC32, CRC32C};

    #[test]
    fn the_check_values_of_the_catalogue_come_out() {
        // Cook, "Catalogue of parametrised CRC algorithms".
        assert_eq!(CRC32C.of(&[b"123456789"]), 0xe306_9283);
        assert_eq!(CRC32.of(&[b"1234", b"56789"]), 0xcbf4_3926);
    }
}
