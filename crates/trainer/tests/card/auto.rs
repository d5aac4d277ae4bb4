//! `device = "auto"`: a card that cannot be used is passed over.

use std::{env, fs::File};

use trainer::{Run, fit};

use crate::harness::{Steps, experiment, on_card, plan};

/// Marks a card as another run does.
fn mark(card: usize) -> Option<File> {
    let path = env::temp_dir().join(format!("maskfit-cuda-{card}.lock"));
    let file = File::options().create(true).append(true).open(path).ok()?;
    file.try_lock().is_ok().then_some(file)
}

#[test]
fn auto_takes_the_next_card_where_one_cannot_be_opened() {
    on_card(|_, one| {
        on_card(|_, two| {
            let (old, good) = if one.card() < two.card() { (one, two) } else { (two, one) };
            let (old_idx, good_idx) = (old.card(), good.card());
            let marks: Vec<Option<File>> =
                (0..gpu::Device::count().expect("a driver")).map(mark).collect();
            if marks[old_idx].is_none() || marks[good_idx].is_none() {
                eprintln!("skipped: another process of this machine has marked a card");
                return;
            }
            let (ours, _others): (Vec<_>, Vec<_>) = marks
                .into_iter()
                .enumerate()
                .partition(|(idx, _)| [old_idx, good_idx].contains(idx));
            drop(ours);
            old.set_capability(7, 5);

            let plan = plan(&experiment("auto", &["amp.dtype=bf16"]));
            let card = plan.card().expect("a device").expect("a card").info().index;
            assert_eq!(card, good_idx);
            let dir = tempfile::tempdir().expect("a folder");
            let run = Run::create(&dir.path().join("run"), "").expect("a run");
            let callback = Steps::until(1, None);
            fit(&plan, &run, &callback).expect("a step");
            let notes = callback.notes();
            let start =
                format!("training on cuda:{good_idx} (Emulated H200) in bf16; a card before it");
            assert!(notes.contains(&start), "{notes}");
            assert!(
                notes.contains(&format!(
                    "`cuda:{old_idx}` (Emulated H200) has compute capability 7.5"
                )),
                "{notes}"
            );
        });
    });
}
