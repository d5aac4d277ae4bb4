//! Line charts as text, in Braille characters of two by four dots.

use super::curves::{Curves, Panel, number};

/// Columns and rows of the plot, in characters.
const SIZE: [usize; 2] = [72, 9];
/// Width of the y axis with its labels.
const LEFT: usize = 9;
/// Dots of a character, across and down.
const DOTS: [usize; 2] = [2, 4];
/// The bit of each dot, by column and row.
const BITS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
/// The Braille character without dots.
const EMPTY: u32 = 0x2800;
/// Maximum number of ticks of the x axis.
const TICKS: f64 = 8.0;

impl Curves {
    /// Draws the panels, stacked vertically; marks are numbered from 1 below their panel.
    pub(crate) fn sketch(&self) -> String {
        let panels = self.panels.iter().map(|it| self.panel(it));
        panels.collect::<String>() + &self.ticks()
    }

    fn panel(&self, panel: &Panel) -> String {
        let range = panel.range();
        let mut letters = [[EMPTY; SIZE[0]]; SIZE[1]];
        let at = |&[x, y]: &[f64; 2]| {
            let n_rows = (SIZE[1] * DOTS[1] - 1) as f64;
            let down = (range.end - y) / (range.end - range.start);
            (self.along(x) * (SIZE[0] * DOTS[0] - 1) as f64, down.clamp(0.0, 1.0) * n_rows)
        };
        let ends = panel.points.windows(2).map(|it| (at(&it[0]), at(&it[1])));
        for ((x0, y0), (x1, y1)) in ends {
            let n = (x1 - x0).abs().max((y1 - y0).abs()).ceil().max(1.0);
            for i in 0..=n as usize {
                let share = i as f64 / n;
                let x = (x0 + share * (x1 - x0)).round() as usize;
                let y = (y0 + share * (y1 - y0)).round() as usize;
                letters[y / DOTS[1]][x / DOTS[0]] |= BITS[x % DOTS[0]][y % DOTS[1]];
            }
        }
        let mut text = format!("{}\n", panel.name);
        for (idx, row) in letters.iter().enumerate() {
            let label = match idx {
                0 => number(range.end),
                it if it == SIZE[1] / 2 => number((range.start + range.end) / 2.0),
                it if it == SIZE[1] - 1 => number(range.start),
                _ => String::new(),
            };
            let axis = if label.is_empty() { '│' } else { '┤' };
            let row = row.iter().map(|&it| match it {
                EMPTY => ' ',
                it => char::from_u32(it).expect("the code point is a Braille character"),
            });
            let row: String = row.collect();
            text += format!("{label:>width$} {axis}{row}", width = LEFT - 2).trim_end();
            text += "\n";
        }
        text += &format!("{:>LEFT$}{}\n", "└", "─".repeat(SIZE[0]));
        let marks = panel.marks.iter().enumerate();
        text + &lines(marks.map(|(idx, it)| (self.along(it.at[0]), (idx + 1).to_string())))
    }

    /// Draws the ticks and the title of the x axis.
    fn ticks(&self) -> String {
        let places = self.x.places();
        let rough = (places.end - places.start) / TICKS;
        let ten = 10_f64.powf(rough.log10().floor());
        let wide = [1.0, 2.0, 5.0].map(|it| it * ten).into_iter().find(|&it| it >= rough);
        let step = match self.x.is_log {
            true => rough.ceil(),
            false => wide.unwrap_or(10.0 * ten),
        };
        let first = (places.start / step).ceil() as i64;
        let last = (places.end / step + 1e-9).floor() as i64;
        let ticks = (first..=last).map(|it| {
            let place = it as f64 * step;
            ((place - places.start) / (places.end - places.start), self.x.label(place))
        });
        lines(ticks) + format!("{:LEFT$}{:^width$}", "", self.x.name, width = SIZE[0]).trim_end()
    }

    /// Returns the relative x position, from 0 to 1.
    fn along(&self, x: f64) -> f64 {
        let places = self.x.places();
        ((self.x.place(x) - places.start) / (places.end - places.start)).clamp(0.0, 1.0)
    }
}

/// Lays out words below their x positions; a word without room moves a line down.
fn lines(words: impl Iterator<Item = (f64, String)>) -> String {
    let mut lines: Vec<Vec<char>> = Vec::new();
    for (along, word) in words {
        let middle = LEFT + (along * (SIZE[0] - 1) as f64).round() as usize;
        let begin = middle.saturating_sub(word.len() / 2);
        let span = begin.saturating_sub(1)..begin + word.len() + 1;
        let is_free =
            |line: &Vec<char>| line.iter().skip(span.start).take(span.len()).all(|it| *it == ' ');
        let idx = lines.iter().position(is_free).unwrap_or_else(|| {
            lines.push(Vec::new());
            lines.len() - 1
        });
        let line = &mut lines[idx];
        if line.len() < begin + word.len() {
            line.resize(begin + word.len(), ' ');
        }
        line.splice(begin..begin + word.len(), word.chars());
    }
    lines.into_iter().map(|it| String::from_iter(it) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::drawing::{Axis, Curves, Mark, Panel};

    #[test]
    fn curve_is_drawn_in_braille() {
        let points =
            (0..=100).map(|it| f64::from(it) / 10.0).map(|x| [x, (10.0 - x) * x]).collect();
        let marks = [2.0, 2.05, 8.0].map(|x| Mark { at: [x, 0.0], label: String::new() });
        let curves = Curves {
            title: String::new(),
            x: Axis { name: "metres".to_owned(), range: 0.0..10.0, is_log: false },
            panels: vec![Panel {
                name: "height".to_owned(),
                points,
                behind: Vec::new(),
                from_zero: true,
                marks: marks.into(),
            }],
        };
        expect![[r#"
            height
                 25 ┤                        ⢀⣀⡠⠤⠔⠒⠒⠒⠉⠉⠉⠉⠉⠉⠉⠉⠒⠒⠒⠢⠤⢄⣀⡀
                    │                   ⢀⡠⠤⠒⠋⠉                      ⠉⠙⠒⠤⢄⡀
                    │               ⢀⡠⠖⠋⠁                                ⠈⠙⠲⢄⡀
                    │            ⣀⠔⠚⠁                                        ⠈⠓⠢⣀
               12.5 ┤         ⢀⠴⠊⠁                                              ⠈⠑⠦⡀
                    │       ⡤⠊⠁                                                    ⠈⠑⢤
                    │    ⢠⠔⠉                                                          ⠉⠢⡄
                    │  ⡠⠎⠁                                                              ⠈⠱⢄
                  0 ┤⡠⠊⠁                                                                  ⠈⠑⢄
                    └────────────────────────────────────────────────────────────────────────
                                   1                                          3
                                    2
                     0             2             4              6             8            10
                                                      metres"#]]
        .assert_eq(&curves.sketch());
    }
}
