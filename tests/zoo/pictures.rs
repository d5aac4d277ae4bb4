//! Every operation on pictures and on batches.

use augment::{MixOpConfig, MixPlan, Mixing, Picture, PictureOpConfig};
use base::{
    Seed, Task,
    mix::{Row, whole},
};
use candle::{Device, Result};

fn drawn(w: u32, h: u32) -> Picture {
    Picture::from_fn(w, h, |x, y| image::Rgb([(x * 5) as u8, (y * 3) as u8, (x + y) as u8]))
}

#[test]
fn every_picture_operation_keeps_its_promises() {
    for (kind, op) in PictureOpConfig::zoo() {
        assert_eq!(op.get().problem(), None, "{kind}: its defaults make no sense");
        for (w, h) in [(225, 301), (301, 225), (1, 1), (224, 224)] {
            let apply = |seed| op.get().apply(drawn(w, h), &mut Seed(seed).stream("zoo"));
            // A crop of a picture that is too small is refused, with a word on what to do.
            let once = match apply(0) {
                Ok(it) => it,
                Err(text) => {
                    assert!(text.contains("resize"), "{kind}: {text}");
                    continue;
                }
            };
            let size = op.get().gives_size().unwrap_or([h as usize, w as usize]);
            match &op {
                PictureOpConfig::ResizeShorter(it) => {
                    assert_eq!(once.height().min(once.width()) as usize, it.size, "{kind}");
                }
                _ => assert_eq!([once.height() as usize, once.width() as usize], size, "{kind}"),
            }
            assert_eq!(once, apply(0).unwrap(), "{kind}: the same stream gives another picture");
            let others = (1..20).any(|seed| apply(seed).unwrap() != once);
            if !op.get().is_random() {
                assert!(!others, "{kind} says that it leaves nothing to chance");
            } else if w > 1 && (w, h) != (224, 224) {
                assert!(others, "{kind} says that it is random");
            }
        }
    }
}

#[test]
fn strength_zero_is_the_identity() {
    let nothing = [
        "kind = \"horizontal_flip\"\np = 0.0",
        "kind = \"color_jitter\"\nbrightness = 0.0\ncontrast = 0.0\nsaturation = 0.0",
        "kind = \"resize\"\nsize = [31, 23]",
        "kind = \"resize_shorter\"\nsize = 23",
        "kind = \"center_crop\"\nsize = [31, 23]",
        "kind = \"random_crop\"\nsize = [31, 23]",
    ];
    assert_eq!(nothing.len(), PictureOpConfig::KINDS.len(), "an operation without its zero");
    for text in nothing {
        let op: PictureOpConfig = toml::from_str(text).unwrap();
        for seed in 0..10 {
            let got = op.get().apply(drawn(23, 31), &mut Seed(seed).stream("zoo")).unwrap();
            assert_eq!(got, drawn(23, 31), "{text}");
        }
    }
}

/// What an operation, with settings besides its defaults, makes of a batch of `n` pictures of 9x7.
fn mixed(kind: &str, settings: &str, n: usize, batch: usize) -> MixPlan {
    let op: MixOpConfig = toml::from_str(&format!("kind = \"{kind}\"\n{settings}")).unwrap();
    assert_eq!(op.get().problem(), None, "{kind}: {settings}");
    let mixing = Mixing::new(&[op], &Task::mask_gender_age(), &[], |_| usize::MAX).unwrap();
    mixing.plan(batch, n, [9, 7], |_| Seed(0).stream(&format!("mix/{batch}")))
}

#[test]
fn every_mixing_keeps_its_promises() -> Result<()> {
    for &(kind, _) in MixOpConfig::KINDS {
        let both: &[&str] = match kind {
            "random_erasing" => &["", "fill = \"rand\"", "fill = \"pixel\""],
            _ => &[
                "",
                "per = \"example\"",
                "per = \"example\"\npartner = \"flipped\"",
                "per = \"pair\"\npartner = \"flipped\"",
            ],
        };
        for settings in both {
            for n in [1, 2, 5, 8] {
                let name = format!("{kind} {settings}: a batch of {n}");
                let pictures: Vec<u8> =
                    (0..n * 9 * 7 * 3).map(|it| (it * 37 % 256) as u8).collect();
                let seen = |plan: &MixPlan| -> Result<Vec<f32>> {
                    let rows =
                        ops::Rows { pictures: &pictures, size: [9, 7], collages: &plan.rows };
                    let xs = ops::normalise(rows, [0.5; 3], [0.25; 3], &Device::Cpu)?;
                    assert_eq!(xs.dims(), [n, 9, 7, 3], "{name}");
                    xs.flatten_all()?.to_vec1()
                };
                let is_whole = MixPlan { size: [9, 7], rows: whole(n), guests: vec![] };
                let mut n_changed = 0;
                for batch in 0..20 {
                    let plan = mixed(kind, settings, n, batch);
                    assert_eq!(plan, mixed(kind, settings, n, batch), "{name}: it is not repeated");
                    let rows: Vec<Row> = plan.rows.iter().map(|it| it.row([9, 7])).collect();
                    assert_eq!(rows.len(), n, "{name}");
                    for row in &rows {
                        let sum: f32 = row.iter().map(|it| it.weight).sum();
                        assert!((sum - 1.0).abs() < 1e-6, "{name}: {row:?}");
                        assert!(row.iter().all(|it| (0.0..=1.0).contains(&it.weight)), "{name}");
                    }
                    assert!(seen(&plan)?.iter().all(|it| it.is_finite()), "{name}");
                    n_changed += usize::from(plan != is_whole);
                    let nothing = mixed(kind, &format!("p = 0.0\n{settings}"), n, batch);
                    assert_eq!(nothing, is_whole, "{name}: p = 0 changes something");
                }
                assert!(
                    n_changed > 5 || (n == 1 && settings.contains("pair")),
                    "{name}: too little"
                );
            }
        }
        let plans = [0, 1].map(|it| mixed(kind, "", 8, it));
        assert_ne!(plans[0], plans[1], "{kind}: two batches are alike");
        for wrong in ["p = 1.5", "p = nan"] {
            let op: MixOpConfig = toml::from_str(&format!("kind = \"{kind}\"\n{wrong}")).unwrap();
            assert!(op.get().problem().is_some_and(|it| it.contains("`p`")), "{kind}: {wrong}");
        }
    }
    Ok(())
}
