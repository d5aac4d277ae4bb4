//! The device of a run, open: the CPU, or one of NVIDIA's cards.
//!
//! With `auto` it is the first card that no other run of this machine has and that can be opened, or the CPU if there is
//! none. Which card a run has is marked by a lock on a file in the folder of temporary files, which ends with the
//! process. So the processes of a cross-validation have a card each; where there are more of them than cards, they share
//! them.

use std::{env, fs::File, process};

use gpu::{Device, Error, Storage};
use infer::{Bundle, Predictor};
use ops::Card;

use crate::{
    device::DeviceSetting,
    plan::{PlanError, wrong},
    ran_on::RanOn,
};

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
            DeviceSetting::Auto => Ok(OpenDevice::auto(storage)),
        }
    }

    /// Opens a card that no other run has, or else one that another has, or else none.
    fn auto(storage: Storage) -> OpenDevice {
        let is_amp = storage != Storage::F32;
        let in_f32 = "`amp` has no effect without a card: training in f32 on the CPU";
        let on_cpu = |why: &str| {
            let more = if is_amp { format!("; {in_f32}") } else { String::new() };
            OpenDevice::cpu(Some(format!("training on the CPU: {why}{more}")))
        };
        let n = match Device::count() {
            Ok(0) => return on_cpu(&Error::NoDevice { index: 0, count: 0 }.to_string()),
            Ok(n) => n,
            // No note without amp: most machines have none.
            Err(Error::NoDriver) => {
                return OpenDevice::cpu(is_amp.then(|| in_f32.to_owned()));
            }
            Err(err) => return on_cpu(&err.to_string()),
        };
        let open = |idx, mark: Option<File>| OpenDevice::card(storage, idx, mark);
        let (opened, failed) = first_that_opens(n, process::id() as usize, &mark, &open);
        let failed: Vec<String> = failed.iter().map(ToString::to_string).collect();
        let failed = failed.join("; ");
        match opened {
            Some(it) if failed.is_empty() => it,
            Some(it) => {
                let note = it
                    .note
                    .map(|note| format!("{note}; a card before it cannot be used: {failed}"));
                OpenDevice { note, ..it }
            }
            None => on_cpu(&failed),
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

    /// A card that is open already, and that nobody marks.
    ///
    /// - `storage`: how it stores activations.
    pub(crate) fn open_already(device: &Device, storage: Storage) -> OpenDevice {
        OpenDevice { card: Some((device.clone(), storage)), note: None, _mark: None }
    }

    /// Returns what the bits of a run depend on: the kind of device and the type of activations.
    pub(crate) fn ran_on(&self) -> RanOn {
        match &self.card {
            None => RanOn::cpu(),
            Some((device, storage)) => RanOn::card(&device.info().name, *storage),
        }
    }
}

/// Checks that a device can be used, before long work. The card is open no longer than that.
///
/// # Errors
/// The card that is asked for cannot be used.
pub fn check_device(setting: DeviceSetting) -> Result<(), PlanError> {
    match setting {
        DeviceSetting::Auto | DeviceSetting::Cpu => Ok(()),
        DeviceSetting::Cuda(idx) => match Device::open(idx) {
            Ok(_) => Ok(()),
            Err(err) => Err(wrong("device")(err.to_string())),
        },
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

/// Opens the first card that can be marked and opened; if there is none, the first that can be opened, from one by the
/// number of the process on. Returns why others could not be opened as well.
fn first_that_opens<M, T>(
    n: usize,
    process: usize,
    mark: &dyn Fn(usize) -> Option<M>,
    open: &dyn Fn(usize, Option<M>) -> Result<T, Error>,
) -> (Option<T>, Vec<Error>) {
    let (mut marked, mut failed) = (Vec::new(), Vec::new());
    let mut attempt = |idx, mark| match open(idx, mark) {
        Ok(it) => Some(it),
        Err(err) => {
            failed.push(err);
            None
        }
    };
    for idx in 0..n {
        let Some(it) = mark(idx) else {
            marked.push(idx);
            continue;
        };
        if let Some(it) = attempt(idx, Some(it)) {
            return (Some(it), failed);
        }
    }
    let start = process % marked.len().max(1);
    marked.rotate_left(start);
    let opened = marked.into_iter().find_map(|idx| attempt(idx, None));
    (opened, failed)
}

#[cfg(test)]
mod tests {
    use gpu::{Device, Error, Storage};

    use super::{DeviceSetting, OpenDevice, RanOn, first_that_opens};

    #[test]
    fn without_a_card_auto_is_the_cpu_and_a_card_is_an_error() {
        if Device::count().is_ok() {
            eprintln!("skipped: there is a driver");
            return;
        }
        let auto = |storage| OpenDevice::new(DeviceSetting::Auto, storage).unwrap();
        assert!(auto(Storage::F32).card.is_none() && auto(Storage::F32).note.is_none());
        let (it, want) =
            (auto(Storage::Bf16), "`amp` has no effect without a card: training in f32");
        assert!(it.card.is_none() && it.ran_on() == RanOn::cpu());
        assert!(it.note.is_some_and(|it| it.starts_with(want)));
        for idx in [0, 3] {
            let err = OpenDevice::new(DeviceSetting::Cuda(idx), Storage::F32).err().unwrap();
            let text = err.to_string();
            assert!(text.starts_with("the NVIDIA driver "), "{text}");
        }
    }

    /// The card that is opened of three, whether it is marked, and those that fail before.
    ///
    /// - `taken`, `broken`: cards of other runs, and those that cannot be opened.
    fn opened(
        process: usize,
        taken: &[usize],
        broken: &[usize],
    ) -> (Option<(usize, bool)>, Vec<usize>) {
        let mark = |idx| (!taken.contains(&idx)).then_some(idx);
        let open = |idx, mark: Option<usize>| {
            assert!(mark.is_none_or(|it| it == idx));
            match broken.contains(&idx) {
                true => Err(Error::NoDevice { index: idx, count: 3 }),
                false => Ok((idx, mark.is_some())),
            }
        };
        let (opened, failed) = first_that_opens(3, process, &mark, &open);
        let of = |it: &Error| match it {
            Error::NoDevice { index, .. } => *index,
            _ => usize::MAX,
        };
        (opened, failed.iter().map(of).collect())
    }

    #[test]
    fn processes_take_a_card_each_and_share_them_when_there_are_no_more() {
        assert_eq!(opened(7, &[], &[]), (Some((0, true)), vec![]));
        assert_eq!(opened(7, &[0, 2], &[]), (Some((1, true)), vec![]));
        assert_eq!(opened(7, &[0, 1, 2], &[]), (Some((1, false)), vec![]));
        assert_eq!(opened(9, &[0, 1, 2], &[]), (Some((0, false)), vec![]));
    }

    #[test]
    fn a_card_that_cannot_be_opened_is_passed_over() {
        assert_eq!(opened(7, &[], &[0, 1]), (Some((2, true)), vec![0, 1]));
        // A free one first, then one of another run.
        assert_eq!(opened(8, &[1, 2], &[0]), (Some((1, false)), vec![0]));
        assert_eq!(opened(9, &[1, 2], &[0, 2]), (Some((1, false)), vec![0, 2]));
        assert_eq!(opened(7, &[2], &[0, 1, 2]), (None, vec![0, 1, 2]));
    }
}
