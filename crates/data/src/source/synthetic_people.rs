//! Synthetic people as a source: some for training, with a share of wrong labels, and others with correct
//! labels as a test set for the finished model.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use base::{
    Seed, Task,
    files::write_atomic,
    table,
    task::{Factor, Scope},
};
use image::codecs::jpeg::JpegEncoder;
use rand::Rng as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Context, Source, SourceError,
    samples::{Label, Sample, Samples},
};
use crate::{
    Findings,
    fixes::MaskName,
    manifest::{Content, Manifest, Use},
    synthetic::{self, Gender, Person, Shot},
};

/// `source = { kind = "synthetic_people" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticPeople {
    /// The number of people for training and validation.
    pub n_people: usize,
    /// The number of further people in the test set, which the finished model is scored on.
    pub n_test: usize,
    /// `[height, width]` of the images.
    pub size: [usize; 2],
    /// The share of people with a wrong label: another gender, another age, or the image without a mask
    /// and the one with a mask worn incorrectly exchanged. The test set has none.
    pub wrong_labels: f64,
    /// The share of training images whose joint class is replaced by a random other one: label noise that
    /// `maskfit labels` has to find.
    pub flipped: f64,
    /// The seed of the people.
    pub seed: u64,
}

impl Default for SyntheticPeople {
    fn default() -> SyntheticPeople {
        SyntheticPeople {
            n_people: 1000,
            n_test: 300,
            size: [96, 72],
            wrong_labels: 0.03,
            flipped: 0.0,
            seed: 0,
        }
    }
}

/// The position of the age among the factors.
const AGE: usize = 2;

/// A person as labelled in the data.
struct Profile {
    name: String,
    person: Person,
    gender: Gender,
    age: u32,
    swapped: bool,
    usage: Use,
}

impl Source for SyntheticPeople {
    /// Renders all images.
    fn list(&self, context: &Context<'_>) -> Result<(Manifest, Findings), SourceError> {
        self.check()?;
        let profiles = self.profiles();
        let task = Task::mask_gender_age();
        let n = profiles.len() * Shot::ALL.len();
        let n_done = AtomicUsize::new(0);
        let images: Vec<[Sample; 7]> = profiles
            .par_iter()
            .map(|profile| {
                Shot::ALL.map(|shot| {
                    let bytes = jpeg(&profile.person, shot, self.size);
                    (context.progress)(n_done.fetch_add(1, Ordering::Relaxed) + 1, n);
                    let name = format!("{}/{}.jpg", profile.name, shot.name());
                    let labels = self.labels(&name, profile, shot, &task);
                    let content = Content::Memory(bytes.into());
                    Sample { usage: profile.usage, ..Sample::new(name, content, labels) }
                })
            })
            .collect();
        let mut samples = Samples::new(task, &[]);
        for (profile, images) in profiles.iter().zip(images) {
            let group = Some(samples.group(&profile.name));
            images.into_iter().for_each(|it| samples.add(Sample { group, ..it }));
        }
        Ok(samples.build())
    }

    fn read(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        self.list(context).map(|(manifest, _)| manifest)
    }
}

impl Profile {
    /// The shot that an image is labelled as: the labels of two images may be exchanged, which a folder has as
    /// exchanged file names.
    fn labelled(&self, shot: Shot) -> Shot {
        match (shot, self.swapped) {
            (Shot::Incorrect, true) => Shot::Normal,
            (Shot::Normal, true) => Shot::Incorrect,
            _ => shot,
        }
    }

    fn class(&self, task: &Task, shot: Shot) -> usize {
        let mask = MaskName::of_file(&self.labelled(shot).name())
            .expect("a shot has the name of its file");
        let age = &task.factors[AGE];
        let age = Factor::level_of(f64::from(self.age), &age.cuts);
        task.class_of(&[mask.level(), self.gender as usize, age])
    }
}

