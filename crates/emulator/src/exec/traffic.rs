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
        let lanes_at_once = match bytes {
            16 => 8,
            8 => 16,
            _ => 32,
        };
        self.count_banks(bytes, addresses, mask, lanes_at_once);
    }

    /// Conflicts of an access that is done for some lanes at a time.
    pub(super) fn count_banks(
        &mut self,
        bytes: u64,
        addresses: &[u64; LANES],
        mask: u32,
        lanes_at_once: usize,
    ) {
        self.counts.shared_accesses += 1;
        let group = if lanes_at_once == 32 { u32::MAX } else { (1 << lanes_at_once) - 1 };
        for first in (0..LANES).step_by(lanes_at_once) {
            let mask = mask & (group << first);
            if mask == 0 || is_free(bytes, addresses, mask) {
                continue;
            }
            let mut counts = [0usize; LANES];
            for lane in lanes(mask) {
                for word in
                    addresses[lane as usize] / 4..(addresses[lane as usize] + bytes).div_ceil(4)
                {
                    let bank = word as usize % LANES;
                    let n = counts[bank];
                    if n < LANES && !self.banks[bank][..n].contains(&(word as u32)) {
                        self.banks[bank][n] = word as u32;
                        counts[bank] += 1;
                    }
                }
            }
            let mut most = 1;
            for n in counts {
                most = most.max(n);
            }
            self.counts.bank_conflicts += most as u64 - 1;
        }
    }
}

/// Whether all lanes want other banks.
fn is_free(bytes: u64, addresses: &[u64; LANES], mask: u32) -> bool {
    let width = if bytes <= 4 { 1 } else { (1u32 << (bytes / 4)) - 1 };
    let mut taken = 0;
    for lane in lanes(mask) {
        let banks = width << (addresses[lane as usize] / 4 % LANES as u64);
        if taken & banks != 0 {
            return false;
        }
        taken |= banks;
    }
    true
}
