//! Images as the leading steps of a pipeline leave them, decoded, in one file.
//!
//! Decoding is most of the work of loading. Whatever leaves nothing to chance (a resize, a crop of the
//! middle) is done once and kept: an epoch reads an image's pixels from the file and does the rest.
//! A pack belongs to a folder of images, to the steps that made it and to what decoded them; others have
//! another pack.
//! It holds, after the pixels of all images, a line for each: where its pixels begin, how high and
//! wide it is, the size and time of change of its file, and its name. Reading by position instead of
//! mapping the file into memory costs one copy, which is needed anyway, and a file that someone cuts
//! short is an error instead of the end of the process.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    os::unix::fs::FileExt as _,
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use augment::{Image, Memory, Pipeline, PipelineError};
use base::{
    files::{remove_leftovers, remove_leftovers_of, write_atomic_with},
    rng::fnv1a,
};
use rayon::prelude::*;

use crate::Content;

/// Decoded images in a file.
#[derive(Debug)]
pub struct Pack {
    file: File,
    path: PathBuf,
    /// Where each image is, by its position among those of the run.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    height: u32,
    width: u32,
}

/// Why there is no pack, or none to be used.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It cannot be written or read.
    #[error("{path}: {source}")]
    Io {
        /// The pack.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An image cannot be read, or not be prepared.
    #[error("{name}: {reason}")]
    Image {
        /// The image.
        name: String,
        /// Why.
        reason: String,
    },
    /// Images have changed since.
    #[error(
        "{path}: this pack is stale: of {n} images, {changed} changed or came after it was made, \
         {example} for one: make it again with `maskfit data pack`, or delete it"
    )]
    Stale {
        /// The pack.
        path: String,
        /// The images of the run.
        n: usize,
        /// Those that the pack does not have as they are.
        changed: usize,
        /// The first of them.
        example: String,
    },
    /// It is no pack, or not whole.
    #[error("{0}: this is no pack, or a part of one is missing: delete it")]
    Damaged(String),
}

/// What a pack begins with. Its number goes up when a decoder or a step gives other pixels than before.
const MAGIC: &[u8; 16] = b"maskfit pack 4\n\0";
/// So many images are decoded at once, and wait in memory.
const TOGETHER: usize = 256;

/// The packs of some images. What it takes to find them, and to see whether they are stale, is asked of
/// the disk once for all: a run may have one for each of its sizes.
pub struct Packs<'a> {
    dir: &'a Path,
    images: &'a [(String, Content)],
    root: Option<PathBuf>,
    /// What each image is now, if it can be told.
    stamps: OnceCell<Vec<Option<String>>>,
}

