//! Logs equal those of wandb's own writer, and are truncated when a run resumes.

use std::{cell::RefCell, fs, path::Path, time::Duration};

use super::{
    Wandb,
    kept::{Kept, runtime_of, step_of},
    log::{begin_log, pieces, records},
    record::{FILES, HEADER, HISTORY, RUN, RUNTIME, SUMMARY, item, numbered},
};
use crate::{
    About, End, Png, TrackConfig, Trackers,
    checksum::CRC32,
    golden,
    protobuf::{Field, Message, find},
};

fn history(n: u64, step: u64) -> Vec<u8> {
    let step = Message::new().whole(1, step);
    let history = Message::new().message(1, &item("val_mask_acc", "0.5")).message(2, &step);
    numbered(n, Message::new().message(HISTORY, &history).as_bytes())
}

fn log(records: &[&[u8]]) -> Vec<u8> {
    let add = |log: Vec<u8>, it: &&[u8]| [&log[..], &pieces(log.len() as u64, it)].concat();
    records.iter().fold(begin_log().to_vec(), add)
}

#[test]
fn log_equals_that_of_wandbs_own_writer() {
    let golden = golden();
    let hex = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect::<String>();
    assert_eq!(hex(&history(7, 300)), golden["history"]);
    assert_eq!(hex(&log(&[b"one", &history(7, 300)])), golden["log"]);
    // A block has 32768 bytes: the first record ends 3 bytes before the block does, the second fills two.
    let (first, second) = (vec![b'a'; 32_768 - 7 - 7 - 3], vec![b'b'; 70_000]);
    let long = log(&[&first, &second, b"c"]);
    assert_eq!(CRC32.of(&[&long]), golden["long_log_crc"]);
    let (found, is_damaged) = records(&long);
    let found: Vec<_> = found.into_iter().map(|it| it.0).collect();
    assert_eq!((found, is_damaged), (vec![first, second, b"c".to_vec()], false));
}

/// The records of a run: for each step an image, the scalars and their summary.
fn of_steps(n_steps: u64) -> Vec<Vec<u8>> {
    let text = |field, text: &str| Message::new().message(field, &Message::new().text(1, text));
    let mut all =
        vec![text(HEADER, "1.0").as_bytes().to_vec(), text(RUN, "the run").as_bytes().to_vec()];
    for step in 1..=n_steps {
        all.push(text(FILES, "a.png").as_bytes().to_vec());
        let items = Message::new().message(1, &item("loss", "0.5"));
        let items = items.message(1, &item(RUNTIME, &format!("{step}.5")));
        let of_step = Message::new().whole(1, step);
        let of_step = Message::new().message(HISTORY, &items.clone().message(2, &of_step));
        all.push(of_step.as_bytes().to_vec());
        all.push(Message::new().message(SUMMARY, &items).as_bytes().to_vec());
    }
    (1..).zip(&all).map(|(n, it)| numbered(n, it)).collect()
}

