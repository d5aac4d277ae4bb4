//! The memory of the emulated device: allocations, which of their bytes were written, and who touched them.
//!
//! Each allocation has addresses of its own with a gap around them, and addresses of freed memory are not
//! given out again: an access beyond the end or after `free` never meets another allocation.

pub(crate) mod races;
pub(crate) mod region;

use region::Region;
use std::fmt;

/// Allocations begin at this multiple, as those of CUDA do.
const ALIGN: u64 = 512;
/// The address bits within a unit; an allocation takes whole units, so that a shift finds it.
const UNIT_BITS: u32 = 32;
/// The number of the first unit. Lower addresses are windows of shared, local and parameter memory.
const FIRST_UNIT: u64 = 0x7000;

/// The memory of one device.
pub struct Memory {
    capacity: u64,
    runs_kernels: bool,
    in_use: u64,
    allocations: Vec<Allocation>,
    /// The allocation of each unit of addresses.
    units: Vec<u32>,
    launch: u64,
}

/// One allocation, or what is left of it after `free`.
pub(crate) struct Allocation {
    pub(crate) base: u64,
    pub(crate) bytes: u64,
    live: bool,
    /// Whether launches have read (1) or written (2) it.
    pub(crate) touched: u8,
    pub(crate) region: Region,
}

/// An allocation that launches have touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Where it begins.
    pub address: u64,
    /// Whether they read it.
    pub read: bool,
    /// Whether they wrote it.
    pub written: bool,
}

/// A copy or an allocation that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// Not enough memory: bytes wanted and free.
    OutOfMemory {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Bytes that are not within one allocation.
    OutOfBounds {
        /// The first address.
        address: u64,
        /// How many bytes.
        bytes: u64,
        /// What lies there.
        near: String,
    },
    /// A copy to the host of bytes that nothing has written.
    NeverWritten {
        /// The first such address.
        address: u64,
        /// Where it lies within its allocation.
        near: String,
    },
    /// `free` of an address that is not the beginning of a live allocation.
    NotAllocated {
        /// The address.
        address: u64,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { wanted, free } => {
                write!(f, "device memory: {wanted} bytes wanted, {free} are free")
            }
            Self::OutOfBounds { address, bytes, near } => {
                write!(
                    f,
                    "device memory: {bytes} bytes at {address:#x} are not within one allocation: {near}"
                )
            }
            Self::NeverWritten { address, near } => {
                write!(f, "device memory: the byte at {address:#x} was never written: {near}")
            }
            Self::NotAllocated { address } => {
                write!(f, "device memory: {address:#x} is not the beginning of a live allocation")
            }
        }
    }
}

impl std::error::Error for MemoryError {}

