//! Parameters, which all threads read, and local memory, which is each thread's own.

use super::block::Block;
use super::instruction::Access;
use super::registers::LANES;
use super::transfer::{get, put, spread};
use super::warp::{Outcome, Warp, lanes, problem};
use crate::faults::FaultKind;

impl Block<'_> {
    pub(super) fn load_parameters(
        &mut self,
        access: &Access,
        addresses: &[u64; LANES],
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let bytes = access.bytes as usize * access.rows.len();
        let mut last = None;
        for lane in lanes(mask) {
            let at = addresses[lane as usize] as usize;
            if last == Some(at) {
                continue;
            }
            let Some(from) = at.checked_add(bytes).and_then(|end| self.parameters.get(at..end))
            else {
                let size = self.parameters.len();
                return problem(
                    FaultKind::OutOfBounds,
                    lane,
                    format!("reads {bytes} bytes at offset {at} of {size} bytes of parameters"),
                );
            };
            if !at.is_multiple_of(bytes) {
                return problem(
                    FaultKind::Misaligned,
                    lane,
                    format!("reads {bytes} bytes at offset {at} of the parameters"),
                );
            }
            if access.base.is_none() {
                spread(&mut warp.registers, access, mask, from);
                return Ok(());
            }
            let same = lanes(mask)
                .filter(|it| addresses[*it as usize] as usize == at)
                .fold(0, |all, it| all | 1 << it);
            spread(&mut warp.registers, access, same, from);
            last = Some(at);
        }
        Ok(())
    }

    /// Checks an access to local memory, and returns its offset among those of all lanes.
    fn local_access(&self, address: u64, bytes: usize, lane: u32, verb: &str) -> Outcome<usize> {
        let size = self.code.local_bytes as usize;
        if address.checked_add(bytes as u64).is_none_or(|end| end > size as u64) {
            let message = format!(
                "{verb} {bytes} bytes at offset {} of {size} bytes of local memory",
                address as i64
            );
            return problem(FaultKind::OutOfBounds, lane, message);
        }
        if !(address as usize).is_multiple_of(bytes) {
            return problem(
                FaultKind::Misaligned,
                lane,
                format!("{verb} {bytes} bytes at offset {address} of local memory"),
            );
        }
        Ok(lane as usize * size + address as usize)
    }

    pub(super) fn load_local(
        &mut self,
        access: &Access,
        addresses: &[u64; LANES],
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let bytes = access.bytes as usize * access.rows.len();
        self.counts.local += bytes as u64 * u64::from(mask.count_ones());
        for lane in lanes(mask) {
            let at = self.local_access(addresses[lane as usize], bytes, lane, "reads")?;
            if !warp.local.is_written(at, bytes) {
                let offset = addresses[lane as usize];
                return problem(
                    FaultKind::NeverWritten,
                    lane,
                    format!(
                        "reads {bytes} bytes at offset {offset} of local memory, which were never written"
                    ),
                );
            }
            put(&mut warp.registers, access, lane as usize, &warp.local.data[at..at + bytes]);
        }
        Ok(())
    }

    pub(super) fn store_local(
        &mut self,
        access: &Access,
        addresses: &[u64; LANES],
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let bytes = access.bytes as usize * access.rows.len();
        self.counts.local += bytes as u64 * u64::from(mask.count_ones());
        for lane in lanes(mask) {
            let at = self.local_access(addresses[lane as usize], bytes, lane, "writes")?;
            warp.local.set_written(at, bytes);
            get(&warp.registers, access, lane as usize, &mut warp.local.data[at..at + bytes]);
        }
        Ok(())
    }
}
