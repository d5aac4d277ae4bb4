//! Drawing primitives of portraits: filled and stroked curves on a canvas of 96 by 128 units.

use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Paint, Path, PathBuilder, Pixmap, Point, Shader,
    SpreadMode, Stroke, Transform,
};

use super::person::Colour;

/// The size of the canvas in units, whatever the image's size in pixels.
pub(crate) const WIDTH: f32 = 96.0;
pub(crate) const HEIGHT: f32 = 128.0;

/// A canvas, and the transform from units to its pixels.
pub(crate) struct Canvas {
    pub(crate) pixmap: Pixmap,
    pub(crate) transform: Transform,
}

impl Canvas {
    /// Creates an empty canvas of `[height, width]` pixels.
    pub(crate) fn new([h, w]: [usize; 2]) -> Canvas {
        let pixmap = Pixmap::new(w as u32, h as u32).expect("the size is not zero");
        let transform = Transform::from_scale(w as f32 / WIDTH, h as f32 / HEIGHT);
        Canvas { pixmap, transform }
    }

    pub(crate) fn fill(&mut self, path: Option<Path>, shader: Shader<'_>) {
        // An empty path has nothing to fill.
        let Some(path) = path else { return };
        let paint = Paint { shader, anti_alias: true, ..Paint::default() };
        self.pixmap.fill_path(&path, &paint, FillRule::Winding, self.transform, None);
    }

    pub(crate) fn stroke(&mut self, path: Option<Path>, colour: Colour, alpha: f32, width: f32) {
        let Some(path) = path else { return };
        let paint = Paint { shader: flat(colour, alpha), anti_alias: true, ..Paint::default() };
        let stroke = Stroke { width, line_cap: tiny_skia::LineCap::Round, ..Stroke::default() };
        self.pixmap.stroke_path(&path, &paint, &stroke, self.transform, None);
    }
}

pub(crate) fn colour(rgb: Colour, alpha: f32) -> Color {
    let [r, g, b] = rgb.map(|it| it.clamp(0.0, 1.0));
    Color::from_rgba(r, g, b, alpha.clamp(0.0, 1.0)).expect("components within 0..=1")
}

/// A solid colour.
pub(crate) fn flat(rgb: Colour, alpha: f32) -> Shader<'static> {
    Shader::SolidColor(colour(rgb, alpha))
}

/// A linear gradient from one colour to another.
pub(crate) fn gradient(
    (x0, y0): (f32, f32),
    (x1, y1): (f32, f32),
    from: (Colour, f32),
    to: (Colour, f32),
) -> Shader<'static> {
    let stops = vec![
        GradientStop::new(0.0, colour(from.0, from.1)),
        GradientStop::new(1.0, colour(to.0, to.1)),
    ];
    let (start, end) = (Point::from_xy(x0, y0), Point::from_xy(x1, y1));
    let shader = LinearGradient::new(start, end, stops, SpreadMode::Pad, Transform::identity());
    shader.unwrap_or_else(|| flat(from.0, from.1))
}

/// Lightens (`by` above 1) or darkens (below 1) a colour.
pub(crate) fn shade(rgb: Colour, by: f32) -> Colour {
    rgb.map(|it| (it * by).clamp(0.0, 1.0))
}

pub(crate) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

/// An ellipse with the given centre and radii.
pub(crate) fn ellipse(x: f32, y: f32, rx: f32, ry: f32) -> Option<Path> {
    let rect = tiny_skia::Rect::from_xywh(x - rx, y - ry, 2.0 * rx, 2.0 * ry)?;
    PathBuilder::from_oval(rect)
}

pub(crate) fn rectangle(x: f32, y: f32, w: f32, h: f32) -> Option<Path> {
    tiny_skia::Rect::from_xywh(x, y, w, h).map(PathBuilder::from_rect)
}

/// A quadratic Bézier segment: its control point, and its end.
type Edge = ((f32, f32), (f32, f32));

/// A closed shape of Bézier segments.
pub(crate) fn shape(start: (f32, f32), edges: &[Edge]) -> Option<Path> {
    let mut builder = curve_builder(start, edges);
    builder.close();
    builder.finish()
}

/// An open curve of Bézier segments.
pub(crate) fn curve(start: (f32, f32), edges: &[Edge]) -> Option<Path> {
    curve_builder(start, edges).finish()
}

fn curve_builder(start: (f32, f32), edges: &[Edge]) -> PathBuilder {
    let mut builder = PathBuilder::new();
    builder.move_to(start.0, start.1);
    for &((cx, cy), (x, y)) in edges {
        builder.quad_to(cx, cy, x, y);
    }
    builder
}
