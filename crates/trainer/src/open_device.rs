//! The device of a run, open: the CPU, or one of NVIDIA's cards.
//!
//! With `auto` it is the first card that no other run of this machine has, or the CPU if there is no card. Which card
//! a run has is marked by a lock on a file in the folder of temporary files, which ends with the process. So the
//! processes of a cross-validation have a card each; where there are more of them than cards, they share them.

use std::{env, fs::File, process};

use gpu::{Device, Error, Storage};
use infer::{Bundle, Predictor};
use ops::Card;

use crate::device::DeviceSetting;

/// The device of a run, open.
pub(crate) struct OpenDevice {
    /// The card, and how it stores activations in training; `None` for the CPU.
    pub(crate) card: Option<(Device, Storage)>,
    /// What the user is told about it.
    pub(crate) note: Option<String>,
    /// Marks the card as that of a run, until it is dropped.
    _mark: Option<File>,
}

impl OpenDevice {
    /// Opens a device.
    ///
    /// - `storage`: how a card stores activations.
    ///
    /// # Errors
    /// The card that is asked for cannot be used.
    pub(crate) fn new(setting: DeviceSetting, storage: Storage) -> Result<OpenDevice, Error> {
        match setting {
            DeviceSetting::Cpu => Ok(OpenDevice::cpu(None)),
            DeviceSetting::Cuda(idx) => OpenDevice::card(storage, idx, mark(idx)),
            DeviceSetting::Auto => {
                let is_amp = storage != Storage::F32;
                let in_f32 = "`amp` has no effect without a card: training in f32 on the CPU";
                let n = Device::count();
                if n == 0 {
                    return Ok(OpenDevice::cpu(is_amp.then(|| in_f32.to_owned())));
                }
                let (idx, of_run) = first_free(n, process::id() as usize, &mark);
                Ok(OpenDevice::card(storage, idx, of_run).unwrap_or_else(|err| {
                    let more = if is_amp { format!("; {in_f32}") } else { String::new() };
                    OpenDevice::cpu(Some(format!("training on the CPU: {err}{more}")))
                }))
            }
        }
    }

    fn cpu(note: Option<String>) -> OpenDevice {
        OpenDevice { card: None, note, _mark: None }
    }

    fn card(storage: Storage, idx: usize, mark: Option<File>) -> Result<OpenDevice, Error> {
        let device = Device::open(idx)?;
        let note = format!("training on {device:?} in {}", storage.name());
        Ok(OpenDevice { card: Some((device, storage)), note: Some(note), _mark: mark })
    }

    /// Describes what the bits of a run depend on: the kind of card and the type of activations; `None` for the CPU.
    pub(crate) fn describe(&self) -> Option<String> {
        let (device, storage) = self.card.as_ref()?;
        Some(format!("{} in {}", device.info().name, storage.name()))
    }
}

/// Returns a predictor of a bundle on a device, in f32.
///
/// # Errors
/// The card that is asked for cannot be used.
pub fn predictor(bundle: Bundle, setting: DeviceSetting) -> Result<Predictor, Error> {
    let predictor = Predictor::new(bundle, &candle::Device::Cpu);
    Ok(match OpenDevice::new(setting, Storage::F32)?.card {
        None => predictor,
        Some((device, storage)) => predictor.on_card(&Card::new(&device, storage)),
    })
}

/// Marks a card as that of a run; `None` if another run has marked it, or if that is unknown.
fn mark(idx: usize) -> Option<File> {
    let path = env::temp_dir().join(format!("maskfit-cuda-{idx}.lock"));
    // The file may be another user's, whom it suffices to read it.
    let file = File::options().create(true).append(true).open(&path).or_else(|_| File::open(&path));
    file.ok().filter(|it| it.try_lock().is_ok())
}

/// Returns the first card that can be marked, with its mark; one by the number of the process if none can.
fn first_free<T>(
    n: usize,
    process: usize,
    mark: &dyn Fn(usize) -> Option<T>,
) -> (usize, Option<T>) {
    let free = (0..n).find_map(|idx| Some((idx, Some(mark(idx)?))));
    free.unwrap_or((process % n.max(1), None))
}

#[cfg(test)]
mod tests {
    use gpu::{Device, Storage};

    use super::{DeviceSetting, OpenDevice, first_free};

    #[test]
    fn without_a_card_auto_is_the_cpu_and_a_card_is_an_error() {
        if Device::count() > 0 {
            eprintln!("skipped: there is a card");
            return;
        }
        let auto = |storage| OpenDevice::new(DeviceSetting::Auto, storage).unwrap();
        assert!(auto(Storage::F32).card.is_none() && auto(Storage::F32).note.is_none());
        let (it, want) =
            (auto(Storage::Bf16), "`amp` has no effect without a card: training in f32");
        assert!(it.card.is_none() && it.describe().is_none());
        assert!(it.note.is_some_and(|it| it.starts_with(want)));
        for idx in [0, 3] {
            let err = OpenDevice::new(DeviceSetting::Cuda(idx), Storage::F32).err().unwrap();
            let text = err.to_string();
            assert!(
                text.contains("the NVIDIA driver is not installed") || text.contains("no card"),
                "{text}"
            );
        }
    }

    #[test]
    fn processes_take_a_card_each_and_share_them_when_there_are_no_more() {
        let is_taken = |taken: &'static [usize]| move |idx| (!taken.contains(&idx)).then_some(idx);
        assert_eq!(first_free(3, 7, &is_taken(&[])), (0, Some(0)));
        assert_eq!(first_free(3, 7, &is_taken(&[0, 2])), (1, Some(1)));
        assert_eq!(first_free(3, 7, &is_taken(&[0, 1, 2])), (1, None));
        assert_eq!(first_free(3, 9, &is_taken(&[0, 1, 2])), (0, None));
    }
}