impl Memory {
    /// Memory of `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            runs_kernels: true,
            in_use: 0,
            allocations: Vec::new(),
            units: Vec::new(),
            launch: 0,
        }
    }

    /// Memory that no kernel writes: launches only check their shape, and bytes that were never written are read as zeros.
    pub fn without_kernels(capacity: u64) -> Self {
        Self { runs_kernels: false, ..Self::new(capacity) }
    }

    /// Whether launches run their kernel.
    pub fn runs_kernels(&self) -> bool {
        self.runs_kernels
    }

    /// Bytes in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of the live allocations.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// An allocation of `bytes` bytes that are not written yet, at a multiple of 512.
    ///
    /// # Errors
    /// If fewer bytes are free.
    pub fn allocate(&mut self, bytes: u64) -> Result<u64, MemoryError> {
        let free = self.capacity - self.in_use;
        if bytes > free {
            return Err(MemoryError::OutOfMemory { wanted: bytes, free });
        }
        let base = ((FIRST_UNIT + self.units.len() as u64) << UNIT_BITS) + ALIGN;
        let n_units = ((bytes + ALIGN) >> UNIT_BITS) + 1;
        let idx = self.allocations.len() as u32;
        self.units.extend((0..n_units).map(|_| idx));
        self.allocations.push(Allocation {
            base,
            bytes,
            live: true,
            touched: 0,
            region: Region::new(bytes as usize),
        });
        self.in_use += bytes;
        Ok(base)
    }

    /// Ends the allocation that begins at `address`.
    ///
    /// # Errors
    /// If no live allocation begins there.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        match self.at(address).map(|idx| &mut self.allocations[idx]) {
            Some(it) if it.live && it.base == address => {
                it.live = false;
                it.region = Region::new(0);
                self.in_use -= it.bytes;
                Ok(())
            }
            _ => Err(MemoryError::NotAllocated { address }),
        }
    }

    /// The live allocations: address and bytes. What is left at the end has leaked.
    pub fn live(&self) -> Vec<(u64, u64)> {
        self.allocations.iter().filter(|it| it.live).map(|it| (it.base, it.bytes)).collect()
    }

    /// The allocations that launches have read or written since this was last called.
    pub fn take_touched(&mut self) -> Vec<Touched> {
        let touched = self.allocations.iter_mut().filter(|it| it.touched != 0);
        let take = |it: &mut Allocation| {
            let bits = std::mem::take(&mut it.touched);
            Touched { address: it.base, read: bits & 1 != 0, written: bits & 2 != 0 }
        };
        touched.map(take).collect()
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// If the bytes are not within one allocation.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let (idx, at) = self.span(address, from.len() as u64)?;
        let region = &mut self.allocations[idx].region;
        region.data[at..at + from.len()].copy_from_slice(from);
        region.set_written(at, from.len());
        Ok(())
    }

    /// Copies to the host.
    ///
    /// # Errors
    /// If the bytes are not within one allocation, or some were never written and kernels run.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), MemoryError> {
        let (idx, at) = self.span(address, to.len() as u64)?;
        let region = &self.allocations[idx].region;
        let unwritten = region.first_unwritten(at, to.len()).filter(|_| self.runs_kernels);
        if let Some(first) = unwritten {
            let address = address + (first - at) as u64;
            return Err(MemoryError::NeverWritten { address, near: self.describe(address) });
        }
        to.copy_from_slice(&region.data[at..at + to.len()]);
        Ok(())
    }

    /// Copies within the device. Bytes that were never written stay so.
    ///
    /// # Errors
    /// If either range is not within one allocation.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        let (source, begin) = self.span(from, bytes)?;
        let (target, at) = self.span(to, bytes)?;
        let n = bytes as usize;
        let region = &self.allocations[source].region;
        let data = region.data[begin..begin + n].to_vec();
        let written: Vec<bool> = (begin..begin + n).map(|it| region.is_written(it, 1)).collect();
        let region = &mut self.allocations[target].region;
        region.data[at..at + n].copy_from_slice(&data);
        for (offset, written) in written.into_iter().enumerate() {
            if written {
                region.set_written(at + offset, 1);
            } else {
                region.forget(at + offset, 1);
            }
        }
        Ok(())
    }

    /// Writes `pattern` (1, 2 or 4 bytes) `n` times.
    ///
    /// # Errors
    /// If the bytes are not within one allocation.
    pub fn set(&mut self, address: u64, pattern: &[u8], n: u64) -> Result<(), MemoryError> {
        let (idx, at) = self.span(address, n.saturating_mul(pattern.len() as u64))?;
        let region = &mut self.allocations[idx].region;
        let bytes = n as usize * pattern.len();
        for chunk in region.data[at..at + bytes].chunks_exact_mut(pattern.len()) {
            chunk.copy_from_slice(pattern);
        }
        region.set_written(at, bytes);
        Ok(())
    }

    /// Forgets that these bytes were written, as if they had just been allocated: for a caching allocator.
    ///
    /// # Errors
    /// If the bytes are not within one allocation.
    pub fn forget(&mut self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        let (idx, at) = self.span(address, bytes)?;
        self.allocations[idx].region.forget(at, bytes as usize);
        Ok(())
    }

    /// The live allocation that an address belongs to, for kernels.
    #[inline]
    pub(crate) fn find(&self, address: u64) -> Option<usize> {
        self.at(address).filter(|idx| self.allocations[*idx].live)
    }

    /// An allocation that `find` returned.
    #[inline(always)]
    pub(crate) fn allocation(&mut self, idx: usize) -> &mut Allocation {
        &mut self.allocations[idx]
    }

    /// Counts launches: accesses of earlier launches are no races.
    pub(crate) fn next_launch(&mut self) -> u64 {
        self.launch += 1;
        self.launch
    }

    /// Bytes that a launch has read, but not what it had written before, and bytes that it has written; each once.
    pub(crate) fn moved(&self, launch: u64) -> (u64, u64) {
        let touched = self.allocations.iter().filter(|it| it.touched != 0);
        touched.map(|it| it.region.races.moved(launch)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    /// What lies at an address, for errors.
    pub(crate) fn describe(&self, address: u64) -> String {
        let Some(it) = self.at(address).map(|idx| &self.allocations[idx]) else {
            return "no allocation is near".to_owned();
        };
        let offset = address as i64 - it.base as i64;
        let freed = if it.live { "" } else { ", which was freed" };
        format!("offset {offset} of an allocation of {} bytes at {:#x}{freed}", it.bytes, it.base)
    }

    #[inline]
    fn at(&self, address: u64) -> Option<usize> {
        let unit = (address >> UNIT_BITS).checked_sub(FIRST_UNIT)?;
        self.units.get(unit as usize).map(|it| *it as usize)
    }

    fn span(&self, address: u64, bytes: u64) -> Result<(usize, usize), MemoryError> {
        if let Some(idx) = self.find(address) {
            let it = &self.allocations[idx];
            if address >= it.base
                && (address - it.base).checked_add(bytes).is_some_and(|end| end <= it.bytes)
            {
                return Ok((idx, (address - it.base) as usize));
            }
        }
        Err(MemoryError::OutOfBounds { address, bytes, near: self.describe(address) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_kernels_what_was_never_written_is_zero() {
        let mut memory = Memory::without_kernels(1000);
        let address = memory.allocate(8).unwrap();
        memory.write(address, &[1, 2]).unwrap();
        let mut to = [9; 4];
        memory.read(address, &mut to).unwrap();
        assert_eq!(to, [1, 2, 0, 0]);
        assert!(memory.read(address + 6, &mut to).is_err());
    }

    #[test]
    fn copies_arrive_and_stay_within_their_allocation() {
        let mut memory = Memory::new(1000);
        let a = memory.allocate(100).unwrap();
        let b = memory.allocate(50).unwrap();
        assert!(a.is_multiple_of(ALIGN) && memory.in_use() == 150);
        memory.write(a + 10, &[1, 2, 3, 4]).unwrap();
        memory.copy(b, a + 10, 4).unwrap();
        let mut to = [0; 4];
        memory.read(b, &mut to).unwrap();
        assert_eq!(to, [1, 2, 3, 4]);
        memory.set(b, &[7, 0], 25).unwrap();
        memory.read(b + 46, &mut to).unwrap();
        assert_eq!(to, [7, 0, 7, 0]);
        assert!(matches!(memory.write(a + 98, &[0; 4]), Err(MemoryError::OutOfBounds { .. })));
        assert!(matches!(
            memory.allocate(900),
            Err(MemoryError::OutOfMemory { wanted: 900, free: 850 })
        ));
    }

    #[test]
    fn bytes_never_written_cannot_be_read() {
        let mut memory = Memory::new(1000);
        let a = memory.allocate(300).unwrap();
        memory.set(a, &[0], 299).unwrap();
        let mut to = vec![0; 300];
        memory.read(a, &mut to[..299]).unwrap();
        let error = memory.read(a, &mut to).unwrap_err();
        assert!(
            matches!(error, MemoryError::NeverWritten { address, .. } if address == a + 299),
            "{error}"
        );
        memory.forget(a + 65, 1).unwrap();
        let error = memory.read(a, &mut to[..200]).unwrap_err();
        assert!(
            matches!(error, MemoryError::NeverWritten { address, .. } if address == a + 65),
            "{error}"
        );
    }

    #[test]
    fn freed_memory_is_gone() {
        let mut memory = Memory::new(1000);
        let a = memory.allocate(100).unwrap();
        memory.free(a).unwrap();
        assert!(memory.live().is_empty() && memory.in_use() == 0);
        assert_eq!(memory.free(a), Err(MemoryError::NotAllocated { address: a }));
        let error = memory.write(a, &[0]).unwrap_err().to_string();
        assert!(error.contains("freed"), "{error}");
    }
}
