//! JPEGs of every kind, compared with libjpeg-turbo: those of tests/golden/jpeg_matrix.py.
//!
//! A few are in the repository; the environment variable `JPEG_MATRIX` names a file with all of them.

use std::{
    env,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use base::Seed;
use image::imageops::crop_imm;
use rand::Rng as _;

use crate::{
    DecodeError, Image,
    jpeg::{Header, decode},
};

/// The maximum difference of a byte from libjpeg-turbo's.
const TOLERANCE: u8 = 3;

/// The result of the comparison.
#[derive(Debug, Default)]
struct Comparison {
    n_files: usize,
    n_rejected: usize,
    /// Decoded by only one of the two.
    only_here: Vec<String>,
    only_there: Vec<String>,
    n_paths: usize,
    /// The largest difference at each reduction: 1, 2, 4, 8.
    worst: [u8; 4],
    wrong: Vec<String>,
}

struct Entry {
    name: String,
    jpeg: Vec<u8>,
    results: Vec<Image>,
}

fn entry(from: &mut impl Read) -> Option<Entry> {
    let name = String::from_utf8(bytes(from)?).unwrap();
    let jpeg = bytes(from).unwrap();
    let n = number(from).unwrap();
    let mut image = || {
        let [h, w] = [0; 2].map(|_| number(from).unwrap());
        let mut pixels = vec![0; (h * w * 3) as usize];
        from.read_exact(&mut pixels).unwrap();
        Image::from_raw(w, h, pixels).unwrap()
    };
    let results = (0..n).map(|_| image()).collect();
    Some(Entry { name, jpeg, results })
}

fn number(from: &mut impl Read) -> Option<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn bytes(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = vec![0; number(from)? as usize];
    from.read_exact(&mut bytes).unwrap();
    Some(bytes)
}

fn compare(path: &Path) -> Comparison {
    let mut from = BufReader::new(File::open(path).unwrap());
    let mut comparison = Comparison::default();
    let rng = &mut Seed(0).stream("rectangles");
    while let Some(Entry { name, jpeg, results }) = entry(&mut from) {
        comparison.n_files += 1;
        let read = |reduction: usize| {
            let header = Header::read(&jpeg)?;
            let [h, w] = header.size.map(|it| it.div_ceil(reduction));
            Ok::<_, DecodeError>((decode(&header, reduction, [0..h, 0..w])?, header))
        };
        match (read(1).is_ok(), results.is_empty()) {
            (false, true) => comparison.n_rejected += 1,
            (true, true) => comparison.only_here.push(name),
            (false, false) => comparison.only_there.push(name),
            (true, false) => {
                for (it, want) in results.iter().enumerate() {
                    let (got, header) = read(1 << it).unwrap();
                    assert_eq!(got.dimensions(), want.dimensions(), "{name}");
                    let off = got.iter().zip(want.iter()).map(|(a, b)| a.abs_diff(*b)).max();
                    comparison.worst[it] = comparison.worst[it].max(off.unwrap_or(0));
                    comparison.n_paths += 1;
                    let mut is_wrong = off > Some(TOLERANCE);
                    for _ in 0..3 {
                        let [rows, columns] = [got.height(), got.width()].map(|side| {
                            let start = rng.random_range(0..side as usize);
                            start..rng.random_range(start + 1..=side as usize)
                        });
                        let [y, x] = [&rows, &columns].map(|it| it.start as u32);
                        let [h, w] = [&rows, &columns].map(|it| it.len() as u32);
                        let part = decode(&header, 1 << it, [rows, columns]).unwrap();
                        is_wrong |= part != crop_imm(&got, x, y, w, h).to_image();
                        comparison.n_paths += 1;
                    }
                    if is_wrong {
                        comparison.wrong.push(format!("{name} at 1/{}: off by {off:?}", 1 << it));
                    }
                }
            }
        }
    }
    comparison
}

#[test]
fn every_kind_of_jpeg_is_decoded_as_by_libjpeg_turbo_or_rejected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/jpeg/matrix.bin");
    let comparison = compare(&root);
    assert!(comparison.n_files >= 50 && comparison.n_paths >= 50 * 4, "{comparison:?}");
    assert!(comparison.wrong.is_empty() && comparison.only_here.is_empty(), "{comparison:#?}");
    assert_eq!((comparison.only_there.len(), comparison.n_rejected), (0, 2), "{comparison:#?}");
}

#[test]
fn all_kinds_in_the_file_of_jpeg_matrix() {
    let Some(path) = env::var_os("JPEG_MATRIX") else {
        println!("skipped: `JPEG_MATRIX` is not set to a file of tests/golden/jpeg_matrix.py");
        return;
    };
    let comparison = compare(path.as_ref());
    println!(
        "{} files: {} decoded, {} rejected by both, {} only here, {} only by Pillow; {} paths; largest \
         difference {:?} of 255 at 1, 1/2, 1/4, 1/8; {} wrong",
        comparison.n_files,
        comparison.n_files
            - comparison.n_rejected
            - comparison.only_here.len()
            - comparison.only_there.len(),
        comparison.n_rejected,
        comparison.only_here.len(),
        comparison.only_there.len(),
        comparison.n_paths,
        comparison.worst,
        comparison.wrong.len()
    );
    assert!(
        comparison.wrong.is_empty(),
        "{:#?}",
        &comparison.wrong[..comparison.wrong.len().min(20)]
    );
    assert!(comparison.only_here.is_empty() && comparison.only_there.is_empty(), "{comparison:#?}");
}
