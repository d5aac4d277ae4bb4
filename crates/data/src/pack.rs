//! A pack: images decoded and transformed by the leading deterministic steps of a pipeline, in one file.
//!
//! Decoding is most of the work of loading. The deterministic steps (a resize, a centre crop) are done once
//! and saved: an epoch reads an image's pixels from the file and applies the remaining steps.
//! There is one pack per folder of images, steps and version of the decoders.
//! After the pixels of all images it contains a line for each: the offset of its pixels, its height and
//! width, the CRC-32 of its pixels, which is checked whenever they are read, the size and modification time of
//! its file, and its name. Reading by position instead of mapping the file into memory costs one copy, which is
//! needed anyway, and truncating the file causes an error instead of ending the process.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    os::unix::fs::FileExt as _,
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use augment::{Cache, Image, Pipeline, PipelineError};
use base::{
    files::{remove_leftovers, remove_leftovers_of, write_atomic_with},
    rng::fnv1a,
};
use rayon::prelude::*;

use crate::Content;

/// A file of decoded images.
#[derive(Debug)]
pub struct Pack {
    file: File,
    path: PathBuf,
    /// The place of each image, by its index among those of the run.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    height: u32,
    width: u32,
    crc: u32,
}

/// Why a pack cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file cannot be written or read.
    #[error("{path}: {source}")]
    Io {
        /// The pack.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// An image cannot be read or prepared.
    #[error("{name}: {reason}")]
    Image {
        /// The image.
        name: String,
        /// The reason.
        reason: String,
    },
    /// Images have changed since the pack was written.
    #[error(
        "{path}: this pack is stale: of {n} images, {changed} changed or were added after it was \
         written, such as {example}: write it again with `maskfit data pack`, or delete it"
    )]
    Stale {
        /// The pack.
        path: String,
        /// The number of images of the run.
        n: usize,
        /// The number of those that the pack lacks or has in another version.
        changed: usize,
        /// The first of them.
        example: String,
    },
    /// The file is not a pack, or truncated.
    #[error("{0}: this is not a pack, or it is truncated: delete it")]
    Damaged(String),
}

/// The first bytes of a pack. The version is increased when a decoder or a step outputs other pixels than in
/// an earlier version, or the format changes.
const MAGIC: &[u8; 16] = b"maskfit pack 5\n\0";
/// Number of images that are decoded in parallel and held in memory.
const CHUNK: usize = 256;

/// The packs of a list of images. The files of the images are inspected once for all packs: a run may have
/// one for each of its sizes.
pub struct Packs<'a> {
    dir: &'a Path,
    images: &'a [(String, Content)],
    root: Option<PathBuf>,
    /// The current stamp of each image, if its file can be read.
    stamps: OnceCell<Vec<Option<String>>>,
}

