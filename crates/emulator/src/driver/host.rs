//! Page-locked memory of the host, and copies that the host has not waited for.
//!
//! A real card copies from and to such memory while the program goes on. Here the destination of a copy to the host is
//! filled with NaN until the host waits for the copy, so that a read too early is seen; and the source of a copy to
//! the device is compared with what was copied when the host waits, so that a change too early is a fault.

#![expect(unsafe_code, reason = "reads and writes memory that the caller names by its address")]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    sync::Arc,
};

use super::order::{Clock, HOST, Order};

/// The page-locked memory of a context.
#[derive(Default)]
pub(super) struct Host {
    /// By address: bytes, and whether it is ours to free.
    pinned: BTreeMap<usize, (usize, bool)>,
    flights: Vec<Flight>,
}

/// A copy that the host has not waited for.
struct Flight {
    stream: usize,
    time: u64,
    address: usize,
    bytes: Vec<u8>,
    to_host: bool,
    what: Arc<str>,
}

/// Bytes of all ones are NaN in f32, bf16 and f16.
const NOT_YET: u8 = 0xff;

impl Host {
    /// Page-locked memory of zeros; 0 if there is none left.
    pub(super) fn allocate(&mut self, bytes: usize) -> usize {
        let Some(layout) = layout(bytes) else { return 0 };
        // SAFETY: the layout has at least one byte.
        let address = unsafe { alloc_zeroed(layout) }.expose_provenance();
        if address != 0 {
            self.pinned.insert(address, (bytes, true));
        }
        address
    }

    /// Notes memory of the caller as page-locked.
    pub(super) fn register(&mut self, address: usize, bytes: usize) {
        self.pinned.insert(address, (bytes, false));
    }

    /// Frees page-locked memory; false if it is not the beginning of any.
    pub(super) fn free(&mut self, address: usize, is_ours: bool) -> bool {
        match self.pinned.get(&address) {
            Some((bytes, ours)) if *ours == is_ours => {
                if let Some(layout) = layout(*bytes).filter(|_| is_ours) {
                    // SAFETY: it was allocated with this layout, and nobody else frees it.
                    unsafe { dealloc(std::ptr::with_exposed_provenance_mut(address), layout) };
                }
                self.pinned.remove(&address);
                true
            }
            _ => false,
        }
    }

    /// Whether all these bytes are page-locked.
    pub(super) fn is_pinned(&self, address: usize, bytes: usize) -> bool {
        let before = self.pinned.range(..=address).next_back();
        before.is_some_and(|(base, (len, _))| address + bytes <= base + len)
    }

    /// The bytes that an operation of a stream copies from the host: those at the address, or those that an earlier
    /// copy will have put there.
    ///
    /// # Safety
    /// The address is valid for reads of that many bytes.
    pub(super) unsafe fn read(
        &mut self,
        address: usize,
        bytes: usize,
        at: &Clock,
        faults: &mut Vec<String>,
    ) -> Vec<u8> {
        // SAFETY: the caller vouches for it.
        let mut got = unsafe {
            std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address), bytes)
        }
        .to_vec();
        for flight in self.flights.iter().filter(|it| it.to_host) {
            let (first, end) = (
                flight.address.max(address),
                (flight.address + flight.bytes.len()).min(address + bytes),
            );
            if first >= end {
                continue;
            }
            if at.at(flight.stream) < flight.time {
                faults.push(format!(
                    "host: a copy to the device reads what {} has not brought yet",
                    flight.what
                ));
            }
            let part = &flight.bytes[first - flight.address..end - flight.address];
            got[first - address..end - address].copy_from_slice(part);
        }
        got
    }

    /// Notes a copy from page-locked memory, which must not change until the host has waited for the copy.
    pub(super) fn fly_up(
        &mut self,
        address: usize,
        bytes: Vec<u8>,
        stream: usize,
        time: u64,
        what: &Arc<str>,
    ) {
        self.flights.push(Flight {
            stream,
            time,
            address,
            bytes,
            to_host: false,
            what: Arc::clone(what),
        });
    }

    /// Notes a copy to page-locked memory, which arrives when the host waits for it.
    ///
    /// # Safety
    /// The address is valid for writes of as many bytes, until the copy has arrived.
    pub(super) unsafe fn fly_down(
        &mut self,
        address: usize,
        bytes: Vec<u8>,
        stream: usize,
        time: u64,
        what: &Arc<str>,
    ) {
        // SAFETY: the caller vouches for it.
        unsafe {
            std::ptr::write_bytes(
                std::ptr::with_exposed_provenance_mut::<u8>(address),
                NOT_YET,
                bytes.len(),
            )
        };
        self.flights.push(Flight {
            stream,
            time,
            address,
            bytes,
            to_host: true,
            what: Arc::clone(what),
        });
    }

    /// Ends the copies that the host has now waited for.
    pub(super) fn arrive(&mut self, order: &Order, faults: &mut Vec<String>) {
        let now = order.clock(HOST);
        for flight in self.flights.extract_if(.., |it| now.at(it.stream) >= it.time) {
            let Flight { address, bytes, what, .. } = &flight;
            if flight.to_host {
                // SAFETY: the memory is page-locked, and freeing it waits for all copies.
                let to = unsafe {
                    std::slice::from_raw_parts_mut(
                        std::ptr::with_exposed_provenance_mut(*address),
                        bytes.len(),
                    )
                };
                to.copy_from_slice(bytes);
                continue;
            }
            // SAFETY: as above.
            let now: &[u8] = unsafe {
                std::slice::from_raw_parts(std::ptr::with_exposed_provenance(*address), bytes.len())
            };
            if let Some(at) = now.iter().zip(bytes).position(|(now, then)| now != then) {
                faults.push(format!(
                    "host: byte {at} of the source of {what} was changed before the host waited for the copy: wait \
                     for an event that was recorded after it"
                ));
            }
        }
    }

    /// What was not freed.
    pub(super) fn leaks(&self) -> impl Iterator<Item = String> {
        self.pinned.iter().map(|(address, (bytes, _))| {
            format!("{bytes} bytes of page-locked memory at {address:#x}")
        })
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), 4096).ok()
}
