//! Concatenation and its gradient against plain loops in f64. Bounds: numbers are copied, or rounded once after a
//! prologue.

use gpu::{
    Result, Storage,
    concat::{concat, concat_backward},
    prologue::Activation,
};

use crate::{
    case::List,
    check::{Bound, Check},
    prologue::{Of, PlainPrologue},
};

/// Parts of these widths, and the activation that they are read through.
const PARTS: [(&[usize], Option<Activation>); 4] = [
    (&[8, 24, 16], None),
    (&[3, 7, 1, 9], None),
    (&[16, 4, 12], Some(Activation::Relu)),
    (&[40, 264], Some(Activation::Silu)),
];

pub(crate) fn cases(list: &mut List) {
    for storage in Storage::ALL {
        for (widths, activation) in PARTS {
            let read = activation.map_or(String::new(), |it| format!(", {it:?}"));
            let name = format!("2x5x{widths:?}{read}");
            list.add(storage, name, move |check| parts(check, storage, widths, activation));
        }
    }
}

/// Concatenates parts of these widths, through prologues where there is an activation, and splits a gradient.
fn parts(
    check: &mut Check,
    storage: Storage,
    widths: &[usize],
    activation: Option<Activation>,
) -> Result<()> {
    let bound = Bound { relative: storage.unit() + 1e-5, absolute: 1e-5 };
    let width: usize = widths.iter().sum();
    let of = |c: usize| Of { storage, images: 2, area: 5, c };
    let whole = of(width);
    let mut y = check.alloc(storage, whole.n())?;
    let (g, stored_g) = check.random(storage, whole.n())?;
    let by_g = match activation {
        Some(it) => PlainPrologue::of_gradient(check, whole, it)?.with_images(check, whole)?,
        None => PlainPrologue::default(),
    };
    let read_g = by_g.read_gradient(whole, &stored_g);
    let (mut want, mut offset) = (vec![0.0; whole.n()], 0);
    for &c in widths {
        let part = of(c);
        let shapes = (part.shape(), whole.shape());
        let (x, stored) = check.random(storage, part.n())?;
        let by_x = match activation {
            Some(it) => PlainPrologue::norm(check, part, it)?.gated(check, part)?,
            None => PlainPrologue::default(),
        };
        concat(check.device(), shapes, offset, &x, &by_x.prologue(), &mut y)?;
        let mut dx = check.alloc(storage, part.n())?;
        concat_backward(check.device(), shapes, offset, &g, &by_g.grad(), &mut dx)?;
        let mut want_dx = vec![0.0; part.n()];
        for (idx, x) in by_x.read(part, &stored).iter().enumerate() {
            let at = idx / c * width + offset + idx % c;
            want[at] = *x;
            want_dx[idx] = read_g[at];
        }
        check.close(&format!("the gradient of {c}"), &dx, storage, &want_dx, bound)?;
        offset += c;
    }
    check.close("y", &y, storage, &want, bound)
}
