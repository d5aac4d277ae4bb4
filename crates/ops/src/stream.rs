//! Results that no cache holds: streamed to memory past the caches.
//!
//! A store to a line that is not in a cache reads the line first, so that a result costs as much reading as writing.
//! A block of a large result is computed in scratch memory, which stays in a core's L2 cache, and is then written
//! with stores that do not read. Its reader finds it in memory, where most of it would have been anyway.

use crate::{kernel::lanes_kernel, real::Real};

/// Numbers of the smallest result that is streamed, 16 MiB in `f32`: with 8 MiB, reading it back took longer than
/// was gained.
const LARGE: usize = 4 << 20;

/// The bytes of a cache line.
const LINE: usize = 64;

/// Calls `write` with a block of a result of `n` numbers, or with scratch memory whose numbers are then streamed to
/// the block. It must write all of them.
pub(crate) fn streamed<T: Real, R>(
    n: usize,
    block: &mut [T],
    write: impl FnOnce(&mut [T]) -> R,
) -> R {
    if n < LARGE {
        return write(block);
    }
    T::with_scratch(block.len(), |made| {
        let given = write(made);
        // SAFETY: both have this many numbers.
        unsafe { stream(made.as_ptr(), block.as_mut_ptr(), block.len()) }
        given
    })
}

lanes_kernel! {
    unsafe fn stream(from: *const T, to: *mut T, n: usize) {
        let before_line = to.addr().wrapping_neg() % LINE / size_of::<T>();
        let mut at = before_line.min(n);
        // SAFETY: guaranteed by the caller; the registers begin at a line.
        unsafe {
            std::ptr::copy_nonoverlapping(from, to, at);
            while at + V::LANES <= n {
                V::load(from.add(at)).stream(to.add(at));
                at += V::LANES;
            }
            std::ptr::copy_nonoverlapping(from.add(at), to.add(at), n - at);
            V::end_of_stream();
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::numbers;

    use super::{LARGE, streamed};
    use crate::real::Real;

    #[test]
    fn a_streamed_block_is_complete_wherever_it_begins() {
        fn check<T: Real>() {
            for (start, len) in [(0, 64), (1, 100), (3, 5), (15, 49), (0, 0)] {
                let want: Vec<T> = numbers("x", len).into_iter().map(T::of).collect();
                let mut all = vec![T::ONE; start + len + 3];
                for n in [len, LARGE] {
                    let block = &mut all[start..start + len];
                    block.fill(T::ZERO);
                    let given = streamed(n, block, |it| {
                        it.copy_from_slice(&want);
                        7
                    });
                    assert!(given == 7 && *block == want[..], "{start}, {len}, {n}");
                    assert!(all[..start].iter().chain(&all[start + len..]).all(|it| *it == T::ONE));
                }
            }
        }
        check::<f32>();
        check::<f64>();
    }
}
