//! Projective maps of the plane (homographies), from output to source coordinates.
//!
//! Coordinates are in pixels with the origin at the upper left corner, so the centre of the first pixel is
//! (0.5, 0.5). A map takes a point of the output to the point of the source that is shown there (inverse
//! warping), so the map of two operations is the second one's followed by the first one's.

/// (x, y) to (a x + b y + c, d x + e y + f) / (g x + h y + i), as rows `[[a, b, c], [d, e, f], [g, h, i]]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection(pub [[f64; 3]; 3]);

impl Projection {
    /// The identity.
    pub const IDENTITY: Projection =
        Projection([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// The translation by `x` and `y`.
    pub fn shift(x: f64, y: f64) -> Projection {
        Projection([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    }

    /// The scaling of the coordinates by `x` and `y`.
    pub fn scale(x: f64, y: f64) -> Projection {
        Projection([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])
    }

    /// This map followed by `next`.
    #[must_use]
    pub fn then(&self, next: &Projection) -> Projection {
        let cell = |row: usize, col: usize| (0..3).map(|k| next.0[row][k] * self.0[k][col]).sum();
        Projection(std::array::from_fn(|row| std::array::from_fn(|col| cell(row, col))))
    }

    /// Maps (x, y) to its source.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [u, v, w] = self.0.map(|[a, b, c]| a * x + b * y + c);
        (u / w, v / w)
    }

    /// The map from the rectangle of `width` and `height` at the origin to a quadrilateral, given by the
    /// images of its upper left, upper right, lower right and lower left corners.
    ///
    /// Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3.
    pub fn onto_quadrilateral([width, height]: [f64; 2], corners: [[f64; 2]; 4]) -> Projection {
        let [[x0, y0], [x1, y1], [x2, y2], [x3, y3]] = corners;
        let [dx1, dx2, sum_x] = [x1 - x2, x3 - x2, x0 - x1 + x2 - x3];
        let [dy1, dy2, sum_y] = [y1 - y2, y3 - y2, y0 - y1 + y2 - y3];
        let area = dx1 * dy2 - dx2 * dy1;
        let g = (sum_x * dy2 - dx2 * sum_y) / area;
        let h = (dx1 * sum_y - sum_x * dy1) / area;
        let of_unit_square = Projection([
            [x1 - x0 + g * x1, x3 - x0 + h * x3, x0],
            [y1 - y0 + g * y1, y3 - y0 + h * y3, y0],
            [g, h, 1.0],
        ]);
        Projection::scale(1.0 / width, 1.0 / height).then(&of_unit_square)
    }

    /// The inverse map, if there is one.
    pub fn inverse(&self) -> Option<Projection> {
        let m = self.0;
        let minor = |row: usize, col: usize| {
            let ([r, s], [c, d]) = ([(row + 1) % 3, (row + 2) % 3], [(col + 1) % 3, (col + 2) % 3]);
            m[r][c] * m[s][d] - m[r][d] * m[s][c]
        };
        // A multiple is the same map; the last element of this one is 1, as for affine maps.
        let last = minor(2, 2);
        let determinant: f64 = (0..3).map(|col| m[0][col] * minor(0, col)).sum();
        let inverse: [[f64; 3]; 3] =
            std::array::from_fn(|row| std::array::from_fn(|col| minor(col, row) / last));
        let is_fit = determinant != 0.0 && inverse.as_flattened().iter().all(|it| it.is_finite());
        is_fit.then_some(Projection(inverse))
    }

    /// Whether parallel lines stay parallel: the last row is 0, 0, 1.
    pub fn is_affine(&self) -> bool {
        self.0[2] == [0.0, 0.0, 1.0]
    }
}

#[cfg(test)]
mod tests {
    use super::Projection;

    #[test]
    fn a_rectangle_maps_to_a_quadrilateral_and_back() {
        let corners = [[1.0, 2.0], [28.0, 3.0], [25.0, 18.0], [4.0, 21.0]];
        let there = Projection::onto_quadrilateral([30.0, 20.0], corners);
        let back = there.inverse().unwrap();
        let rectangle = [(0.0, 0.0), (30.0, 0.0), (30.0, 20.0), (0.0, 20.0)];
        for ((x, y), [to_x, to_y]) in rectangle.into_iter().zip(corners) {
            let (got_x, got_y) = there.at(x, y);
            assert!((got_x - to_x).abs() < 1e-9 && (got_y - to_y).abs() < 1e-9);
            let (got_x, got_y) = back.at(to_x, to_y);
            assert!((got_x - x).abs() < 1e-9 && (got_y - y).abs() < 1e-9);
        }
        let line = corners.map(|[x, _]| [x, x]);
        assert_eq!(Projection::onto_quadrilateral([30.0, 20.0], line).inverse(), None);
        assert_eq!(Projection::onto_quadrilateral([0.0, 20.0], corners).inverse(), None);
    }

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
