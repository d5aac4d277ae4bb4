//! Counts of memory traffic: what a warp's access costs on a GPU.
//!
//! Global memory moves in sectors of 32 bytes. Shared memory has 32 banks of 4 bytes; lanes that want different
//! words of a bank wait for each other. Accesses of 8 and 16 bytes are done for 16 and 8 lanes at a time.

use super::block::Block;
use super::registers::LANES;
use super::warp::lanes;
use crate::memory::races::Touch;

const SECTOR_BITS: u32 = 5;

impl Block<'_> {
    /// Counts an access of lanes that lie `step` bytes apart.
    pub(super) fn count_sector_row(
        &mut self,
        bytes: u64,
        address: u64,
        n_lanes: u64,
        step: u64,
        touch: Touch,
    ) {
        if touch.is_read() {
            self.counts.global_read += bytes * n_lanes;
        } else {
            self.counts.global_written += bytes * n_lanes;
        }
        self.counts.global_by_width[bytes.trailing_zeros().min(4) as usize] += n_lanes;
        let all = if step == 0 { bytes } else { step * n_lanes };
        let last = address.wrapping_add(all - 1) >> SECTOR_BITS;
        self.counts.global_sectors += last.wrapping_sub(address >> SECTOR_BITS) + 1;
        self.counts.global_sectors_least += all.div_ceil(1 << SECTOR_BITS);
    }

    pub(super) fn count_sectors(
        &mut self,
        bytes: u64,
        addresses: &[u64; LANES],
        mask: u32,
        touch: Touch,
    ) {
        let n = u64::from(mask.count_ones());
        if touch.is_read() {
            self.counts.global_read += bytes * n;
        } else {
            self.counts.global_written += bytes * n;
        }
        self.counts.global_by_width[bytes.trailing_zeros().min(4) as usize] += n;
        let mut found = [0; LANES];
        let mut n_found = 0;
        // The lanes' bytes lie in one sector each, as they are aligned.
        let mut last = u64::MAX;
        let (mut low, mut high) = (u64::MAX, 0);
        for lane in lanes(mask) {
            let sector = addresses[lane as usize] >> SECTOR_BITS;
            if sector == last {
                continue;
            }
            last = sector;
            let is_new = n_found == 0
                || sector > high
                || sector < low
                || !found[..n_found].contains(&sector);
            if is_new {
                found[n_found] = sector;
                n_found += 1;
                (low, high) = (low.min(sector), high.max(sector));
            }
        }
        self.counts.global_sectors += n_found as u64;
        // Lanes that share bytes need fewer; that is not looked at.
        let distinct = if n_found == 1 { 1 } else { (bytes * n).div_ceil(1 << SECTOR_BITS) };
        self.counts.global_sectors_least += distinct.min(n_found as u64);
    }

    pub(super) fn count_shared(
        &mut self,
        bytes: u64,
        addresses: &[u64; LANES],
        mask: u32,
        touch: Touch,
        is_regular: bool,
    ) {
        let n = u64::from(mask.count_ones());
        if touch.is_read() {
            self.counts.shared_read += bytes * n;
        } else {
            self.counts.shared_written += bytes * n;
        }
        if is_regular {
            // Side by side or all the same: no conflicts.
            self.counts.shared_accesses += 1;
            return;
        }
        self.count_banks(bytes, addresses, mask);
    }

    /// Conflicts of an access of aligned bytes. An access of 8 or 16 bytes takes two or four banks, always the same
    /// ones together, and is done for as many lanes at a time as there are such groups.
    #[inline(always)]
    pub(super) fn count_banks(&mut self, bytes: u64, addresses: &[u64; LANES], mask: u32) {
        self.counts.shared_accesses += 1;
        let log2 = bytes.max(4).trailing_zeros();
        let n_groups = (4 * LANES) >> log2;
        let at_once = u32::MAX >> (LANES - n_groups);
        for first in (0..LANES).step_by(n_groups) {
            let mut counts = [0u8; LANES];
            let mut last = u64::MAX;
            let mut most = 1;
            for lane in lanes(mask & at_once << first) {
                let piece = addresses[lane as usize] >> log2;
                if piece == last {
                    continue;
                }
                last = piece;
                let group = piece as usize & (n_groups - 1);
                let n = usize::from(counts[group]);
                let found = &mut self.banks[group];
                if n == 0 || !found[..n].contains(&(piece as u32)) {
                    found[n] = piece as u32;
                    counts[group] += 1;
                    most = most.max(n as u64 + 1);
                }
            }
            self.counts.bank_conflicts += most - 1;
        }
    }
}
