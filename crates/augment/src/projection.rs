//! Where a pixel comes from: a projective map of the plane.
//!
//! Coordinates are in pixels with the origin at the upper left corner, so that the middle of the first
//! pixel is at (0.5, 0.5). A map takes a place in the result to the place in the source that is seen
//! there, so the map of two changes is the second one's followed by the first one's.

/// (x, y) to (a x + b y + c, d x + e y + f) / (g x + h y + i), as rows `[[a, b, c], [d, e, f], [g, h, i]]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection(pub [[f64; 3]; 3]);

impl Projection {
    /// Nothing moves.
    pub const IDENTITY: Projection =
        Projection([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// The place moved by `x` and `y`.
    pub fn shift(x: f64, y: f64) -> Projection {
        Projection([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    }

    /// The place's coordinates multiplied.
    pub fn scale(x: f64, y: f64) -> Projection {
        Projection([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])
    }

    /// First this map, then `next`.
    #[must_use]
    pub fn then(&self, next: &Projection) -> Projection {
        let cell = |row: usize, col: usize| (0..3).map(|k| next.0[row][k] * self.0[k][col]).sum();
        Projection(std::array::from_fn(|row| std::array::from_fn(|col| cell(row, col))))
    }

    /// Where (x, y) comes from.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [u, v, w] = self.0.map(|[a, b, c]| a * x + b * y + c);
        (u / w, v / w)
    }

    /// Whether parallels stay parallel: the last row is 0, 0, 1.
    pub fn is_affine(&self) -> bool {
        self.0[2] == [0.0, 0.0, 1.0]
    }
}

#[cfg(test)]
mod tests {
    use super::Projection;

    #[test]
    fn maps_are_applied_in_order() {
        let both = Projection::scale(2.0, 3.0).then(&Projection::shift(10.0, 20.0));
        assert_eq!(both.at(1.0, 1.0), (12.0, 23.0));
        assert!(both.is_affine());
        let bent = Projection([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.0]]);
        assert_eq!(both.then(&bent).at(1.0, 1.0), (12.0 / 12.5, 23.0 / 12.5));
        assert!(!both.then(&bent).is_affine());
    }
}
