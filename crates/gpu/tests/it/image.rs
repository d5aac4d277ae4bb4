//! Rendering of batches, enlargement of images, casts, against plain loops.

use gpu::{
    Storage, cast,
    image::{Area, Erased, Fill, Images, Layer, Sample, Stretch, normalise, upsample},
};

use crate::harness::{Bound, Test};

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

#[test]
fn mixed_samples_are_rendered() {
    let test = Test::new();
    let size @ [h, w] = [5, 7];
    let pixels = bytes(3 * h * w * 3);
    let area = Area { top: 1, left: 2, height: 3, width: 4 };
    let layer = |area, from, share| Some(Layer { image: 2, area, from, share });
    let entire = Area { top: 0, left: 0, height: 5, width: 7 };
    let colour = Erased { area, fill: Fill::Colour([0.5, -1.0, 2.0]) };
    let small = Area { top: 3, left: 4, height: 2, width: 3 };
    let noise =
        Erased { area: small, fill: Fill::Pixels((0..18).map(|it| it as f32 / 4.0).collect()) };
    let samples = [
        whole(1),
        Sample { over: layer(entire, [0, 0], 0.3), ..whole(0) },
        Sample { over: layer(area, [2, 0], 1.0), ..whole(1) },
        Sample {
            over: layer(area, [0, 3], 0.6),
            erased: vec![colour.clone(), noise.clone()],
            ..whole(0)
        },
        Sample { erased: vec![noise, colour], ..whole(2) },
        Sample { over: layer(Area { height: 0, ..area }, [0, 0], 0.5), ..whole(2) },
    ];
    let want = rendered(&pixels, size, &samples);
    let buffer = test.put_plain(&pixels);
    let images = Images { pixels: buffer.whole(), n: 3, size, mean: MEAN, std: STD };
    for storage in Storage::ALL {
        for channels in [3, 4, 5, 8] {
            let n = samples.len() * h * w * channels;
            let mut ys = test.alloc(storage, n);
            normalise(test.device(), &images, &samples, storage, channels, &mut ys).unwrap();
            let pixel = |it: &[f64]| [it, &vec![0.0; channels - 3]].concat();
            let want: Vec<f64> = want.chunks(3).flat_map(pixel).collect();
            let bound = Bound { relative: storage.unit() + 1e-6, absolute: 1e-6 };
            test.close(&format!("{channels} channels"), &ys, storage, &want, bound);
        }
    }
    let mut ys = test.alloc(Storage::F32, h * w * 3);
    let mut fails = |sample: Sample| {
        let err =
            normalise(test.device(), &images, &[sample], Storage::F32, 3, &mut ys).unwrap_err();
        err.to_string()
    };
    let err = fails(whole(3));
    assert!(err.contains("image 3, there are 3"), "{err}");
    let err = fails(Sample { over: layer(area, [3, 0], 0.5), ..whole(0) });
    assert!(err.contains("not within"), "{err}");
    let short = Erased { area, fill: Fill::Pixels(vec![0.0; 3]) };
    let err = fails(Sample { erased: vec![short], ..whole(0) });
    assert!(err.contains("do not fill"), "{err}");
}

#[test]
fn pixels_are_interpolated_between_their_neighbours() {
    let test = Test::new();
    // Two pixels to four, whose centres are at -1/4, 1/4, 3/4 and 5/4: the outermost have one pixel alone.
    let from = test.put_plain(&[0u8, 100, 255, 40, 101, 0]);
    let want = [0, 100, 255, 10, 100, 191, 30, 101, 64, 40, 101, 0];
    let mut to = test.device().alloc(12).unwrap();
    let stretch = Stretch { n: 2, start: 0.0, length: 2.0, size: 4 };
    upsample(test.device(), &stretch, (1, 3), &from, &mut to).unwrap();
    assert_eq!(test.bytes(&to), want);
    for (outer, n, inner, start, length, size) in
        [(2, 5, 3, 0.9, 3.8, 8), (1, 7, 33, 0.0, 7.0, 7), (3, 9, 3, 2.5, 6.5, 61)]
    {
        let source = bytes(outer * n * inner);
        let from = test.put_plain(&source);
        let mut to = test.device().alloc(outer * size * inner).unwrap();
        let stretch = Stretch { n, start, length, size };
        upsample(test.device(), &stretch, (outer, inner), &from, &mut to).unwrap();
        for (idx, got) in test.bytes(&to).into_iter().enumerate() {
            let (rest, pixel, line) = (idx % inner, idx / inner % size, idx / inner / size);
            let place = (start + (pixel as f64 + 0.5) * length / size as f64 - 0.5)
                .clamp(0.0, n as f64 - 1.0);
            let at = |pixel: usize| f64::from(source[(line * n + pixel.min(n - 1)) * inner + rest]);
            let want =
                at(place as usize) * (1.0 - place.fract()) + at(place as usize + 1) * place.fract();
            assert!(
                (f64::from(got) - want).abs() <= 0.51,
                "{stretch:?}, byte {idx}: {got}, not {want}"
            );
        }
    }
    let err = upsample(test.device(), &Stretch { length: 3.0, ..stretch }, (1, 3), &from, &mut to)
        .unwrap_err();
    assert!(err.to_string().contains("not a part"), "{err}");
}

#[test]
fn numbers_are_cast_and_filled() {
    let mut test = Test::new();
    let times = test.put_plain(&[1.0_f32, 1024.0]);
    for from_storage in Storage::ALL {
        for to_storage in Storage::ALL {
            for n in [1, 8, 15, 2051] {
                let (from, stored) = test.random(from_storage, n);
                let mut to = test.alloc(to_storage, n);
                cast::cast(test.device(), n, (&from, from_storage), (&mut to, to_storage)).unwrap();
                let want: Vec<f64> =
                    stored.iter().map(|it| f64::from(to_storage.round(*it as f32))).collect();
                assert_eq!(test.get(&to, to_storage), want);
                let factor = times.slice(4, 4).unwrap();
                cast::cast_times(
                    test.device(),
                    n,
                    (&from, from_storage),
                    (&mut to, to_storage),
                    factor,
                )
                .unwrap();
                let want: Vec<f64> = stored
                    .iter()
                    .map(|it| f64::from(to_storage.round(*it as f32 * 1024.0)))
                    .collect();
                assert_eq!(test.get(&to, to_storage), want);
                cast::fill(test.device(), n, &mut to, to_storage, 0.3).unwrap();
                assert!(
                    test.get(&to, to_storage)
                        .iter()
                        .all(|it| *it == f64::from(to_storage.round(0.3)))
                );
            }
        }
    }
}