/// The maximum number of people: more would not fit into any machine's memory.
const MOST_PEOPLE: usize = 10_000_000;

impl SyntheticPeople {
    fn check(&self) -> Result<(), SourceError> {
        let settings = |what: String| Err(SourceError::Settings(format!("`data.source`: {what}")));
        if self.n_people.saturating_add(self.n_test) > MOST_PEOPLE {
            return settings(format!(
                "`n_people` + `n_test` must be at most {MOST_PEOPLE}, not {}",
                self.n_people.saturating_add(self.n_test)
            ));
        }
        if self.n_people == 0 {
            return settings("`n_people` must be at least 1, not 0".to_owned());
        }
        if !(0.0..=1.0).contains(&self.wrong_labels) {
            return settings(format!(
                "`wrong_labels` must be from 0 to 1, not {}",
                self.wrong_labels
            ));
        }
        if !(0.0..=1.0).contains(&self.flipped) {
            return settings(format!("`flipped` must be from 0 to 1, not {}", self.flipped));
        }
        if self.size.iter().any(|it| !(8..=4096).contains(it)) {
            return settings(format!(
                "`size` must be [height, width], each from 8 to 4096, not {:?}",
                self.size
            ));
        }
        Ok(())
    }

    /// Returns the labels of an image. Those of a training image are replaced by others with probability
    /// `flipped`.
    fn labels(&self, name: &str, profile: &Profile, shot: Shot, task: &Task) -> Vec<Label> {
        let (mut class, mut age) = (profile.class(task, shot), f64::from(profile.age));
        let mut rng = Seed(self.seed).stream(&format!("flips/{name}"));
        if profile.usage != Use::Test && rng.random_bool(self.flipped) {
            let n = task.n_classes();
            class = (class + rng.random_range(1..n)) % n;
            age = task.factors[AGE].nearest(age, task.project(class, Scope::Factor(AGE)));
        }
        let mut labels: Vec<Label> = task.levels_of(class).into_iter().map(Label::Level).collect();
        labels[AGE] = Label::Number(age);
        labels
    }

    /// Returns all people as labelled: those for training and validation first.
    fn profiles(&self) -> Vec<Profile> {
        let seed = Seed(self.seed);
        let profile = |idx: usize| {
            let person = Person::new(seed, idx);
            let (mut gender, mut age, mut swapped) = (person.gender, person.age, false);
            let usage = if idx < self.n_people { Use::Pool } else { Use::Test };
            let mut rng = seed.stream(&format!("labels/{idx}"));
            if usage == Use::Pool && rng.random_bool(self.wrong_labels) {
                match rng.random_range(0..3) {
                    0 if gender == Gender::Male => gender = Gender::Female,
                    0 => gender = Gender::Male,
                    // Another person's age.
                    1 => age = Person::new(seed, usize::MAX - idx).age,
                    _ => swapped = true,
                }
            }
            let name = format!("{:06}_{}_Drawn_{age:02}", idx + 1, gender.name());
            Profile { name, person, gender, age, swapped, usage }
        };
        (0..self.n_people + self.n_test).into_par_iter().map(profile).collect()
    }