fn joined(records: &[Vec<u8>]) -> Vec<u8> {
    log(&records.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[test]
fn log_is_truncated_to_the_step_that_a_run_resumes_from() {
    let all = of_steps(5);
    let whole = joined(&all);
    let kept = |log: &[u8], step| Kept::of(log, step).map(|it| (it.bytes, it.n_records));
    let want = |n: usize| Ok((joined(&all[..n]), n as u64));
    // Two records for the run, three per step; the image of the fourth step comes before its scalars.
    assert_eq!(kept(&whole, 3), want(2 + 3 * 3));
    assert_eq!(kept(&whole, 0), want(2));
    assert_eq!(kept(&whole, 9), want(2 + 3 * 5));
    assert_eq!(Kept::of(&whole, 3).unwrap().runtime, Duration::from_millis(3500));
    // Truncated by a kill: in the last summary, in the scalars before it, in the run record.
    let end = |n: usize| joined(&all[..n]).len();
    assert_eq!(kept(&whole[..whole.len() - 1], 9), want(2 + 3 * 5 - 1));
    assert_eq!(kept(&whole[..end(16) - 1], 9), want(2 + 3 * 4));
    assert_eq!(kept(&whole[..end(2) - 1], 0), Ok((begin_log().to_vec(), 0)));
    assert_eq!(kept(b"", 0), Ok((begin_log().to_vec(), 0)));
    // Damaged in the second step: the run can resume from the first, but not from a later one.
    let mut damaged = whole;
    damaged[end(7) - 3] ^= 1;
    assert_eq!(kept(&damaged, 1), want(2 + 3));
    let err = kept(&damaged, 4).unwrap_err();
    assert_eq!(err, "the log is damaged after step 1, but the run resumes after step 4");
    assert!(kept(b"something else", 1).is_err());
}

/// Logs the steps after `from` up to `to`; returns the notes.
fn track(dir: &Path, from: usize, to: usize) -> Vec<String> {
    let tags = ["first", "focal"].map(str::to_owned).to_vec();
    let wandb = TrackConfig::Wandb(Wandb { tags, ..Wandb::default() });
    let columns = ["loss".to_owned()];
    let settings = toml::Table::new();
    let tags = ["focal", "mixup"].map(str::to_owned);
    let about = About {
        dir,
        name: "a",
        group: None,
        step: from,
        columns: &columns,
        settings: &settings,
        tags: &tags,
    };
    let notes = RefCell::new(Vec::new());
    let note = |it: &str| notes.borrow_mut().push(it.to_owned());
    let mut trackers = Trackers::open(&[wandb], &about, &note);
    for step in from + 1..=to {
        trackers.image(step, "sheet", &Png { bytes: vec![1, 2, 3], size: [1, 1] });
        trackers.scalars(step, &[("loss", 1.0)]);
    }
    trackers.finish(End::Stopped);
    drop(trackers);
    notes.into_inner()
}

fn log_of(dir: &Path) -> std::path::PathBuf {
    super::find_log(&dir.join("wandb")).unwrap().unwrap()
}

#[test]
fn resumed_log_has_each_step_once_and_increasing_times() {
    let dir = tempfile::tempdir().unwrap();
    assert!(track(dir.path(), 0, 6).is_empty());
    std::thread::sleep(Duration::from_millis(20));
    let path = log_of(dir.path());
    assert!(track(dir.path(), 4, 8).is_empty());
    assert_eq!(log_of(dir.path()), path);
    let (found, is_damaged) = records(&fs::read(&path).unwrap());
    assert!(!is_damaged);
    let numbers: Vec<_> = found.iter().map(|it| find(&it.0, 1)).collect();
    let want: Vec<_> = (1..=2 + 3 * 8).map(|it| Some(Field::Whole(it))).collect();
    assert_eq!(numbers, want, "records are numbered in order");
    // The tags of the settings follow the given ones.
    let text = String::from_utf8_lossy(&found[1].0).into_owned();
    let places: Vec<Option<usize>> =
        ["first", "focal", "mixup"].iter().map(|it| text.find(it)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{text:?}");
    assert_eq!(text.matches("focal").count(), 1, "{text:?}");
    let histories = found.iter().filter_map(|it| match find(&it.0, HISTORY)? {
        Field::Bytes(history) => Some((step_of(history).unwrap(), runtime_of(history).unwrap())),
        Field::Whole(_) => None,
    });
    let (steps, times): (Vec<u64>, Vec<Duration>) = histories.unzip();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn log_that_cannot_be_resumed_stays_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    track(dir.path(), 0, 6);
    let path = log_of(dir.path());
    let mut damaged = fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let notes = track(dir.path(), 6, 8);
    assert!(notes.len() == 1 && notes[0].contains("the log is damaged after step"), "{notes:?}");
    assert!(notes[0].contains("move its folder away"), "{notes:?}");
    assert_eq!(fs::read(&path).unwrap(), damaged);
}

#[test]
fn empty_folder_of_a_killed_run_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("wandb/offline-run-20261129_080000-aaaaaaaa");
    fs::create_dir_all(&empty).unwrap();
    assert!(track(dir.path(), 0, 2).is_empty());
    assert!(!empty.exists());
    let path = log_of(dir.path());
    assert!(track(dir.path(), 2, 4).is_empty());
    assert_eq!(log_of(dir.path()), path);
}
