//! Checkpoints: everything that the next step depends on, one file each.
//!
//! `checkpoints/<steps done>.safetensors` contains the tensors of the model, the optimizer, the average and
//! those that a later phase restores, and in its header the state of the run, its settings and the fingerprint of
//! its data (`record.rs`). A separate thread writes checkpoints atomically, and removes old ones (`checkpoint_writer.rs`). A run
//! resumes from the newest intact checkpoint: the header also contains a CRC-32 of the whole file, which differs if
//! any bit has changed on the disk.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use candle::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::{
    amp::LossScale,
    ran_on::RanOn,
    run::{Run, RunError, at},
};

/// The state of a run, apart from its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Steps done.
    pub(crate) step: usize,
    /// The phase that has begun.
    pub(crate) phase: usize,
    /// The sum of the losses since the last evaluation, and their number.
    pub(crate) loss_sum: f64,
    pub(crate) n_losses: usize,
    /// Evaluations since the best.
    pub(crate) n_since_best: usize,
    /// The score of each evaluation of the phase so far.
    pub(crate) scores: Vec<f64>,
    /// The best evaluation of the phase so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) best: Option<Best>,
    /// The loss scale, of f16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loss_scale: Option<LossScale>,
    /// What the steps ran on, in order, which bits depend on; earlier versions had only the CPU.
    #[serde(default = "on_cpu")]
    pub(crate) ran_on: Vec<RanOn>,
}

fn on_cpu() -> Vec<RanOn> {
    vec![RanOn::cpu()]
}

/// The best evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    pub(crate) score: f64,
    /// Steps done then.
    pub(crate) step: usize,
}

/// A checkpoint in memory. It shares no memory with the model and the optimizer.
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    /// The settings that results depend on, at the time of the checkpoint.
    pub(crate) settings: toml::Table,
    /// The fingerprint of the data, at the time of the checkpoint.
    pub(crate) data: String,
    /// The tensors by part (`model`, `optim`, `average` or `kept`) and name.
    pub(crate) tensors: BTreeMap<String, Vec<(String, Tensor)>>,
}

/// The contents of the header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The checksum of the file with [`NO_CRC`] in place of this, in 8 hexadecimal digits; none in earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32: Option<String>,
    data: String,
    settings: toml::Table,
    state: State,
}

/// The only entry of the header: several would be written in arbitrary order.
const ENTRY: &str = "maskfit";

/// What the checksum is computed with in its own place.
const NO_CRC: &str = "00000000";

