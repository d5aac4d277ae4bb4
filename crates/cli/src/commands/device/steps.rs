//! The section of ten steps: the training of tiny networks on the card, against the CPU.

use gpu::{Device, Storage};
use serde_json::{Value, json};
use trainer::check::{self, Agreement, Bounds, Network, Taken, take};

use super::section::{Section, finite, heed};
use crate::{
    style::{headed, labelled},
    wrap::columns,
};

/// A network in one storage.
struct Row {
    network: &'static str,
    storage: Storage,
    /// How far the card is from the CPU; `None` where the steps failed.
    agreement: Option<Agreement>,
    problems: Vec<String>,
}

/// The networks to train.
///
/// - `is_whole`: all of them.
pub(super) fn networks(is_whole: bool) -> &'static [Network] {
    static ALL: [Network; 3] = [check::EFFICIENTNET, check::RESNET, check::CONVNEXT];
    if is_whole { &ALL } else { &ALL[..1] }
}

/// Takes ten steps of each network in each storage.
pub(super) fn section(
    device: &Device,
    networks: &[Network],
    should_stop: &dyn Fn() -> bool,
) -> anyhow::Result<Section> {
    device.set_caching(true)?;
    let mut rows = Vec::new();
    for network in networks {
        status!("ten steps: {}", network.name);
        let want = take(network, &[], None)?;
        for storage in Storage::ALL {
            heed(should_stop)?;
            rows.push(row(device, network, storage, &want));
        }
    }
    device.empty_cache()?;
    Ok(section_of(&rows))
}

fn row(device: &Device, network: &Network, storage: Storage, want: &Taken) -> Row {
    let (agreement, problems) = match take(network, &[], Some((device, storage))) {
        Ok(got) => {
            let agreement = Agreement::between(&got, want);
            let problems = agreement.problems(&Bounds::of(storage));
            (Some(agreement), problems)
        }
        Err(err) => (None, vec![err.to_string()]),
    };
    Row { network: network.name, storage, agreement, problems }
}

fn section_of(rows: &[Row]) -> Section {
    let n_failed = rows.iter().filter(|it| !it.problems.is_empty()).count();
    let json = rows.iter().map(Row::json).collect();
    Section { name: "steps", text: text(rows), json, n_failed }
}

fn text(rows: &[Row]) -> String {
    let header = ["ten steps", "type", "first loss", "losses", "changes", ""];
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let mut text = headed(&columns(&lines, &[false, false, true, true, true, false]));
    text += "\nhow far the card is from the CPU, over the most that rounding explains\n";
    for row in rows {
        for it in &row.problems {
            let (network, storage) = (row.network, row.storage.name());
            text += &format!("{}\n", labelled(&format!("error: {network} {storage}: {it}")));
        }
    }
    text
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let bounds = Bounds::of(self.storage);
        let [first, loss, change] = match &self.agreement {
            None => Default::default(),
            Some(it) => {
                [it.first / bounds.first, it.loss / bounds.loss, it.change() / bounds.change]
                    .map(|it| format!("{it:.2}"))
            }
        };
        let failed = if self.problems.is_empty() { "" } else { "failed" };
        let storage = self.storage.name().to_owned();
        [self.network.to_owned(), storage, first, loss, change, failed.to_owned()]
    }

    fn json(&self) -> Value {
        let Bounds { first, loss, change } = Bounds::of(self.storage);
        let of =
            |get: &dyn Fn(&Agreement) -> f64| self.agreement.as_ref().map(|it| finite(get(it)));
        let changes = self.agreement.iter().flat_map(|it| &it.changes);
        let changes = changes.map(|it| (it.group.to_owned(), finite(it.apart)));
        json!({
            "network": self.network,
            "storage": self.storage.name(),
            "first_loss": of(&|it| it.first),
            "losses": of(&|it| it.loss),
            "changes": changes.collect::<serde_json::Map<_, _>>(),
            "bounds": { "first_loss": first, "losses": loss, "changes": change },
            "failures": self.problems,
        })
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use expect_test::expect;
    use gpu::Storage;
    use trainer::check::{Agreement, Bounds, Change};

    use super::{Row, section_of};

    #[test]
    fn steps_that_are_too_far_apart_are_counted_and_listed() {
        let row = |storage: Storage, share: f64| {
            let Bounds { first, loss, change } = Bounds::of(storage);
            let weights = Change { group: "weights", apart: share * change };
            let norms = Change { group: "norms", apart: 0.1 * change };
            let agreement =
                Agreement { first: 0.5 * first, loss: 0.25 * loss, changes: vec![weights, norms] };
            let problems = agreement.problems(&Bounds::of(storage));
            Row { network: "ResNet", storage, agreement: Some(agreement), problems }
        };
        let problems = vec!["out of memory".to_owned()];
        let failed = Row { network: "ResNet", storage: Storage::F16, agreement: None, problems };
        let section = section_of(&[row(Storage::F32, 0.75), row(Storage::Bf16, 3.0), failed]);
        assert_eq!(section.n_failed, 2);
        let text = strip_str(&section.text).to_string();
        let (table, errors) = text.split_once("error: ").unwrap();
        expect![[r#"
            ten steps  type  first loss  losses  changes
            ResNet     f32         0.50    0.25     0.75
            ResNet     bf16        0.50    0.25     3.00  failed
            ResNet     f16                                failed
            how far the card is from the CPU, over the most that rounding explains
        "#]]
        .assert_eq(table);
        assert!(errors.starts_with("ResNet bf16: what the steps have changed in the weights is"));
        assert!(errors.ends_with("error: ResNet f16: out of memory\n"), "{errors}");
        assert_eq!(section.json[1]["failures"].as_array().map(Vec::len), Some(1));
        assert!(section.json[0]["changes"]["norms"].as_f64().is_some_and(|it| it > 0.0));
        assert_eq!(section.json[2]["losses"], serde_json::Value::Null);
    }
}
