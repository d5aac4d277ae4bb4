//! Casts and fills, and dropout, which have one right result for each number, against plain loops.

use gpu::{Result, Storage, cast, dropout};

use crate::{
    case::List,
    check::{Bound, Check},
};

/// Numbers that are right to the last bit.
const EXACT: Bound = Bound { relative: 0.0, absolute: f64::MIN_POSITIVE };

/// Casts of one storage to another, with and without a factor, and fills.
pub(crate) fn cases(list: &mut List) {
    for from in Storage::ALL {
        for to in Storage::ALL {
            for n in [1, 8, 15, 2051] {
                let name = format!("{n} to {}", to.name());
                list.add(from, name, move |check| casts(check, from, to, n));
            }
        }
    }
}

fn casts(check: &mut Check, from_storage: Storage, to_storage: Storage, n: usize) -> Result<()> {
    let (from, stored) = check.random(from_storage, n)?;
    let mut to = check.alloc(to_storage, n)?;
    let rounded = |factor: f32| -> Vec<f64> {
        stored.iter().map(|it| f64::from(to_storage.round(*it as f32 * factor))).collect()
    };
    cast::cast(check.device(), n, (&from, from_storage), (&mut to, to_storage))?;
    check.close("cast", &to, to_storage, &rounded(1.0), EXACT)?;
    let times = check.put_plain(&[1.0_f32, 1024.0])?;
    let (from, factor) = ((&from, from_storage), times.slice(4, 4)?);
    cast::cast_times(check.device(), n, from, (&mut to, to_storage), factor)?;
    check.close("cast times 1024", &to, to_storage, &rounded(1024.0), EXACT)?;
    cast::fill(check.device(), n, &mut to, to_storage, 0.3)?;
    let want = vec![f64::from(to_storage.round(0.3)); n];
    check.close("fill", &to, to_storage, &want, EXACT)
}

/// Dropout of odd lengths.
pub(crate) fn dropouts(list: &mut List) {
    let lengths =
        [(Storage::F32, 10), (Storage::Bf16, 2 * 3 * 700), (Storage::F16, 64), (Storage::F16, 1)];
    for (storage, n) in lengths {
        for storage in list.storages(&[storage]) {
            list.add(storage, n.to_string(), move |check| dropped(check, storage, n));
        }
    }
}

/// Dropout keeps what the mask says; where nothing is kept, neither is a NaN.
fn dropped(check: &mut Check, storage: Storage, n: usize) -> Result<()> {
    let kept = 1.0 / 0.7_f32;
    let bits: Vec<bool> = (0..n).map(|idx| idx * idx % 7 < 4).collect();
    let mask = check.put_plain(&dropout::mask(bits.iter().copied()))?;
    let mut numbers = check.numbers(n, -2.0, 2.0);
    numbers.iter_mut().zip(&bits).filter(|it| !it.1).for_each(|(x, _)| *x = f32::NAN);
    let (x, stored) = check.put(storage, &numbers)?;
    let mut y = check.alloc(storage, n)?;
    dropout::dropout(check.device(), (n, storage), &x, (&mask, kept), &mut y)?;
    let one = |(x, is_kept): (&f64, &bool)| if *is_kept { x * f64::from(kept) } else { 0.0 };
    let want: Vec<f64> = stored.iter().zip(&bits).map(one).collect();
    let bound = Bound { relative: storage.unit() + 1e-5, absolute: 1e-5 };
    check.close("dropout", &y, storage, &want, bound)
}