impl<'a> Packs<'a> {
    /// - `dir`: the folder of packs.
    pub fn new(dir: &'a Path, images: &'a [(String, Content)]) -> Packs<'a> {
        Packs { dir, images, root: root(images), stamps: OnceCell::new() }
    }

    /// Where the pack of a pipeline lies.
    pub fn path(&self, pipeline: &Pipeline) -> PathBuf {
        let steps = pipeline.ops[..pipeline.n_fixed()].iter().map(|it| format!("{it:?}"));
        let steps = steps.collect::<Vec<_>>().join("\n");
        let what = format!("{MAGIC:?}\n{steps}\n{:?}", self.root);
        self.dir.join(format!("pack-{:016x}.rgb", fnv1a(what.as_bytes())))
    }

    /// Opens the pack of a pipeline; `None` where there is none.
    ///
    /// # Errors
    /// A pack that does not have all images as they are now, or is damaged.
    pub fn open(&self, pipeline: &Pipeline) -> Result<Option<Pack>, PackError> {
        let path = self.path(pipeline);
        let shown = || path.display().to_string();
        let file = match File::open(&path) {
            Ok(it) => it,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // It may have many gigabytes.
                remove_leftovers_of(&path);
                return Ok(None);
            }
            Err(source) => return Err(PackError::Io { path: shown(), source }),
        };
        let index = index(&file).map_err(|_| PackError::Damaged(shown()))?;
        let known: HashMap<&str, [&str; 4]> = index.lines().filter_map(fields).collect();
        let mut places = Vec::with_capacity(self.images.len());
        let mut changed = Vec::new();
        for ((name, _), stamp) in self.images.iter().zip(self.stamps()) {
            let line = known.get(name.as_str());
            let is_fresh = |line: &&[&str; 4]| stamp.as_deref() == Some(line[3]);
            match line.filter(is_fresh).map(place) {
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
    /// Writes a pack, and returns how many bytes it has.
    ///
    /// `progress` is told how many images of how many are done.
    ///
    /// # Errors
    /// Images that cannot be read, a disk that is full.
    pub fn write(
        path: &Path,
        pipeline: &Pipeline,
        images: &[(String, Content)],
        memory: Option<&dyn Memory>,
        progress: &dyn Fn(usize, usize),
    ) -> Result<u64, PackError> {
        // Of packs that were killed; those of other steps would never be written over.
        remove_leftovers(path.parent().unwrap_or(Path::new(".")));
        let mut failed = None;
        let mut n_bytes = 0;
        let written = write_atomic_with(path, |file| {
            let mut file = BufWriter::with_capacity(1 << 20, file);
            let mut index = String::new();
            file.write_all(MAGIC)?;
            let mut offset = MAGIC.len() as u64;
            for (chunk_idx, chunk) in images.chunks(TOGETHER).enumerate() {
                let prepare = |(name, content): &(String, Content)| {
                    let fails = |reason: String| PackError::Image { name: name.clone(), reason };
                    let stamp = stamp(content).map_err(|it| fails(it.to_string()))?;
                    let bytes = content.bytes().map_err(|it| fails(it.to_string()))?;
                    let image = pipeline.prepare(&bytes, memory);
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
                    index += &format!("{offset}\t{h}\t{w}\t{stamp}\t{name}\n");
                    offset += image.as_raw().len() as u64;
                }
                progress(chunk_idx * TOGETHER + chunk.len(), images.len());
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

    /// The file.
    pub fn file(&self) -> &Path {
        &self.path
    }

    /// An image, by its position among those of the run.
    ///
    /// # Errors
    /// A file that was cut short since it was opened.
    pub fn image(&self, idx: usize) -> io::Result<Image> {
        let Place { offset, height, width } = self.places[idx];
        let mut pixels = vec![0; height as usize * width as usize * 3];
        self.file.read_exact_at(&mut pixels, offset)?;
        Ok(Image::from_raw(width, height, pixels).expect("three bytes a pixel"))
    }
}

/// The lines at the end of a pack.
fn index(file: &File) -> io::Result<String> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let end = file.metadata()?.len();
    let tail = end.checked_sub(8 + MAGIC.len() as u64).ok_or_else(damaged)?;
    let (mut begins, mut magic) = ([0; 8], [0; MAGIC.len()]);
    file.read_exact_at(&mut begins, tail)?;
    file.read_exact_at(&mut magic, tail + 8)?;
    let begins = u64::from_le_bytes(begins);
    let length = tail.checked_sub(begins).filter(|_| magic == *MAGIC).ok_or_else(damaged)?;
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, begins)?;
    String::from_utf8(text).map_err(|_| damaged())
}

/// A line's name, and what comes before it.
fn fields(line: &str) -> Option<(&str, [&str; 4])> {
    let mut fields = line.splitn(5, '\t');
    let mut next = || fields.next();
    let before = [next()?, next()?, next()?, next()?];
    Some((next()?, before))
}

fn place(line: &[&str; 4]) -> Option<Place> {
    Some(Place {
        offset: line[0].parse().ok()?,
        height: line[1].parse().ok()?,
        width: line[2].parse().ok()?,
    })
}

/// What tells whether an image is as it was.
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

/// The folder that all images in files are in.
fn root(images: &[(String, Content)]) -> Option<PathBuf> {
    let folders = images.iter().filter_map(|(_, content)| match content {
        Content::File(path) => path.parent(),
        Content::Memory(_) => None,
    });
    // The disk is asked for each part of a path: once a folder.
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

    /// Images in a folder, and their names.
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
    fn what_comes_out_of_a_pack_is_what_comes_out_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (images, pipeline) = (images(dir.path()), pipeline());
        let path = Packs::new(dir.path(), &images).path(&pipeline);
        assert!(Packs::new(dir.path(), &images).open(&pipeline).unwrap().is_none());
        let n_bytes = Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), n_bytes);
        // Part of them, in another order.
        let some: Vec<_> = [3, 0, 4].map(|it: usize| images[it].clone()).to_vec();
        let pack = Packs::new(dir.path(), &some).open(&pipeline).unwrap().unwrap();
        for (idx, (name, content)) in some.iter().enumerate() {
            for draw in 0..5 {
                let rng = || Seed(draw).stream(name);
                let from_file =
                    pipeline.apply(&content.bytes().unwrap(), &mut rng(), None).unwrap();
                let from_pack = pipeline.finish(pack.image(idx).unwrap(), &mut rng()).unwrap();
                assert!(from_file == from_pack, "{name}");
            }
        }
    }

    #[test]
    fn images_are_looked_at_once_for_all_packs() {
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
        assert!(packs.open(&other).unwrap().is_some(), "looked at again");
        assert!(Packs::new(dir.path(), &images).open(&other).is_err());
    }

    #[test]
    fn a_changed_image_makes_it_stale_and_other_steps_have_another() {
        let dir = tempfile::tempdir().unwrap();
        let (mut images, mut pipeline) = (images(dir.path()), pipeline());
        let path = Packs::new(dir.path(), &images).path(&pipeline);
        Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap();
        image::RgbImage::new(9, 9).save(dir.path().join("2.png")).unwrap();
        images.push(("new.png".to_owned(), Content::File(dir.path().join("4.png"))));
        let err = Packs::new(dir.path(), &images).open(&pipeline).unwrap_err().to_string();
        assert!(err.contains("of 6 images, 2 changed") && err.contains("2.png"), "{err}");
        // What comes after the first random step does not matter; what comes before does.
        pipeline.ops.pop();
        assert_eq!(Packs::new(dir.path(), &images).path(&pipeline), path);
        pipeline.ops.remove(0);
        assert_ne!(Packs::new(dir.path(), &images).path(&pipeline), path);
    }

    #[test]
    fn what_a_killed_pack_left_behind_goes_and_what_is_being_packed_stays() {
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
        // A run that finds no pack looks at this one alone.
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
    fn a_part_of_a_pack_is_none_and_a_broken_image_leaves_none() {
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
        fs::write(dir.path().join("bad.png"), b"no image").unwrap();
        images.push(("bad.png".to_owned(), Content::File(dir.path().join("bad.png"))));
        let err = Pack::write(&path, &pipeline, &images, None, &|_, _| {}).unwrap_err();
        assert!(err.to_string().starts_with("bad.png: this is not an image"), "{err}");
        assert!(!path.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6, "something was left behind");
    }
}