impl<'a> Packs<'a> {
    /// Creates the packs of `images`.
    ///
    /// - `dir`: the folder of packs.
    pub fn new(dir: &'a Path, images: &'a [(String, Content)]) -> Packs<'a> {
        Packs { dir, images, root: root(images), stamps: OnceCell::new() }
    }

    /// Returns the path of the pack of a pipeline.
    pub fn path(&self, pipeline: &Pipeline) -> PathBuf {
        let steps = pipeline.ops[..pipeline.n_fixed()].iter().map(|it| format!("{it:?}"));
        let steps = steps.collect::<Vec<_>>().join("\n");
        let what = format!("{MAGIC:?}\n{steps}\n{:?}", self.root);
        self.dir.join(format!("pack-{:016x}.rgb", fnv1a(what.as_bytes())))
    }

    /// Opens the pack of a pipeline; `None` if there is none.
    ///
    /// # Errors
    /// A pack that is damaged, or lacks the current version of an image.
    pub fn open(&self, pipeline: &Pipeline) -> Result<Option<Pack>, PackError> {
        let path = self.path(pipeline);
        let shown = || path.display().to_string();
        let file = match File::open(&path) {
            Ok(it) => it,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // The temporary file of a killed process may have many gigabytes.
                remove_leftovers_of(&path);
                return Ok(None);
            }
            Err(source) => return Err(PackError::Io { path: shown(), source }),
        };
        let (index, end) = index(&file).map_err(|_| PackError::Damaged(shown()))?;
        let known: HashMap<&str, [&str; 5]> = index.lines().filter_map(fields).collect();
        let mut places = Vec::with_capacity(self.images.len());
        let mut changed = Vec::new();
        for ((name, _), stamp) in self.images.iter().zip(self.stamps()) {
            let line = known.get(name.as_str());
            let is_fresh = |line: &&[&str; 5]| stamp.as_deref() == Some(line[4]);
            match line.filter(is_fresh).map(|it| place(it, end)) {
                Some(Some(place)) => places.push(place),
                Some(None) => return Err(PackError::Damaged(shown())),
                None => changed.push(name),
            }
        }
        match changed.first() {
            None => Ok(Some(Pack { file, path, places })),
            Some(example) => Err(PackError::Stale {
                path: shown(),
                n: self.images.len(),
                changed: changed.len(),
                example: (*example).clone(),
            }),
        }
    }

    fn stamps(&self) -> &[Option<String>] {
        let stamps = || self.images.par_iter().map(|it| stamp(&it.1).ok()).collect();
        self.stamps.get_or_init(stamps)
    }
}

impl Pack {
    /// Writes a pack, and returns its size in bytes.
    ///
    /// `progress` is called with the number of images done, and of all.
    ///
    /// # Errors
    /// Images that cannot be read; a full disk.
    pub fn write(
        path: &Path,
        pipeline: &Pipeline,
        images: &[(String, Content)],
        cache: Option<&dyn Cache>,
        progress: &dyn Fn(usize, usize),
    ) -> Result<u64, PackError> {
        // Temporary files of killed processes; those of other steps would never be overwritten.
        remove_leftovers(path.parent().unwrap_or(Path::new(".")));
        let mut failed = None;
        let mut n_bytes = 0;
        let written = write_atomic_with(path, |file| {
            let mut file = BufWriter::with_capacity(1 << 20, file);
            let mut index = String::new();
            file.write_all(MAGIC)?;
            let mut offset = MAGIC.len() as u64;
            for (chunk_idx, chunk) in images.chunks(CHUNK).enumerate() {
                let prepare = |(name, content): &(String, Content)| {
                    let fails = |reason: String| PackError::Image { name: name.clone(), reason };
                    let stamp = stamp(content).map_err(|it| fails(it.to_string()))?;
                    let bytes = content.bytes().map_err(|it| fails(it.to_string()))?;
                    let image = pipeline.prepare(&bytes, cache);
                    Ok((stamp, image.map_err(|it: PipelineError| fails(it.to_string()))?))
                };
                let prepared: Result<Vec<(String, Image)>, PackError> =
                    chunk.par_iter().map(prepare).collect();
                let prepared = match prepared {
                    Ok(it) => it,
                    Err(err) => {
                        failed = Some(err);
                        return Err(io::Error::other("an image cannot be packed"));
                    }
                };
                for ((name, _), (stamp, image)) in chunk.iter().zip(prepared) {
                    file.write_all(image.as_raw())?;
                    let (w, h) = image.dimensions();
                    let crc = crc32fast::hash(image.as_raw());
                    index += &format!("{offset}\t{h}\t{w}\t{crc:08x}\t{stamp}\t{name}\n");
                    offset += image.as_raw().len() as u64;
                }
                progress(chunk_idx * CHUNK + chunk.len(), images.len());
            }
            file.write_all(index.as_bytes())?;
            file.write_all(&offset.to_le_bytes())?;
            file.write_all(MAGIC)?;
            n_bytes = offset + index.len() as u64 + 8 + MAGIC.len() as u64;
            file.flush()
        });
        match (failed, written) {
            (Some(err), _) => Err(err),
            (None, Err(source)) => Err(PackError::Io { path: path.display().to_string(), source }),
            (None, Ok(())) => Ok(n_bytes),
        }
    }

