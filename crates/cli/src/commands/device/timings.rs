//! The section of timings: typical layers at batch 128, beside the least time that the card could take.

use gpu::{Device, Error, Storage};
use gpu_check::{Check, Limits, Time, TimedLayer, Timer, timed_layers};
use serde_json::{Value, json};

use super::section::{Section, heed};
use crate::{
    style::{headed, labelled},
    wrap::{columns, wrapped},
};

/// Images of a batch, and their height and width.
const BATCH: [usize; 2] = [128, 224];
/// Runs that a time is the median of.
const RUNS: usize = 11;
/// Bytes to copy, to measure the bandwidth.
const COPIED: usize = 1 << 30;

/// A pass in each of [`Storage::ALL`].
struct Row {
    family: &'static str,
    layer: String,
    pass: String,
    times: [Option<Timed>; 3],
}

#[derive(Clone, Copy)]
struct Timed {
    time: Time,
    floors: [Option<f64>; 2],
}

/// Times the layers of these families.
pub(super) fn section(
    device: &Device,
    only: &[&str],
    should_stop: &dyn Fn() -> bool,
) -> anyhow::Result<Section> {
    let [n, side] = BATCH;
    let layers: Vec<_> =
        timed_layers(n, side).into_iter().filter(|it| only.contains(&it.family)).collect();
    status!("timing {} layers at batch {n}", layers.len());
    device.set_caching(true)?;
    let limits = Limits::measure(device, COPIED.min(device.free_memory()?.0 / 8), RUNS)?;
    let mut timer = Timer::new(device, RUNS, 2 * (device.info().cache as usize).max(1 << 24))?;
    let (mut rows, mut left_out, mut is_broken) = (Vec::new(), Vec::new(), false);
    'all: for layer in &layers {
        for (place, storage) in Storage::ALL.into_iter().enumerate() {
            heed(should_stop)?;
            let timed = time(device, layer, storage, &limits, &mut timer);
            // The next layer asks for other sizes.
            match timed.and_then(|it| device.empty_cache().map(|()| it)) {
                Ok(times) => add(&mut rows, layer, place, times),
                Err(err) => {
                    let (family, name) = (layer.family, &layer.name);
                    left_out.push(format!("{family} {name} in {}: {err}", storage.name()));
                    if matches!(err, Error::Driver { .. }) {
                        is_broken = true;
                        break 'all;
                    }
                }
            }
        }
    }
    let mut text = table(&rows) + "\n" + &explained(device, &limits);
    for it in &left_out {
        text += &format!("{}\n", labelled(&format!("note: {it}")));
    }
    let json = json!({
        "batch": n,
        "size": side,
        "bandwidth": limits.bandwidth,
        "peak_f32": limits.f32,
        "peak_tensor": limits.tensor,
        "passes": rows.iter().flat_map(Row::json).collect::<Vec<_>>(),
        "left_out": left_out,
    });
    Ok(Section { name: "timings", text, json, n_failed: usize::from(is_broken) })
}

/// The times of a layer's passes.
fn time(
    device: &Device,
    layer: &TimedLayer,
    storage: Storage,
    limits: &Limits,
    timer: &mut Timer,
) -> gpu::Result<Vec<(String, Timed)>> {
    let is_product = ["product", "conv", "grouped-conv"].contains(&layer.family);
    let mut times = Vec::new();
    let each = &mut |pass: &str, run: &mut dyn FnMut() -> gpu::Result<()>| {
        let time = timer.time(run)?;
        let floors = limits.floors(&time, storage, is_product);
        times.push((pass.to_owned(), Timed { time, floors }));
        Ok(())
    };
    layer.passes(&mut Check::without_reference(device), storage, each)?;
    Ok(times)
}

/// Adds the times of a layer in one storage to its rows.
fn add(rows: &mut Vec<Row>, layer: &TimedLayer, place: usize, times: Vec<(String, Timed)>) {
    for (pass, timed) in times {
        let is_it =
            |it: &Row| (it.family, &it.layer, &it.pass) == (layer.family, &layer.name, &pass);
        let idx = rows.iter().position(is_it).unwrap_or_else(|| {
            let (family, layer) = (layer.family, layer.name.clone());
            rows.push(Row { family, layer, pass, times: [None; 3] });
            rows.len() - 1
        });
        rows[idx].times[place] = Some(timed);
    }
}

