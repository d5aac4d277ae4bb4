//! The colours of a heat map: scales that are even for the eye, and readable in grey and by colour-blind people.
//!
//! Smith & van der Walt, "A Better Default Colormap for Matplotlib", 2015: lightness rises evenly from the first
//! colour to the last, unlike in the rainbow that heat maps are often drawn with.

/// A scale of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourMap {
    /// From dark blue over green to yellow.
    Viridis,
    /// From black over red to light yellow.
    #[default]
    Inferno,
}

impl ColourMap {
    /// Returns the colour of a value in 0..1, red, green and blue; NaN has that of 0.
    pub fn of(self, value: f64) -> [u8; 3] {
        let gradient = match self {
            ColourMap::Viridis => colorous::VIRIDIS,
            ColourMap::Inferno => colorous::INFERNO,
        };
        let value = if value > 0.0 { value.min(1.0) } else { 0.0 };
        gradient.eval_continuous(value).as_array()
    }
}

#[cfg(test)]
mod tests {
    use super::ColourMap;

    #[test]
    fn a_larger_value_is_lighter() {
        for map in [ColourMap::Viridis, ColourMap::Inferno] {
            let light = |step: u32| {
                let [r, g, b] = map.of(f64::from(step) / 20.0).map(f64::from);
                0.299 * r + 0.587 * g + 0.114 * b
            };
            assert!((1..=20).all(|it| light(it) > light(it - 1)), "{map:?}");
        }
        // The ends of matplotlib's viridis: #440154 and #fde725.
        assert_eq!(ColourMap::Viridis.of(0.0), [0x44, 0x01, 0x54]);
        assert_eq!(ColourMap::Viridis.of(1.0), [0xfd, 0xe7, 0x25]);
        for (odd, like) in [(-1.0, 0.0), (2.0, 1.0), (f64::NAN, 0.0)] {
            assert_eq!(ColourMap::Inferno.of(odd), ColourMap::Inferno.of(like));
        }
    }
}