    /// Returns the path of the file.
    pub fn file(&self) -> &Path {
        &self.path
    }

    /// Returns an image, by its index among those of the run.
    ///
    /// # Errors
    /// A file that was truncated after it was opened, or pixels that are not those that were written.
    pub fn image(&self, idx: usize) -> io::Result<Image> {
        let Place { offset, height, width, crc } = self.places[idx];
        let mut pixels = vec![0; height as usize * width as usize * 3];
        self.file.read_exact_at(&mut pixels, offset)?;
        if crc32fast::hash(&pixels) != crc {
            let path = self.path.display();
            let reason = format!(
                "{path}: this pack is damaged, the checksum of the image's pixels is not the one it was written \
                 with: delete it, and write it again with `maskfit data pack`"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Image::from_raw(width, height, pixels).expect("three bytes per pixel"))
    }
}

/// Reads the lines at the end of a pack, and returns them with the end of the pixels.
fn index(file: &File) -> io::Result<(String, u64)> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let end = file.metadata()?.len();
    let tail = end.checked_sub(8 + MAGIC.len() as u64).ok_or_else(damaged)?;
    let (mut start, mut magic) = ([0; 8], [0; MAGIC.len()]);
    file.read_exact_at(&mut start, tail)?;
    file.read_exact_at(&mut magic, tail + 8)?;
    let start = u64::from_le_bytes(start);
    let length = tail.checked_sub(start).filter(|_| magic == *MAGIC).ok_or_else(damaged)?;
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, start)?;
    Ok((String::from_utf8(text).map_err(|_| damaged())?, start))
}

/// Splits a line into the name and the fields before it.
fn fields(line: &str) -> Option<(&str, [&str; 5])> {
    let mut fields = line.splitn(6, '\t');
    let mut next = || fields.next();
    let before = [next()?, next()?, next()?, next()?, next()?];
    Some((next()?, before))
}

/// - `end`: that of the pixels of all images.
fn place(line: &[&str; 5], end: u64) -> Option<Place> {
    let it = Place {
        offset: line[0].parse().ok()?,
        height: line[1].parse().ok()?,
        width: line[2].parse().ok()?,
        crc: u32::from_str_radix(line[3], 16).ok()?,
    };
    // Damaged numbers must not reserve more memory than the file has pixels.
    let n_bytes = u64::from(it.height).checked_mul(it.width.into())?.checked_mul(3)?;
    (it.offset.checked_add(n_bytes)? <= end).then_some(it)
}

/// Returns a stamp that changes with the content of an image: size and modification time, or size and hash.
fn stamp(content: &Content) -> io::Result<String> {
    match content {
        Content::File(path) => {
            let meta = fs::metadata(path)?;
            let changed = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(format!("{} {}", meta.len(), changed.as_nanos()))
        }
        Content::Memory(bytes) => Ok(format!("{} {:016x}", bytes.len(), fnv1a(bytes))),
    }
}

