mod matrix;

use std::{fs, ops::Range, path::Path};

use base::Seed;
use image::{
    ExtendedColorType, ImageFormat,
    codecs::jpeg::JpegEncoder,
    imageops::{self, crop_imm},
};
use rand::Rng as _;

use super::{Header, decode};
use crate::{DecodeError, Image, decode::Encoded};

/// The files of tests/golden/jpeg.py, with libjpeg-turbo's results.
fn goldens() -> Vec<(String, Vec<u8>, Image)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/jpeg");
    let paths = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let jpegs = paths.filter(|it| it.extension().is_some_and(|it| it == "jpg"));
    jpegs
        .map(|path| {
            let want = image::open(format!("{}.want.png", path.display())).unwrap().into_rgb8();
            (path.display().to_string(), fs::read(path).unwrap(), want)
        })
        .collect()
}

fn whole(image: &Image) -> [Range<usize>; 2] {
    [0..image.height() as usize, 0..image.width() as usize]
}

#[test]
fn every_kind_of_jpeg_is_decoded_as_by_libjpeg() {
    let goldens = goldens();
    assert!(goldens.len() >= 25);
    for (name, bytes, want) in goldens {
        let got = decode(&Header::read(&bytes).unwrap(), 1, whole(&want)).unwrap();
        assert!(got == want, "{name}");
    }
}

#[test]
fn a_part_equals_the_crop_of_the_whole() {
    let rng = &mut Seed(0).stream("parts");
    for (name, bytes, want) in goldens() {
        let header = Header::read(&bytes).unwrap();
        for _ in 0..50 {
            let [rows, columns] = whole(&want).map(|side| {
                let start = rng.random_range(side.clone());
                start..rng.random_range(start + 1..=side.end)
            });
            let (x, y) = (columns.start as u32, rows.start as u32);
            let (w, h) = (columns.len() as u32, rows.len() as u32);
            let part = crop_imm(&want, x, y, w, h).to_image();
            let got = decode(&header, 1, [rows.clone(), columns.clone()]).unwrap();
            assert!(got == part, "{name}: {rows:?}, {columns:?}");
        }
    }
}

#[test]
fn damage_never_panics() {
    let rng = &mut Seed(0).stream("damage");
    let mut n_read = 0;
    for (_, bytes, want) in goldens() {
        for it in 0..400 {
            let mut bytes = bytes.clone();
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            if it % 4 == 0 {
                bytes.truncate(rng.random_range(0..bytes.len()));
            }
            if let Ok(header) = Header::read(&bytes)
                && header.size == [want.height() as usize, want.width() as usize]
            {
                n_read += usize::from(decode(&header, 1, whole(&want)).is_ok());
            }
        }
    }
    // Most bit patterns are valid.
    assert!(n_read > 1000);
}

#[test]
fn unsupported_kinds_are_described() {
    let image = Image::from_pixel(20, 10, image::Rgb([1, 200, 30]));
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new(&mut bytes)).unwrap();
    assert!(Header::read(&bytes).is_ok());
    let frame = bytes.windows(2).position(|it| it == [0xff, 0xc0]).unwrap();
    for (at, value, what) in [
        (frame + 1, 0xc3, "lossless coding"),
        (frame + 1, 0xc5, "hierarchical coding"),
        (frame + 1, 0xc9, "arithmetic coding"),
        (frame + 1, 0xca, "arithmetic coding"),
        (frame + 4, 12, "12 bits per sample"),
        (frame + 6, 0, "the number of rows after the first scan (DNL)"),
        (frame + 9, 2, "2 components"),
        (frame + 11, 0x32, "fractional sampling ratios"),
    ] {
        let mut other = bytes.clone();
        other[at] = value;
        if what.contains("fraction") {
            other[frame + 14] = 0x21;
        }
        let err = Header::read(&other).err();
        let want = DecodeError::Unsupported { format: "JPEG", what: what.to_owned() };
        assert_eq!(err, Some(want), "{what}");
    }
    for n in 0..bytes.len() {
        let cut = Header::read(&bytes[..n]).and_then(|it| decode(&it, 1, whole(&image)));
        assert_eq!(cut.err(), Some(DecodeError::Truncated), "cut to {n}");
    }
}

#[test]
fn a_part_is_correct_at_every_orientation() {
    let (_, bytes, _) = goldens().into_iter().find(|it| it.0.contains("420_48x64")).unwrap();
    for orientation in 1..=8 {
        // An EXIF segment with only the orientation.
        let mut tiff = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        tiff.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let mut oriented = vec![0xff, 0xd8, 0xff, 0xe1, 0, tiff.len() as u8 + 2];
        oriented.extend(tiff);
        oriented.extend(&bytes[2..]);
        let encoded = Encoded::open(&oriented, 1 << 20).unwrap();
        let all = encoded.decode().unwrap();
        let is_transposed = orientation > 4;
        assert_eq!(encoded.size(), if is_transposed { [64, 48] } else { [48, 64] });
        assert_eq!([all.height(), all.width()].map(|it| it as usize), encoded.size());
        let part = encoded.decode_part([1.0; 2], [5..40, 17..31]).unwrap();
        assert_eq!((part.origin, part.reduction), ([5.0, 17.0], 1));
        assert!(part.image == crop_imm(&all, 17, 5, 14, 35).to_image(), "{orientation}");
    }
}

#[test]
fn every_quality_approximates_the_other_decoder() {
    let image = Image::from_fn(50, 40, |x, y| image::Rgb([(x * 5) as u8, (y * 6) as u8, 90]));
    for quality in 1..=100 {
        for grey in [false, true] {
            let mut bytes = Vec::new();
            let encoder = &mut JpegEncoder::new_with_quality(&mut bytes, quality);
            match grey {
                true => encoder.encode(&imageops::grayscale(&image), 50, 40, ExtendedColorType::L8),
                false => encoder.encode(&image, 50, 40, ExtendedColorType::Rgb8),
            }
            .unwrap();
            let got = decode(&Header::read(&bytes).unwrap(), 1, [0..40, 0..50]).unwrap();
            let want = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg).unwrap();
            let off = got.iter().zip(want.into_rgb8().iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off <= Some(3), "{quality}: {off:?}");
        }
    }
}

#[test]
fn a_file_of_very_many_scans_is_refused() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
    let bytes = fs::read(images.join("progressive_thumbnail.jpg")).unwrap();
    let find = |from: usize, is_it: &dyn Fn(&[u8]) -> bool| {
        from + bytes[from..].windows(2).position(is_it).unwrap()
    };
    // Its first scan, with the DC coefficients: again and again it is the same image.
    let start = find(find(0, &|it| it == [0xff, 0xc2]), &|it| it == [0xff, 0xda]);
    let end = find(start + 2, &|it| it[0] == 0xff && !matches!(it[1], 0 | 0xd0..=0xd7));
    let with = |n: usize| [&bytes[..end], &bytes[start..end].repeat(n), &bytes[end..]].concat();
    let want = crate::decode(&bytes, 10_000).unwrap();
    assert!(crate::decode(&with(10), 10_000).unwrap() == want);
    let refused = crate::decode(&with(500), 10_000).err().unwrap();
    assert_eq!(refused, DecodeError::Damaged("it has more than 500 scans".to_owned()));
}
