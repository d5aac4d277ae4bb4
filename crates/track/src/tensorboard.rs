//! `tensorboard/`: event files for `tensorboard --logdir runs`.
//!
//! A file is a sequence of records, each an `Event` of TensorFlow's `event.proto`:
//! length (8 bytes), its checksum, the event, its checksum; all numbers are little-endian.
//! Source: `tensorflow/core/lib/io/record_writer.h` and `core/protobuf/event.proto`.
//!
//! A resumed run writes another file, which begins with a `SessionLog` of status `START`: readers then
//! discard the events of that step and later ones.

use std::fs;

use base::AppendFile;
use serde::{Deserialize, Serialize};

use crate::{
    About, End, Histogram, Png, Track, TrackError, Tracker, at, checksum::CRC32C, now,
    protobuf::Message,
};

/// `{ kind = "tensorboard" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TensorBoard {}

struct Events(AppendFile);

impl Track for TensorBoard {
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError> {
        let dir = about.dir.join("tensorboard");
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        let n_before = fs::read_dir(&dir).map_err(at(&dir))?.count();
        // Readers read the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{:010}.maskfit.{n_before:04}", now().as_secs());
        let path = dir.join(name);
        let time = now().as_secs_f64();
        let mut start = record(&version(time));
        if n_before > 0 {
            start.extend(record(&session(time, about.step + 1)));
        }
        Ok(Box::new(Events(AppendFile::open(&path, &start).map_err(at(&path))?)))
    }
}

impl Events {
    /// Appends an event with values of a `Summary`.
    fn add(&mut self, step: usize, values: &[Message]) -> Result<(), TrackError> {
        let summary = values.iter().fold(Message::new(), |all, it| all.message(1, it));
        let event = record(&stamped(now().as_secs_f64(), step).message(5, &summary));
        self.0.add(&event).map_err(at(self.0.path()))
    }
}

impl Tracker for Events {
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let values = values.iter().map(|&(name, it)| scalar(name, it));
        self.add(step, &values.collect::<Vec<_>>())
    }

    fn image(&mut self, step: usize, name: &str, it: &Png) -> Result<(), TrackError> {
        self.add(step, &[image(name, it)])
    }

    fn histogram(&mut self, step: usize, name: &str, it: &Histogram) -> Result<(), TrackError> {
        self.add(step, &[histogram(name, it)])
    }

    fn finish(&mut self, _: End) -> Result<(), TrackError> {
        let file = self.0.file().and_then(|it| it.sync_data());
        file.map_err(at(self.0.path()))
    }

    fn logs_images(&self) -> bool {
        true
    }

    fn table(&self) -> Option<fs::File> {
        self.0.file().ok()
    }
}

fn scalar(tag: &str, value: f64) -> Message {
    Message::new().text(1, tag).float(2, value as f32)
}

fn image(tag: &str, image: &Png) -> Message {
    const RGB: u64 = 3;
    let [width, height] = image.size;
    let image = Message::new()
        .whole(1, u64::from(height))
        .whole(2, u64::from(width))
        .whole(3, RGB)
        .bytes(4, &image.bytes);
    Message::new().text(1, tag).message(4, &image)
}

/// The format stores only the upper edge of each bin, so an empty bin holding the lower edge of the first
/// comes before them.
fn histogram(tag: &str, it: &Histogram) -> Message {
    let counts: Vec<f64> =
        std::iter::once(0.0).chain(it.counts.iter().map(|&it| it as f64)).collect();
    let histogram = Message::new()
        .double(1, it.extremes[0])
        .double(2, it.extremes[1])
        .double(3, counts.iter().sum())
        .double(4, it.sums[0])
        .double(5, it.sums[1])
        .doubles(6, &it.edges)
        .doubles(7, &counts);
    Message::new().text(1, tag).message(5, &histogram)
}

/// The first event of every file: the format's version.
fn version(time: f64) -> Message {
    Message::new().double(1, time).text(3, "brain.Event:2")
}

/// The start of a session at `step`.
fn session(time: f64, step: usize) -> Message {
    const START: u64 = 1;
    stamped(time, step).message(7, &Message::new().whole(1, START))
}

/// An event with the time and step.
fn stamped(time: f64, step: usize) -> Message {
    Message::new().double(1, time).whole(2, step as u64)
}

/// An event framed as a record of the file.
fn record(event: &Message) -> Vec<u8> {
    let event = event.as_bytes();
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), event, &masked(event)].concat()
}

/// A masked checksum (rotated, plus a constant), for files whose content may itself contain checksums.
fn masked(bytes: &[u8]) -> [u8; 4] {
    CRC32C.of(&[bytes]).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{histogram, record, scalar, session, stamped, version};
    use crate::{Histogram, golden, protobuf::Message};

    #[test]
    fn records_match_tensorflows_writer() {
        let golden = golden();
        let hex =
            |it: &Message| -> String { record(it).iter().map(|it| format!("{it:02x}")).collect() };
        assert_eq!(hex(&version(1.5)), golden["version"]);
        assert_eq!(hex(&session(1.5, 300)), golden["session"]);
        let event = |value: &Message| {
            let summary = Message::new().message(1, value);
            stamped(1.5, 300).message(5, &summary)
        };
        assert_eq!(hex(&event(&scalar("val_mask/acc", 0.1))), golden["scalar"]);
        let numbers = [-2.0, -0.5, 0.25, 0.25, 1.0, 6.0];
        let numbers = histogram("weights", &Histogram::of(&numbers).unwrap());
        assert_eq!(hex(&event(&numbers)), golden["histogram"]);
    }
}