/// A row for each pass; the layer is named in a row of its own.
fn table(rows: &[Row]) -> String {
    let header = ["time", "f32 µs", "floor", "bf16 µs", "floor", "f16 µs", "floor"];
    let mut lines = vec![header.map(str::to_owned)];
    let mut layer = String::new();
    for row in rows {
        let name = format!("{} {}", row.family, row.layer);
        if name != layer {
            let cells =
                std::array::from_fn(|idx| if idx == 0 { name.clone() } else { String::new() });
            lines.push(cells);
            layer = name;
        }
        let [f32, bf16, f16] = row.times.map(|it| it.map(Timed::cells).unwrap_or_default());
        let pass = format!("  {}", row.pass);
        let ([a, b], [c, d], [e, f]) = (f32, bf16, f16);
        lines.push([pass, a, b, c, d, e, f]);
    }
    headed(&columns(&lines, &[false, true, true, true, true, true, true]))
}

fn explained(device: &Device, limits: &Limits) -> String {
    let tera = |it: f64| format!("{:.1}", it * 1e-12);
    let mut text = format!(
        "floor: the time over the least that the card could take, by bytes (b) at {} TB/s, as it copies its own \
         memory",
        tera(limits.bandwidth),
    );
    text += &match (limits.f32, limits.tensor) {
        (Some(f32), Some(tensor)) => format!(
            ", or by operations (o) at {} TFLOP/s in f32 and {} TFLOP/s in bf16 and f16, by its clock and its {} \
             multiprocessors",
            tera(f32),
            tera(tensor),
            device.info().multiprocessors,
        ),
        _ => "; what it computes at most is not known for its generation".to_owned(),
    };
    wrapped("", &text) + "\n"
}

impl Timed {
    /// The time in µs, and over its floor: the larger one, of bytes or of operations.
    fn cells(self) -> [String; 2] {
        let [bytes, operations] = self.floors.map(|it| it.unwrap_or(0.0));
        let letter = if bytes >= operations { "b" } else { "o" };
        let over = self.time.seconds / bytes.max(operations);
        [format!("{:.0}", self.time.seconds * 1e6), format!("{over:.1} {letter}")]
    }
}

impl Row {
    fn json(&self) -> Vec<Value> {
        let one = |(storage, timed): (Storage, Option<Timed>)| {
            let Timed { time, floors } = timed?;
            Some(json!({
                "family": self.family,
                "layer": self.layer,
                "pass": self.pass,
                "storage": storage.name(),
                "seconds": time.seconds,
                "launches": time.launches,
                "bytes": time.bytes,
                "operations": time.operations,
                "floor_bytes": floors[0],
                "floor_operations": floors[1],
            }))
        };
        Storage::ALL.into_iter().zip(self.times).filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use expect_test::expect;
    use gpu_check::Time;

    use super::{Row, Timed, table};

    #[test]
    fn times_stand_beside_the_larger_floor() {
        let time = Time { seconds: 123.4e-6, launches: 1, bytes: 8, operations: 9 };
        let bytes = Timed { time, floors: [Some(100e-6), Some(61.7e-6)] };
        let operations = Timed { floors: [Some(10e-6), Some(61.7e-6)], ..bytes };
        let unknown = Timed { floors: [Some(100e-6), None], ..bytes };
        let row = |pass: &str, times| Row {
            family: "product",
            layer: "112x112, 16->96".into(),
            pass: pass.into(),
            times,
        };
        let rows = [
            row("forward", [Some(bytes), Some(operations), Some(unknown)]),
            row("input gradient", [None, Some(bytes), None]),
        ];
        expect![[r#"
            time                     f32 µs  floor  bf16 µs  floor  f16 µs  floor
            product 112x112, 16->96
              forward                   123  1.2 b      123  2.0 o     123  1.2 b
              input gradient                            123  1.2 b"#]]
        .assert_eq(&strip_str(&table(&rows)).to_string());
    }
}
