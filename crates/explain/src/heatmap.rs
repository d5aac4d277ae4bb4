//! A heat map, and the measures of it.

/// How much each pixel of a network's input raises the score of a class, from 0 (not at all) to 1 (the most in
/// this image). All 0 where nothing raises it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// The height of the network's input.
    pub height: usize,
    /// The width of the network's input.
    pub width: usize,
    /// `[height, width]`, row by row, in 0..1.
    pub values: Vec<f32>,
}

impl Heatmap {
    /// Returns a map of the size `[height, width]` from one of any size, by bilinear interpolation between the
    /// centres of its cells, divided by its largest value; what is negative becomes 0.
    ///
    /// - `cells`: `[rows, columns]`, row by row, at least one.
    pub(crate) fn from_cells(
        cells: &[f64],
        [rows, columns]: [usize; 2],
        [height, width]: [usize; 2],
    ) -> Heatmap {
        let positive: Vec<f64> = cells.iter().map(|it| it.max(0.0)).collect();
        let (of_rows, of_columns) = (between(rows, height), between(columns, width));
        let mut values = Vec::with_capacity(height * width);
        for &(top, bottom, down) in &of_rows {
            for &(left, right, across) in &of_columns {
                let line = |row: usize| {
                    let at = |column: usize| positive[row * columns + column];
                    at(left) * (1.0 - across) + at(right) * across
                };
                values.push(line(top) * (1.0 - down) + line(bottom) * down);
            }
        }
        Heatmap::scaled(values, [height, width])
    }

    /// Returns the map of values of each pixel, 0 or more, divided by the largest.
    pub(crate) fn scaled(values: Vec<f64>, [height, width]: [usize; 2]) -> Heatmap {
        let largest = values.iter().copied().fold(0.0, f64::max);
        let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
        // The reciprocal of a subnormal number is infinite.
        let scaled = |it: f64| if scale.is_finite() { it * scale } else { it / largest };
        let values = values.into_iter().map(|it| scaled(it).clamp(0.0, 1.0) as f32).collect();
        Heatmap { height, width, values }
    }

    /// Returns the sum of the values.
    pub fn mass(&self) -> f64 {
        self.values.iter().map(|&it| f64::from(it)).sum()
    }

    /// Returns the share of the map's mass that lies on an area; `None` for a map of zeros.
    ///
    /// - `area`: `[height, width]`, whether a pixel is in the area. Of a random map the expected share is the
    ///   area's share of the pixels.
    pub fn share_on(&self, area: &[bool]) -> Option<f64> {
        let on = self.values.iter().zip(area).filter(|it| *it.1).map(|it| f64::from(*it.0));
        let (on, mass) = (on.sum::<f64>(), self.mass());
        (mass > 0.0).then(|| on / mass)
    }

    /// Returns the smallest share of the pixels that holds half of the map's mass: near 0 for a map of one spot,
    /// 0.5 for an even one; `None` for a map of zeros.
    pub fn half_mass(&self) -> Option<f64> {
        let mass = self.mass();
        if mass <= 0.0 {
            return None;
        }
        let mut values = self.values.clone();
        values.sort_by(|a, b| b.total_cmp(a));
        let mut sum = 0.0;
        let n = values.iter().take_while(|&&it| {
            let is_needed = sum < mass / 2.0;
            sum += f64::from(it);
            is_needed
        });
        Some(n.count() as f64 / values.len() as f64)
    }

    /// Returns the `[row, column]` of the largest value; the first of equal ones.
    pub fn peak(&self) -> [usize; 2] {
        let larger = |best: usize, at: usize| match self.values[at] > self.values[best] {
            true => at,
            false => best,
        };
        let at = (0..self.values.len()).reduce(larger).unwrap_or(0);
        [at / self.width.max(1), at % self.width.max(1)]
    }
}

/// For each of `size` pixels the two cells of `n` that it is interpolated between, and the weight of the second.
fn between(n: usize, size: usize) -> Vec<(usize, usize, f64)> {
    let of_pixel = |idx: usize| {
        let place = (idx as f64 + 0.5) * n as f64 / size as f64 - 0.5;
        let place = place.clamp(0.0, (n - 1) as f64);
        let first = place.floor() as usize;
        (first, (first + 1).min(n - 1), place - first as f64)
    };
    (0..size).map(of_pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::Heatmap;

    #[test]
    fn cells_are_interpolated_between_their_centres() {
        // Two cells over four pixels: centres at 0.5 and 2.5 of 4, pixel centres at 0.5, 1.5, 2.5, 3.5 in steps of
        // half a cell: -0.25, 0.25, 0.75 and 1.25 cells from the first centre.
        let map = Heatmap::from_cells(&[0.0, 4.0], [1, 2], [1, 4]);
        assert_eq!(map.values, [0.0, 0.25, 0.75, 1.0]);
        // One cell is the same everywhere, and what is negative is 0.
        assert_eq!(Heatmap::from_cells(&[3.0], [1, 1], [2, 2]).values, [1.0; 4]);
        assert_eq!(Heatmap::from_cells(&[-3.0], [1, 1], [2, 2]).values, [0.0; 4]);
        // The smallest positive number has no finite reciprocal.
        assert_eq!(Heatmap::from_cells(&[5e-324], [1, 1], [1, 1]).values, [1.0]);
    }

    #[test]
    fn mass_is_measured() {
        let map = Heatmap { height: 2, width: 2, values: vec![1.0, 0.5, 0.25, 0.25] };
        assert_eq!(map.share_on(&[true, false, false, true]), Some(0.625));
        // The largest value is half of the mass.
        assert_eq!(map.half_mass(), Some(0.25));
        assert_eq!(map.peak(), [0, 0]);
        let even = Heatmap { values: vec![1.0; 4], ..map.clone() };
        assert_eq!(even.half_mass(), Some(0.5));
        let none = Heatmap { values: vec![0.0; 4], ..map };
        assert_eq!((none.share_on(&[true; 4]), none.half_mass()), (None, None));
    }
}