    /// Writes the people to a folder in the competition's layout.
    ///
    /// `train/` contains `train.csv` and `images/<person>/<image>.jpg`. `eval/` contains the test set as in
    /// the competition: `info.csv`, with uninformative names, and `images/`; and in addition `labels.csv`
    /// with the true classes.
    ///
    /// # Errors
    /// Invalid settings, flipped labels, which the layout cannot represent, or I/O errors.
    pub fn write(
        &self,
        dir: &Path,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), SourceError> {
        self.check()?;
        if self.flipped > 0.0 {
            let what = "`flipped` cannot be written to a folder, which has one gender and one age per \
                        person: train on the `synthetic_people` source directly";
            return Err(SourceError::Settings(what.to_owned()));
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SourceError::Io { path, source, remedy: "choose another folder" }
        };
        let profiles = self.profiles();
        let n = profiles.len() * Shot::ALL.len();
        let n_done = AtomicUsize::new(0);
        let task = Task::mask_gender_age();
        let (train, eval) = (dir.join("train"), dir.join("eval"));
        for path in [train.join("images"), eval.join("images")] {
            fs::create_dir_all(&path).map_err(io(&path))?;
        }
        let save = |path: &Path, profile: &Profile, shot: Shot| {
            fs::write(path, jpeg(&profile.person, shot, self.size)).map_err(io(path))?;
            progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, n);
            Ok::<_, SourceError>(())
        };
        let trained = || profiles.iter().filter(|it| it.usage == Use::Pool);
        trained().collect::<Vec<_>>().par_iter().try_for_each(|profile| {
            let folder = train.join("images").join(&profile.name);
            fs::create_dir_all(&folder).map_err(io(&folder))?;
            for shot in Shot::ALL {
                let named = profile.labelled(shot).name();
                save(&folder.join(format!("{named}.jpg")), profile, shot)?;
            }
            Ok(())
        })?;
        let rows = trained().enumerate().map(|(idx, it)| {
            let [id, age] = [format!("{:06}", idx + 1), it.age.to_string()];
            [id, it.gender.name().to_owned(), "Drawn".to_owned(), age, it.name.clone()]
        });
        let table = table::text(["id", "gender", "race", "age", "path"], rows);
        let path = train.join("train.csv");
        write_atomic(&path, table.as_bytes()).map_err(io(&path))?;

        // Named and thereby shuffled by a hash that reveals neither person nor class.
        let mut images = BTreeMap::new();
        for profile in profiles.iter().filter(|it| it.usage == Use::Test) {
            for shot in Shot::ALL {
                images.insert(format!("{}.jpg", self.hash(profile, shot)), (profile, shot));
            }
        }
        let list: Vec<_> = images.iter().collect();
        list.par_iter().try_for_each(|(name, (profile, shot))| {
            save(&eval.join("images").join(name), profile, *shot)
        })?;
        let submission = |class: &dyn Fn(&Profile, Shot) -> usize| {
            let row = |(name, (profile, shot)): &(&String, &(&Profile, Shot))| {
                [(*name).clone(), class(profile, *shot).to_string()]
            };
            table::text(["ImageID", "ans"], list.iter().map(row))
        };
        let info = submission(&|_, _| 0);
        let labels = submission(&|profile, shot| profile.class(&task, shot));
        for (name, text) in [("info.csv", info), ("labels.csv", labels)] {
            let path = eval.join(name);
            write_atomic(&path, text.as_bytes()).map_err(io(&path))?;
        }
        Ok(())
    }
}

impl SyntheticPeople {
    /// The name of an image of the test set, without its ending: a hash that reveals neither person nor class.
    fn hash(&self, profile: &Profile, shot: Shot) -> String {
        let name = format!("{}/{}", profile.name, shot.name());
        format!("{:032x}", Seed(self.seed).stream(&name).random::<u128>())
    }

    /// Writes the area of the mask in each image that has one, white on black, for heat maps to be compared with:
    /// to `train/areas` and `eval/areas` of the folder that [`write`](SyntheticPeople::write) has written, as PNG
    /// files with the images' paths.
    ///
    /// # Errors
    /// Invalid settings, or I/O errors.
    pub fn write_areas(
        &self,
        dir: &Path,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), SourceError> {
        self.check()?;
        let profiles = self.profiles();
        let n_done = AtomicUsize::new(0);
        let write = |profile: &Profile| -> Result<(), SourceError> {
            for shot in Shot::ALL {
                let path = match profile.usage {
                    Use::Test => dir.join("eval/areas").join(self.hash(profile, shot)),
                    _ => {
                        let named = profile.labelled(shot).name();
                        dir.join("train/areas").join(&profile.name).join(named)
                    }
                };
                let Some(area) = synthetic::mask_area(&profile.person, shot, self.size) else {
                    continue;
                };
                let mut bytes = io::Cursor::new(Vec::new());
                let encoded = area.write_to(&mut bytes, image::ImageFormat::Png);
                encoded.expect("encoding a PNG into memory cannot fail");
                let path = path.with_extension("png");
                let folder = path.parent().unwrap_or(dir);
                let written =
                    fs::create_dir_all(folder).and_then(|()| write_atomic(&path, bytes.get_ref()));
                written.map_err(|source| {
                    let (path, remedy) = (path.clone(), "choose another folder");
                    SourceError::Io { path, source, remedy }
                })?;
            }
            progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, profiles.len());
            Ok(())
        };
        profiles.par_iter().try_for_each(write)
    }
}

