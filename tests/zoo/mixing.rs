//! Every operation on batches.

use augment::{MixOpConfig, MixPlan, Mixing};
use base::{
    Seed, Task,
    mix::{Row, whole},
};
use candle::{Device, Result};

/// The plan of an operation, with settings in addition to its defaults, for a batch of `n` images of 9x7.
fn mixed(kind: &str, settings: &str, n: usize, batch: usize) -> MixPlan {
    let op: MixOpConfig = toml::from_str(&format!("kind = \"{kind}\"\n{settings}")).unwrap();
    assert_eq!(op.get().problem(), None, "{kind}: {settings}");
    let mixing = Mixing::new(&[op], &Task::mask_gender_age(), &[], |_| usize::MAX).unwrap();
    mixing.plan(batch, n, [9, 7], |_| Seed(0).stream(&format!("mix/{batch}")))
}

#[test]
fn every_batch_operation_is_valid_and_reproducible() -> Result<()> {
    for &(kind, _) in MixOpConfig::KINDS {
        let variants: &[&str] = match kind {
            "random_erasing" => &["", "fill = \"rand\"", "fill = \"pixel\""],
            _ => &[
                "",
                "per = \"example\"",
                "per = \"example\"\npartner = \"flipped\"",
                "per = \"pair\"\npartner = \"flipped\"",
            ],
        };
        for settings in variants {
            for n in [1, 2, 5, 8] {
                let name = format!("{kind} {settings}: a batch of {n}");
                let images: Vec<u8> = (0..n * 9 * 7 * 3).map(|it| (it * 37 % 256) as u8).collect();
                let pixels = |plan: &MixPlan| -> Result<Vec<f32>> {
                    let rows = ops::Rows { images: &images, size: [9, 7], samples: &plan.rows };
                    let xs = ops::normalise(rows, [0.5; 3], [0.25; 3], &Device::Cpu)?;
                    assert_eq!(xs.dims(), [n, 9, 7, 3], "{name}");
                    xs.flatten_all()?.to_vec1()
                };
                let unmixed = MixPlan { size: [9, 7], rows: whole(n), extras: vec![] };
                let mut n_changed = 0;
                for batch in 0..20 {
                    let plan = mixed(kind, settings, n, batch);
                    assert_eq!(plan, mixed(kind, settings, n, batch), "{name}: not reproducible");
                    let rows: Vec<Row> = plan.rows.iter().map(|it| it.row([9, 7])).collect();
                    assert_eq!(rows.len(), n, "{name}");
                    for row in &rows {
                        let sum: f32 = row.iter().map(|it| it.weight).sum();
                        assert!((sum - 1.0).abs() < 1e-6, "{name}: {row:?}");
                        assert!(row.iter().all(|it| (0.0..=1.0).contains(&it.weight)), "{name}");
                    }
                    assert!(pixels(&plan)?.iter().all(|it| it.is_finite()), "{name}");
                    n_changed += usize::from(plan != unmixed);
                    let never = mixed(kind, &format!("p = 0.0\n{settings}"), n, batch);
                    assert_eq!(never, unmixed, "{name}: p = 0 changes something");
                }
                assert!(
                    n_changed > 5 || (n == 1 && settings.contains("pair")),
                    "{name}: too few batches are changed"
                );
            }
        }
        let plans = [0, 1].map(|it| mixed(kind, "", 8, it));
        assert_ne!(plans[0], plans[1], "{kind}: two batches are equal");
        for wrong in ["p = 1.5", "p = nan"] {
            let op: MixOpConfig = toml::from_str(&format!("kind = \"{kind}\"\n{wrong}")).unwrap();
            assert!(op.get().problem().is_some_and(|it| it.contains("`p`")), "{kind}: {wrong}");
        }
    }
    Ok(())
}
