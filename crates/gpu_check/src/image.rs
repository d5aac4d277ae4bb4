//! Rendering of batches and enlargement of images against plain loops.

use gpu::{
    Result, Storage,
    image::{Area, Erased, Fill, Images, Layer, Sample, Stretch, normalise, upsample},
};

use crate::{
    case::List,
    check::{Bound, Check},
};

const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Irregular bytes.
fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|it| (it * it * 7 + it * 31) as u8).collect()
}

fn whole(image: usize) -> Sample {
    Sample { image, over: None, erased: Vec::new() }
}

/// The rows of a batch by the definition, `[n, h, w, 3]`.
fn rendered(pixels: &[u8], [h, w]: [usize; 2], samples: &[Sample]) -> Vec<f64> {
    let z = |image: usize, y: usize, x: usize, colour: usize| {
        let byte = pixels[((image * h + y) * w + x) * 3 + colour];
        (f64::from(byte) / 255.0 - MEAN[colour]) / STD[colour]
    };
    let within = |area: &Area, y: usize, x: usize| {
        let (y, x) = (y.checked_sub(area.top as usize)?, x.checked_sub(area.left as usize)?);
        (y < area.height as usize && x < area.width as usize).then_some((y, x))
    };
    let mut all = Vec::new();
    for sample in samples {
        for (y, x, colour) in (0..h * w * 3).map(|it| (it / 3 / w, it / 3 % w, it % 3)) {
            let mut value = z(sample.image, y, x, colour);
            if let Some(layer) = sample.over
                && let Some((down, across)) = within(&layer.area, y, x)
            {
                let [top, left] = layer.from.map(|it| it as usize);
                let above = z(layer.image, top + down, left + across, colour);
                value = (1.0 - layer.share) * value + layer.share * above;
            }
            for Erased { area, fill } in &sample.erased {
                if let Some((down, across)) = within(area, y, x) {
                    value = f64::from(match fill {
                        Fill::Colour(it) => it[colour],
                        Fill::Pixels(it) => it[(down * area.width as usize + across) * 3 + colour],
                    });
                }
            }
            all.push(value);
        }
    }
    all
}

/// Six samples of three images: plain, mixed, with a layer, erased, and with a layer of no rows.
fn samples([h, w]: [u32; 2]) -> Vec<Sample> {
    let area = Area { top: 1, left: 2, height: 3, width: 4 };
    let layer = |area, from, share| Some(Layer { image: 2, area, from, share });
    let entire = Area { top: 0, left: 0, height: h, width: w };
    let colour = Erased { area, fill: Fill::Colour([0.5, -1.0, 2.0]) };
    let small = Area { top: 3, left: 4, height: 2, width: 3 };
    let noise =
        Erased { area: small, fill: Fill::Pixels((0..18).map(|it| it as f32 / 4.0).collect()) };
    let erased = vec![colour.clone(), noise.clone()];
    vec![
        whole(1),
        Sample { over: layer(entire, [0, 0], 0.3), ..whole(0) },
        Sample { over: layer(area, [2, 0], 1.0), ..whole(1) },
        Sample { over: layer(area, [0, 3], 0.6), erased, ..whole(0) },
        Sample { erased: vec![noise, colour], ..whole(2) },
        Sample { over: layer(Area { height: 0, ..area }, [0, 0], 0.5), ..whole(2) },
    ]
}

fn mixed(check: &mut Check, storage: Storage, channels: usize) -> Result<()> {
    let size @ [h, w] = [5, 7];
    let pixels = bytes(3 * h * w * 3);
    let samples = samples([5, 7]);
    let want = rendered(&pixels, size, &samples);
    let buffer = check.put_plain(&pixels)?;
    let images = Images { pixels: buffer.whole(), n: 3, size, mean: MEAN, std: STD };
    let mut ys = check.alloc(storage, samples.len() * h * w * channels)?;
    normalise(check.device(), &images, &samples, storage, channels, &mut ys)?;
    let pixel = |it: &[f64]| [it, &vec![0.0; channels - 3]].concat();
    let want: Vec<f64> = want.chunks(3).flat_map(pixel).collect();
    let bound = Bound { relative: storage.unit() + 1e-6, absolute: 1e-6 };
    check.close("pixels", &ys, storage, &want, bound)
}

/// Two pixels to four, whose centres are at -1/4, 1/4, 3/4 and 5/4: the outermost have one pixel alone.
fn two_to_four(check: &mut Check) -> Result<()> {
    let from = check.put_plain(&[0u8, 100, 255, 40, 101, 0])?;
    let want = [0, 100, 255, 10, 100, 191, 30, 101, 64, 40, 101, 0];
    let mut to = check.device().alloc(12)?;
    let stretch = Stretch { n: 2, start: 0.0, length: 2.0, size: 4 };
    upsample(check.device(), &stretch, (1, 3), &from, &mut to)?;
    let got = check.bytes(&to)?;
    check.holds("pixels", got == want, || format!("{got:?} instead of {want:?}"));
    Ok(())
}

/// Pixels are interpolated between their neighbours, and rounded to a byte.
fn enlarged(check: &mut Check, stretch: Stretch, outer: usize, inner: usize) -> Result<()> {
    let Stretch { n, start, length, size } = stretch;
    let source = bytes(outer * n * inner);
    let from = check.put_plain(&source)?;
    let mut to = check.device().alloc(outer * size * inner)?;
    upsample(check.device(), &stretch, (outer, inner), &from, &mut to)?;
    let wanted = |idx: usize| {
        let (rest, pixel, line) = (idx % inner, idx / inner % size, idx / inner / size);
        let place =
            (start + (pixel as f64 + 0.5) * length / size as f64 - 0.5).clamp(0.0, n as f64 - 1.0);
        let at = |pixel: usize| f64::from(source[(line * n + pixel.min(n - 1)) * inner + rest]);
        at(place as usize) * (1.0 - place.fract()) + at(place as usize + 1) * place.fract()
    };
    let got: Vec<f64> = check.bytes(&to)?.into_iter().map(f64::from).collect();
    let want: Vec<f64> = (0..got.len()).map(wanted).collect();
    check.near("pixels", &got, &want, Bound { relative: 0.0, absolute: 0.51 });
    Ok(())
}

pub(crate) fn cases(list: &mut List) {
    for storage in Storage::ALL {
        for channels in [3, 4, 5, 8] {
            let name = format!("6 mixed samples, {channels} channels");
            list.add(storage, name, move |check| mixed(check, storage, channels));
        }
    }
    list.add(Storage::F32, "2 pixels enlarged to 4".into(), two_to_four);
    for (outer, n, inner, start, length, size) in
        [(2, 5, 3, 0.9, 3.8, 8), (1, 7, 33, 0.0, 7.0, 7), (3, 9, 3, 2.5, 6.5, 61)]
    {
        let stretch = Stretch { n, start, length, size };
        let name = format!("{outer}x{n}x{inner} enlarged to {size}");
        list.add(Storage::F32, name, move |check| enlarged(check, stretch, outer, inner));
    }
}