/// Renders an image and encodes it as JPEG.
fn jpeg(person: &Person, shot: Shot, size: [usize; 2]) -> Vec<u8> {
    let mut bytes = io::Cursor::new(Vec::new());
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 92);
    let written = synthetic::draw(person, shot, size).write_with_encoder(encoder);
    written.expect("encoding a JPEG of a valid size into memory cannot fail");
    bytes.into_inner()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::{Seed, Task};

    use super::{Source as _, SyntheticPeople};
    use crate::{
        Content, Context, MaskProfiles, Use,
        synthetic::{self, Person, Shot},
    };

    const FEW: SyntheticPeople = SyntheticPeople {
        n_people: 12,
        n_test: 5,
        size: [32, 24],
        wrong_labels: 0.5,
        flipped: 0.0,
        seed: 3,
    };

    fn context() -> Context<'static> {
        Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} }
    }

    #[test]
    fn the_area_of_a_mask_is_where_the_image_shows_it() {
        let person = Person::new(Seed(0), 1);
        let size = [64, 48];
        // The same person without a mask has another pose: the area is checked by its place and its size.
        for shot in Shot::ALL {
            let Some(area) = synthetic::mask_area(&person, shot, size) else {
                assert_eq!(shot, Shot::Normal);
                continue;
            };
            assert_eq!((area.height(), area.width()), (64, 48));
            let n = area.pixels().filter(|it| it.0[0] == 255).count();
            assert!(area.pixels().all(|it| [0, 255].contains(&it.0[0])));
            assert!((64 * 48 / 100..64 * 48 / 3).contains(&n), "{shot:?}: {n} pixels");
            if let Shot::Mask(_) = shot {
                // The centre of the lower half of the face, which a mask covers whole.
                assert_eq!(area.get_pixel(24, 39).0, [255], "{shot:?}");
                assert_eq!(area.get_pixel(24, 12).0, [0], "{shot:?}");
            }
        }
        // Painting the area changes no image.
        let plain = synthetic::draw(&person, Shot::Mask(1), size);
        drop(synthetic::mask_area(&person, Shot::Mask(1), size));
        assert_eq!(plain, synthetic::draw(&person, Shot::Mask(1), size));
    }

    #[test]
    fn areas_have_the_paths_of_the_images() {
        let dir = tempfile::tempdir().unwrap();
        FEW.write(dir.path(), &|_, _| {}).unwrap();
        FEW.write_areas(dir.path(), &|_, _| {}).unwrap();
        let mut n = [0, 0];
        for (part, n) in ["train", "eval"].into_iter().zip(&mut n) {
            let mut todo = vec![dir.path().join(part).join("areas")];
            while let Some(path) = todo.pop() {
                if path.is_dir() {
                    todo.extend(std::fs::read_dir(path).unwrap().map(|it| it.unwrap().path()));
                    continue;
                }
                let below = path.strip_prefix(dir.path().join(part).join("areas")).unwrap();
                let image = dir.path().join(part).join("images").join(below);
                assert!(image.with_extension("jpg").is_file(), "{}", image.display());
                *n += 1;
            }
        }
        // Six of each person's seven images show a mask.
        assert_eq!(n, [12 * 6, 5 * 6]);
    }

    #[test]
    fn the_same_seed_gives_the_same_images() {
        let bytes = |people: &SyntheticPeople| -> Vec<Vec<u8>> {
            let manifest = people.read(&context()).unwrap();
            manifest.examples.iter().map(|it| it.content.bytes().unwrap().into_owned()).collect()
        };
        let (one, two) = (bytes(&FEW), bytes(&FEW));
        assert_eq!(one.len(), 17 * 7);
        assert!(one == two);
        assert!(one != bytes(&SyntheticPeople { seed: 4, ..FEW }));
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn images_do_not_change_between_releases() {
        // Recorded once: a change of this value changes every score on synthetic people. Other systems may
        // round a sine differently.
        let manifest = FEW.read(&context()).unwrap();
        let all: Vec<u8> = manifest
            .examples
            .iter()
            .flat_map(|it| it.content.bytes().unwrap().into_owned())
            .collect();
        assert_eq!(base::rng::fnv1a(&all), 9_502_080_007_000_161_559);
    }

    #[test]
    fn the_test_set_has_no_wrong_labels() {
        let (clean, noisy) = (SyntheticPeople { wrong_labels: 0.0, ..FEW }, FEW);
        let (clean, noisy) = (clean.read(&context()).unwrap(), noisy.read(&context()).unwrap());
        let differing = |usage| {
            let pairs = clean.examples.iter().zip(&noisy.examples);
            pairs.filter(|(a, b)| a.usage == usage && a.class != b.class).count()
        };
        assert!(differing(Use::Pool) > 0);
        assert_eq!(differing(Use::Test), 0);
    }

    #[test]
    fn labels_of_training_images_are_flipped() {
        let flipped = SyntheticPeople { flipped: 0.3, wrong_labels: 0.0, n_people: 40, ..FEW };
        let right = SyntheticPeople { flipped: 0.0, ..flipped.clone() }.read(&context()).unwrap();
        let flipped = flipped.read(&context()).unwrap();
        let pairs = right.examples.iter().zip(&flipped.examples);
        let wrong: Vec<_> = pairs.filter(|(a, b)| a.class != b.class).map(|it| it.1).collect();
        // 280 images: 84 are expected, with a standard deviation of 8.
        assert!((60..108).contains(&wrong.len()), "{}", wrong.len());
        assert!(wrong.iter().all(|it| it.usage == Use::Pool));
        let cuts = BTreeMap::from([("age".to_owned(), vec![30.0, 60.0])]);
        assert_eq!(
            flipped.training_classes(&cuts).unwrap(),
            flipped.training_classes(&BTreeMap::new()).unwrap()
        );
    }

    #[test]
    fn written_people_read_back_as_the_same() {
        let dir = tempfile::tempdir().unwrap();
        FEW.write(dir.path(), &|_, _| {}).unwrap();
        let source = MaskProfiles { root: dir.path().join("train"), ..MaskProfiles::default() };
        let (direct, read) = (FEW.read(&context()).unwrap(), source.read(&context()).unwrap());
        let pool: Vec<_> = direct.examples.iter().filter(|it| it.usage == Use::Pool).collect();
        assert_eq!(pool.len(), read.examples.len());
        let mut classes = [vec![0; 18], vec![0; 18]];
        for (ours, theirs) in pool.into_iter().zip(&read.examples) {
            classes[0][ours.class] += 1;
            classes[1][theirs.class] += 1;
            assert!(matches!(theirs.content, Content::File(_)));
        }
        assert_eq!(classes[0], classes[1]);
        assert_eq!(read.task, Task::mask_gender_age());
        let info = std::fs::read_to_string(dir.path().join("eval/info.csv")).unwrap();
        assert_eq!(info.lines().count(), 5 * 7 + 1);
    }
}
