//! Functions for tests, beside the driver's: settings of the emulated cards, and what was found on them.
//!
//! A test that has loaded the library reaches them through [`client`](crate::client).

#![expect(unsafe_code, reason = "functions of C that read and write through pointers")]

use std::sync::atomic::Ordering;

use super::card::{Card, MOST_CARDS, N_CARDS, VERSION, lock};
use crate::{
    client::{SETTING, TEXT},
    counts::Counts,
};

/// Changes a setting; false if there is no such setting or card.
#[unsafe(no_mangle)]
extern "C" fn emulator_set(card: usize, setting: u32, value: u64) -> bool {
    let Ok(number) = i32::try_from(value.min(i32::MAX as u64)) else { return false };
    if card >= MOST_CARDS {
        return false;
    }
    match setting {
        SETTING::CARDS => N_CARDS.store(MOST_CARDS.min(number as usize), Ordering::Relaxed),
        SETTING::VERSION => VERSION.store(number, Ordering::Relaxed),
        SETTING::MEMORY => lock(card).capacity = value,
        SETTING::KERNELS => lock(card).runs_kernels = number != 0,
        SETTING::CAPABILITY => lock(card).capability = (number / 10, number % 10),
        _ => return false,
    }
    true
}

/// Copies a list of texts, each ended by a zero byte, as far as there is room; the bytes of all of it.
///
/// # Safety
/// The pointer is valid for writes of as many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn emulator_text(card: usize, which: u32, buffer: *mut u8, room: usize) -> usize {
    if card >= MOST_CARDS {
        return 0;
    }
    let Card { faults, leaks, calls, counts, .. } = &*lock(card);
    let texts: Vec<String> = match which {
        TEXT::FAULTS => faults.clone(),
        TEXT::LEAKS => leaks.clone(),
        TEXT::CALLS => calls.iter().map(|(name, n)| format!("{name} {n}")).collect(),
        TEXT::KERNELS => counts.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let bytes: Vec<u8> = texts.iter().flat_map(|it| it.bytes().chain([0])).collect();
    let n = bytes.len().min(room);
    // SAFETY: as the caller promises.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, n) };
    bytes.len()
}

/// Forgets faults, leaks, calls and counts of a card.
#[unsafe(no_mangle)]
extern "C" fn emulator_clear(card: usize) {
    if card < MOST_CARDS {
        let Card { faults, leaks, calls, counts, .. } = &mut *lock(card);
        faults.clear();
        leaks.clear();
        calls.clear();
        counts.clear();
    }
}

/// Copies the counts of a kernel; false if it was not launched, or if the caller's `Counts` has another size.
///
/// # Safety
/// The name is valid for reads of as many bytes, and the other pointer for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn emulator_counts(
    card: usize,
    name: *const u8,
    name_bytes: usize,
    counts: *mut Counts,
    counts_bytes: usize,
) -> bool {
    if card >= MOST_CARDS || counts_bytes != size_of::<Counts>() {
        return false;
    }
    // SAFETY: as the caller promises.
    let name = std::str::from_utf8(unsafe { std::slice::from_raw_parts(name, name_bytes) });
    let locked = lock(card);
    let Some(found) = name.ok().and_then(|it| locked.counts.get(it)) else { return false };
    // SAFETY: as the caller promises.
    unsafe { counts.write(*found) };
    true
}
