//! The memory that a kernel writes: a slice, or some columns of rows whose other columns another thread
//! writes.

use std::marker::PhantomData;

/// Numbers to write, from a first one to the end of a slice.
pub(crate) struct Target<'a, T> {
    first: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it is only made from a `&mut [T]`, or by `shared`, whose caller promises that no two threads access
// the same number.
unsafe impl<T: Send> Send for Target<'_, T> {}

impl<'a, T> From<&'a mut [T]> for Target<'a, T> {
    fn from(slice: &'a mut [T]) -> Target<'a, T> {
        Target { first: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }
}

impl<'a, T> Target<'a, T> {
    /// The `len` numbers from `first` on.
    ///
    /// # Safety
    /// They are one allocation that lives for `'a`, and a number that is written through the target is
    /// accessed by nobody else meanwhile.
    pub(crate) unsafe fn shared(first: *mut T, len: usize) -> Target<'a, T> {
        Target { first, len, slice: PhantomData }
    }

    /// The numbers from `at` on.
    pub(crate) fn after(&mut self, at: usize) -> Target<'_, T> {
        assert!(at <= self.len, "a target that begins after its end");
        Target { first: self.first.wrapping_add(at), len: self.len - at, slice: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.first
    }

    /// The first `n` numbers.
    ///
    /// # Safety
    /// All of them are written through this target alone.
    pub(crate) unsafe fn slice(&mut self, n: usize) -> &mut [T] {
        assert!(n <= self.len, "a target that ends early");
        // SAFETY: guaranteed by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.first, n) }
    }
}