impl Checkpoint {
    /// Returns the tensors of a part, or `None` if the checkpoint lacks it.
    pub(crate) fn part(&self, name: &str) -> Option<BTreeMap<String, Tensor>> {
        Some(self.tensors.get(name)?.iter().cloned().collect())
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(crate) fn open(path: &Path) -> Result<Checkpoint, RunError> {
        let bytes = fs::read(path).map_err(at(path))?;
        Checkpoint::from_bytes(&bytes).map_err(|reason| {
            let reason = format!("the checkpoint is damaged ({reason})");
            RunError::Damaged { path: path.to_owned(), reason }
        })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, candle::Error> {
        let tensors = self.tensors.iter().flat_map(|(part, tensors)| {
            tensors.iter().map(move |(name, it)| (format!("{part}.{name}"), it))
        });
        let header = Header {
            crc32: Some(NO_CRC.to_owned()),
            data: self.data.clone(),
            settings: self.settings.clone(),
            state: self.state.clone(),
        };
        let header = toml::to_string(&header).expect("a header is TOML");
        let entries = [(ENTRY.to_owned(), header)].into_iter().collect();
        let mut bytes =
            safetensors::serialize(tensors, Some(entries)).map_err(candle::Error::wrap)?;
        let place = place_of_crc(&bytes).expect("the header has a checksum");
        let crc = format!("{:08x}", crc32(&bytes, &place));
        bytes[place].copy_from_slice(crc.as_bytes());
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|err| err.to_string())?;
        let header = metadata.metadata().as_ref().and_then(|it| it.get(ENTRY));
        let header = header.ok_or("it has no header of this program")?;
        let Header { crc32: saved, data, settings, state } =
            toml::from_str(header).map_err(|err| err.message().to_owned())?;
        if let Some(saved) = saved {
            let is_intact = |place| format!("{:08x}", crc32(bytes, &place)) == saved;
            if !place_of_crc(bytes).is_some_and(is_intact) {
                return Err("its checksum is not the one in its header".to_owned());
            }
        }
        let all = candle::safetensors::load_buffer(bytes, &Device::Cpu);
        let mut tensors: BTreeMap<String, Vec<(String, Tensor)>> = BTreeMap::new();
        for (name, tensor) in all.map_err(|err| err.to_string())? {
            let (part, name) = name.split_once('.').ok_or("a tensor belongs to no part")?;
            tensors.entry(part.to_owned()).or_default().push((name.to_owned(), tensor));
        }
        Ok(Checkpoint { state, settings, data, tensors })
    }
}

/// Returns the place of the checksum in a file: the value of the first key of its entry, which is JSON.
fn place_of_crc(bytes: &[u8]) -> Option<Range<usize>> {
    const KEY: &[u8] = br#""maskfit":"crc32 = \""#;
    let length = u64::from_le_bytes(*bytes.first_chunk()?);
    let end = usize::try_from(length).ok()?.checked_add(8)?;
    let header = bytes.get(..end)?;
    let start = header.windows(KEY.len()).position(|it| it == KEY)? + KEY.len();
    header.get(start..start + NO_CRC.len())?;
    Some(start..start + NO_CRC.len())
}

/// Returns the checksum of a file, without the one that is in it.
fn crc32(bytes: &[u8], place: &Range<usize>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [&bytes[..place.start], NO_CRC.as_bytes(), &bytes[place.end..]] {
        crc.update(part);
    }
    crc.finalize()
}

impl Run {
    /// Returns whether the run has a checkpoint to resume from.
    pub fn has_checkpoint(&self) -> bool {
        list(&self.checkpoints()).is_ok_and(|it| !it.is_empty())
    }
}

/// Returns the checkpoints in a folder, oldest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = match fs::read_dir(dir) {
        Ok(it) => it,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(at(dir)(err)),
    };
    let paths = entries.flatten().map(|it| it.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|it| !it.file_name().is_some_and(|it| it.to_string_lossy().starts_with('.')))
        .filter(|it| it.extension().is_some_and(|it| it == "safetensors"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// The end of the name of a checkpoint that the settings do not schedule. It sorts before a scheduled one of the same
/// step.
const INTERIM: &str = "-interim";

/// Returns the path of the checkpoint of a step.
pub(crate) fn path_of(dir: &Path, step: usize, is_scheduled: bool) -> PathBuf {
    let end = if is_scheduled { "" } else { INTERIM };
    dir.join(format!("{step:08}{end}.safetensors"))
}

/// Returns whether the settings schedule a checkpoint.
pub(crate) fn is_scheduled(path: &Path) -> bool {
    !path.file_stem().is_some_and(|it| it.to_string_lossy().ends_with(INTERIM))
}

/// Returns the checkpoints in a folder that the settings schedule, oldest first.
pub(crate) fn scheduled(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut paths = list(dir)?;
    paths.retain(|it| is_scheduled(it));
    Ok(paths)
}

/// Returns the newest intact checkpoint, or `None` if the run has no checkpoint.
///
/// - `note`: called with a message for each damaged checkpoint that has one before it.
///
/// # Errors
/// The run has checkpoints, but none is intact.
pub(crate) fn newest(run: &Run, note: &dyn Fn(&str)) -> Result<Option<Checkpoint>, RunError> {
    let mut left = list(&run.checkpoints())?;
    while let Some(path) = left.pop() {
        match Checkpoint::open(&path) {
            Ok(it) => return Ok(Some(it)),
            Err(RunError::Damaged { path, reason }) => match left.last() {
                Some(before) => {
                    let (path, before) = (path.display(), before.display());
                    note(&format!("{path}: {reason}: trying the one before it, {before}"));
                }
                None => {
                    let reason = format!(
                        "{reason}, and no checkpoint before it is intact: restore one from a copy, or start \
                         a new run"
                    );
                    return Err(RunError::Damaged { path, reason });
                }
            },
            Err(err) => return Err(err),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use candle::{Device, Tensor};

    use super::{Checkpoint, ENTRY, RanOn, State, list, newest};
    use crate::{
        checkpoint_writer::Writer,
        run::{Run, RunError},
    };

    fn checkpoint(step: usize) -> Checkpoint {
        let tensor = Tensor::new(&[step as f32, 0.5], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("model".to_owned(), vec![("a.b".to_owned(), tensor)])]);
        let scores = vec![0.1, f64::NEG_INFINITY];
        let state = State { step, scores, ran_on: vec![RanOn::cpu()], ..State::default() };
        let data = "of this data".to_owned();
        Checkpoint { state, settings: "seed = 0".parse().unwrap(), data, tensors }
    }

    fn names(run: &Run) -> Vec<String> {
        let name = |it: &std::path::PathBuf| it.file_stem().unwrap().to_string_lossy().into_owned();
        list(&run.checkpoints()).unwrap().iter().map(name).collect()
    }

    #[test]
    fn the_last_checkpoints_are_kept_and_the_newest_readable_one_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("run"), "").unwrap();
        assert!(newest(&run, &|_| ()).unwrap().is_none());
        let mut writer = Writer::start(&run, 2, Vec::new()).unwrap();
        for step in [5, 10, 15] {
            writer.write(checkpoint(step), true).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(names(&run), ["00000010", "00000015"]);
        let found = newest(&run, &|_| ()).unwrap().unwrap();
        let Checkpoint { state, settings, data, .. } = checkpoint(15);
        assert_eq!((found.state, found.settings, found.data), (state, settings, data));
        assert_eq!(found.tensors["model"][0].0, "a.b");

        // The newest one is truncated.
        let path = run.checkpoints().join("00000015.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let notes = std::cell::RefCell::new(String::new());
        let found = newest(&run, &|it| notes.borrow_mut().push_str(it)).unwrap().unwrap();
        assert_eq!(found.state.step, 10);
        let want = "00000015.safetensors: the checkpoint is damaged (";
        assert!(notes.borrow().contains(want), "{notes:?}");
        assert!(notes.borrow().ends_with("checkpoints/00000010.safetensors"), "{notes:?}");
        // The run resumes from 10, and the unreadable checkpoint is removed.
        let mut writer = Writer::start(&run, 1, Vec::new()).unwrap();
        writer.write(checkpoint(12), true).unwrap();
        writer.finish().unwrap();
        assert_eq!(names(&run), ["00000012"]);

        fs::write(run.checkpoints().join("00000012.safetensors"), b"no").unwrap();
        let err = newest(&run, &|_| ()).err().unwrap();
        assert!(matches!(err, RunError::Damaged { .. }));
        assert!(
            err.to_string().ends_with(": restore one from a copy, or start a new run"),
            "{err}"
        );
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed() {
        let bytes = checkpoint(3).to_bytes().unwrap();
        assert!(Checkpoint::from_bytes(&bytes).is_ok());
        for at in 0..bytes.len() {
            for bit in [1, 4, 0x20] {
                let mut flipped = bytes.clone();
                flipped[at] ^= bit;
                let opened = Checkpoint::from_bytes(&flipped);
                assert!(opened.is_err(), "byte {at}, {:?}", char::from(bytes[at]));
            }
        }
        let mut flipped = bytes;
        *flipped.last_mut().unwrap() ^= 1;
        let err = Checkpoint::from_bytes(&flipped).err().unwrap();
        assert_eq!(err, "its checksum is not the one in its header");
    }

    #[test]
    fn a_checkpoint_without_a_checksum_is_opened() {
        let header = "data = \"of this data\"\n[settings]\nseed = 0\n[state]\nstep = 3\nphase = 0\n\
                      loss_sum = 0.0\nn_losses = 0\nn_since_best = 0\nscores = []\n";
        let entries = [(ENTRY.to_owned(), header.to_owned())].into_iter().collect();
        let tensor = Tensor::new(&[0.5_f32], &Device::Cpu).unwrap();
        let bytes = safetensors::serialize([("model.a.b", &tensor)], Some(entries)).unwrap();
        let state = Checkpoint::from_bytes(&bytes).unwrap().state;
        assert_eq!((state.step, state.ran_on), (3, vec![RanOn::cpu()]));
    }

    #[test]
    fn checkpoint_bytes_are_deterministic() {
        assert!(checkpoint(3).to_bytes().unwrap() == checkpoint(3).to_bytes().unwrap());
    }
}
