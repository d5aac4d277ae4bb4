//! Where the rows of a matrix are in its slice.

/// The offsets of the rows of a matrix in its slice.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// A constant stride.
    Apart(usize),
    /// The positions of maps.
    Maps(Maps),
    /// Arbitrary offsets.
    At(&'a [usize]),
}

/// The offset of the first position of some maps, and the strides from one position to the next, from one line of
/// `width` to the next, and from one map of `height` lines to the next.
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    pub(crate) first: usize,
    pub(crate) apart: usize,
    pub(crate) width: usize,
    pub(crate) line: usize,
    pub(crate) height: usize,
    pub(crate) map: usize,
}

impl Maps {
    /// The offset of a line, of all maps.
    #[inline(always)]
    fn line(self, idx: usize) -> usize {
        self.first + idx / self.height * self.map + idx % self.height * self.line
    }
}

impl Rows<'_> {
    #[inline(always)]
    pub(super) fn begin(self, row: usize) -> usize {
        match self {
            Rows::Apart(stride) => row * stride,
            Rows::Maps(it) => it.line(row / it.width) + row % it.width * it.apart,
            Rows::At(places) => places[row],
        }
    }

    /// The offsets of consecutive rows.
    #[inline(always)]
    pub(super) fn begins<const N: usize>(self, row: usize) -> [usize; N] {
        let Rows::Maps(maps) = self else {
            return std::array::from_fn(|idx| self.begin(row + idx));
        };
        let (mut line, mut col) = (row / maps.width, row % maps.width);
        let mut begin = maps.line(line);
        let mut all = [0; N];
        for it in &mut all {
            *it = begin + col * maps.apart;
            col += 1;
            if col == maps.width {
                (line, col) = (line + 1, 0);
                begin = maps.line(line);
            }
        }
        all
    }

    /// The largest offset of the first `n` rows, or more.
    pub(super) fn furthest(self, n: usize) -> usize {
        match self {
            Rows::Apart(stride) => n.saturating_sub(1) * stride,
            Rows::Maps(it) => {
                let lines = n.max(1).div_ceil(it.width);
                let last_map = (lines - 1) / it.height * it.map;
                let last_line = (lines.min(it.height) - 1) * it.line;
                it.first + last_map + last_line + (n.clamp(1, it.width) - 1) * it.apart
            }
            Rows::At(places) => places[..n].iter().copied().max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Maps, Rows};

    #[test]
    fn rows_may_be_the_positions_of_maps() {
        let rows = Rows::Maps(Maps { first: 3, apart: 2, width: 3, line: 10, height: 2, map: 50 });
        assert_eq!(rows.begins(1), [5, 7, 13, 15, 17, 53, 55, 57, 63]);
        assert_eq!(std::array::from_fn(|idx| rows.begin(1 + idx)), rows.begins::<9>(1));
        assert_eq!([1, 3, 6, 12].map(|n| rows.furthest(n)), [3, 7, 17, 67]);
        // Not less than the furthest of a part of a line.
        assert!(rows.furthest(4) >= 13);
    }
}