/// Returns the common folder of all images that are files.
fn root(images: &[(String, Content)]) -> Option<PathBuf> {
    let folders = images.iter().filter_map(|(_, content)| match content {
        Content::File(path) => path.parent(),
        Content::Memory(_) => None,
    });
    // Canonicalising a path accesses the disk for each of its parts: it is done once per folder.
    let mut seen = HashSet::new();
    let mut folders = folders.filter(|it| seen.insert(*it));
    let first = fs::canonicalize(folders.next()?).ok()?;
    let common = |all: PathBuf, dir: &Path| -> PathBuf {
        let Ok(dir) = fs::canonicalize(dir) else { return all };
        let both = all.components().zip(dir.components());
        both.take_while(|(a, b)| a == b)
            .map(|it| it.0)
            .collect::<Vec<Component<'_>>>()
            .iter()
            .collect()
    };
    Some(folders.fold(first, common))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use augment::{Pipeline, StatisticsConfig, Step};
    use base::Seed;

    use super::{Pack, PackError, Packs};
    use crate::Content;

    fn pipeline() -> Pipeline {
        let op = |text: &str| toml::from_str::<Step>(text).unwrap();
        Pipeline {
            ops: vec![
                op("kind = \"resize\"\nsize = [20, 16]"),
                op("kind = \"random_crop\"\nsize = [9, 7]"),
                op("kind = \"horizontal_flip\""),
            ],
            statistics: StatisticsConfig::default().get().known().unwrap(),
            max_pixels: 1 << 20,
        }
    }

    /// Writes images to a folder, and returns them with their names.
    fn images(dir: &std::path::Path) -> Vec<(String, Content)> {
        let one = |idx: u32| {
            let name = format!("{idx}.png");
            let image = image::RgbImage::from_fn(31 + idx, 40, |x, y| {
                image::Rgb([(x * 3 + idx) as u8, (y * 5) as u8, 7])
            });
            image.save(dir.join(&name)).unwrap();
            (name.clone(), Content::File(dir.join(name)))
        };
        (0..5).map(one).collect()
    }

    #[test]
    fn images_from_a_pack_and_from_files_are_equal() {
        let dir = tempfile::tempdir().unwrap();
        let (images, pipeline) = (images(dir.path()), pipeline());
        let path = Packs::new(dir.path(), &images).path(&pipeline);
        assert!(Packs::new(dir.path(), &images).open(&pipeline).unwrap().is_none());
        let n_bytes = Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), n_bytes);
        // Some of the images, in another order.
        let some: Vec<_> = [3, 0, 4].map(|it: usize| images[it].clone()).to_vec();
        let pack = Packs::new(dir.path(), &some).open(&pipeline).unwrap().unwrap();
        for (idx, (name, content)) in some.iter().enumerate() {
            for seed in 0..5 {
                let rng = || Seed(seed).stream(name);
                let from_file =
                    pipeline.apply(&content.bytes().unwrap(), &mut rng(), None).unwrap();
                let from_pack = pipeline.finish(pack.image(idx).unwrap(), &mut rng()).unwrap();
                assert!(from_file == from_pack, "{name}");
            }
        }
    }

    #[test]
    fn image_files_are_inspected_once_for_all_packs() {
        let dir = tempfile::tempdir().unwrap();
        let (images, pipeline) = (images(dir.path()), pipeline());
        let mut other = pipeline.clone();
        other.ops.remove(0);
        let packs = Packs::new(dir.path(), &images);
        for it in [&pipeline, &other] {
            Pack::write(&packs.path(it), it, &images, None, &|_, _| {}).unwrap();
        }
        assert!(packs.open(&pipeline).unwrap().is_some());
        image::RgbImage::new(9, 9).save(dir.path().join("2.png")).unwrap();
        assert!(packs.open(&other).unwrap().is_some(), "inspected again");
        assert!(Packs::new(dir.path(), &images).open(&other).is_err());
    }

    #[test]
    fn changed_image_makes_a_pack_stale_and_other_steps_use_another_pack() {
        let dir = tempfile::tempdir().unwrap();
        let (mut images, mut pipeline) = (images(dir.path()), pipeline());
        let path = Packs::new(dir.path(), &images).path(&pipeline);
        Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap();
        image::RgbImage::new(9, 9).save(dir.path().join("2.png")).unwrap();
        images.push(("new.png".to_owned(), Content::File(dir.path().join("4.png"))));
        let err = Packs::new(dir.path(), &images).open(&pipeline).unwrap_err().to_string();
        assert!(err.contains("of 6 images, 2 changed") && err.contains("2.png"), "{err}");
        // The pack depends only on the steps before the first random one.
        pipeline.ops.pop();
        assert_eq!(Packs::new(dir.path(), &images).path(&pipeline), path);
        pipeline.ops.remove(0);
        assert_ne!(Packs::new(dir.path(), &images).path(&pipeline), path);
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed_and_files_in_use_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (images, pipeline) = (images(dir.path()), pipeline());
        let cache = dir.path().join("cache");
        fs::create_dir(&cache).unwrap();
        let path = Packs::new(&cache, &images).path(&pipeline);
        let temporary = |name: &str| cache.join(format!(".{name}.0.tmp"));
        let ours = temporary(&path.file_name().unwrap().to_string_lossy());
        fs::write(&ours, b"a part").unwrap();
        let other = temporary("pack-0123456789abcdef.rgb");
        fs::write(&other, b"a part").unwrap();
        let busy = fs::File::create(temporary("pack-fedcba9876543210.rgb")).unwrap();
        busy.lock().unwrap();
        // A run without a pack removes only the leftovers of its own pack.
        assert!(Packs::new(&cache, &images).open(&pipeline).unwrap().is_none());
        assert!(!ours.exists() && other.exists());
        fs::write(&ours, vec![0; 1 << 20]).unwrap();
        Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap();
        assert!(Packs::new(&cache, &images).open(&pipeline).unwrap().is_some());
        let mut left: Vec<_> = fs::read_dir(&cache).unwrap().map(|it| it.unwrap().path()).collect();
        left.sort();
        assert_eq!(left, [temporary("pack-fedcba9876543210.rgb"), path]);
    }

    #[test]
    fn changed_pixels_or_lines_of_a_pack_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (images, pipeline) = (images(dir.path()), pipeline());
        let packs = Packs::new(dir.path(), &images);
        let path = packs.path(&pipeline);
        Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap();
        let whole = fs::read(&path).unwrap();
        // The lowest bit of the last pixel of the second image: each has 20 * 16 pixels of 3 bytes.
        let mut flipped = whole.clone();
        flipped[16 + 2 * 960 - 1] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let pack = packs.open(&pipeline).unwrap().unwrap();
        for idx in [0, 2, 3, 4] {
            pack.image(idx).unwrap();
        }
        let err = pack.image(1).unwrap_err().to_string();
        assert!(
            err.contains("this pack is damaged") && err.contains("`maskfit data pack`"),
            "{err}"
        );

        // A height that is far too large.
        let start = 16 + 5 * 960;
        let line = String::from_utf8_lossy(&whole[start..]).into_owned();
        assert!(line.starts_with("16\t20\t16\t"), "{line}");
        let mut longer = whole;
        longer.splice(start + 3..start + 5, *b"90");
        longer.splice(start + 6..start + 8, *b"99");
        fs::write(&path, &longer).unwrap();
        assert!(matches!(packs.open(&pipeline), Err(PackError::Damaged(_))));
    }

    #[test]
    fn truncated_pack_is_an_error_and_a_damaged_image_leaves_no_pack() {
        let dir = tempfile::tempdir().unwrap();
        let (mut images, pipeline) = (images(dir.path()), pipeline());
        let path = Packs::new(dir.path(), &images).path(&pipeline);
        Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                matches!(
                    Packs::new(dir.path(), &images).open(&pipeline),
                    Err(PackError::Damaged(_))
                ),
                "{length}"
            );
        }
        fs::remove_file(&path).unwrap();
        fs::write(dir.path().join("bad.png"), b"not an image").unwrap();
        images.push(("bad.png".to_owned(), Content::File(dir.path().join("bad.png"))));
        let err = Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap_err();
        assert!(err.to_string().starts_with("bad.png: this is not an image"), "{err}");
        assert!(!path.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6, "a file is left behind");
    }
}
