//! The section of kernels: every case against f64, a row for each family.

use gpu::{Device, Error, Storage};
use gpu_check::{Case, Outcome, cases};
use serde_json::{Value, json};

use super::section::{Section, finite, heed};
use crate::{
    phrases::count,
    style::{headed, labelled},
    wrap::columns,
};

/// Failures to print; the file has all.
const SHOWN: usize = 20;

/// What the cases of a family gave.
struct Family {
    name: &'static str,
    n_cases: usize,
    n_failed: usize,
    n_numbers: usize,
    /// The largest error over its bound, for each of [`Storage::ALL`].
    worst: [Option<f64>; 3],
}

/// What was found until now.
#[derive(Default)]
struct Found {
    families: Vec<Family>,
    cases: Vec<Value>,
    failures: Vec<String>,
}

/// Runs the cases of these families.
pub(super) fn section(
    device: &Device,
    only: &[&str],
    is_whole: bool,
    should_stop: &dyn Fn() -> bool,
) -> anyhow::Result<Section> {
    // Every buffer is one of the driver's, so that a read of another's memory is more likely to be found.
    device.set_caching(false)?;
    let mut found = Found::default();
    for family in only {
        let cases = cases([*family], is_whole);
        status!("{family}: {}", count(&cases.len().to_string(), "case"));
        for (idx, case) in cases.iter().enumerate() {
            heed(should_stop)?;
            let outcome = case.run(device);
            let is_broken = matches!(outcome, Err(Error::Driver { .. }));
            found.add(case, outcome.unwrap_or_else(|err| failed(&err)));
            if is_broken {
                // After a fault the driver refuses everything that this program asks for.
                let rest = cases.len() - idx - 1;
                found.failures.push(format!(
                    "the driver failed: {rest} more cases of {family}, and all after it, were not run"
                ));
                return Ok(found.section());
            }
        }
    }
    Ok(found.section())
}

/// A case that ended with an error.
fn failed(err: &Error) -> Outcome {
    Outcome { worst: f64::INFINITY, failures: vec![err.to_string()], ..Outcome::default() }
}

impl Found {
    fn add(&mut self, case: &Case, outcome: Outcome) {
        let Outcome { n_numbers, worst, failures } = outcome;
        if self.families.last().is_none_or(|it| it.name != case.family) {
            let name = case.family;
            self.families.push(Family {
                name,
                n_cases: 0,
                n_failed: 0,
                n_numbers: 0,
                worst: [None; 3],
            });
        }
        let place = Storage::ALL.iter().position(|it| *it == case.storage);
        if let Some(family) = self.families.last_mut() {
            family.n_cases += 1;
            family.n_failed += usize::from(!failures.is_empty());
            family.n_numbers += n_numbers;
            if let Some(place) = place {
                family.worst[place] = Some(family.worst[place].unwrap_or(0.0).max(worst));
            }
        }
        let storage = case.storage.name();
        self.cases.push(json!({
            "family": case.family,
            "storage": storage,
            "case": case.name,
            "numbers": n_numbers,
            "worst": finite(worst),
            "failures": failures,
        }));
        let named = |it| format!("{} {storage}, {}: {it}", case.family, case.name);
        self.failures.extend(failures.into_iter().map(named));
    }

    fn section(self) -> Section {
        let n_failed = self.families.iter().map(|it| it.n_failed).sum();
        let families: Vec<Value> = self.families.iter().map(Family::json).collect();
        let text = self.text();
        let json = json!({ "families": families, "cases": self.cases, "failures": self.failures });
        Section { name: "kernels", text, json, n_failed }
    }

    fn text(&self) -> String {
        let header = ["kernels", "cases", "failed", "numbers", "f32", "bf16", "f16"];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(self.families.iter().map(Family::row));
        let table = columns(&rows, &[false, true, true, true, true, true, true]);
        let mut text = headed(&table) + "\nf32, bf16, f16: the largest error over its bound\n";
        for it in self.failures.iter().take(SHOWN) {
            text += &format!("{}\n", labelled(&format!("error: {it}")));
        }
        if let Some(more) = self.failures.len().checked_sub(SHOWN).filter(|it| *it > 0) {
            text += &format!("and {more} more: `-o FOLDER` writes all\n");
        }
        text
    }
}

impl Family {
    fn row(&self) -> [String; 7] {
        let cell = |it: Option<f64>| match it {
            None => String::new(),
            Some(it) if it.is_infinite() => "inf".to_owned(),
            Some(it) if it >= 1e4 => format!("{it:.0e}"),
            Some(it) => format!("{it:.2}"),
        };
        let [f32, bf16, f16] = self.worst.map(cell);
        let counts = [self.n_cases, self.n_failed, self.n_numbers].map(|it| it.to_string());
        let [n_cases, n_failed, n_numbers] = counts;
        [self.name.to_owned(), n_cases, n_failed, n_numbers, f32, bf16, f16]
    }

    fn json(&self) -> Value {
        let worst = Storage::ALL.into_iter().zip(self.worst);
        let worst = worst.filter_map(|(it, worst)| Some((it.name().to_owned(), finite(worst?))));
        json!({
            "family": self.name,
            "cases": self.n_cases,
            "failed": self.n_failed,
            "numbers": self.n_numbers,
            "worst": worst.collect::<serde_json::Map<_, _>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use expect_test::expect;
    use gpu::Error;
    use gpu_check::{Outcome, cases};

    use super::{Found, failed};

    #[test]
    fn a_case_that_fails_is_counted_and_listed_with_its_numbers() {
        let mut found = Found::default();
        let (casts, dropouts) = (cases(["cast"], false), cases(["dropout"], false));
        let right = Outcome { n_numbers: 24, worst: 0.25, failures: vec![] };
        found.add(&casts[0], right.clone());
        found.add(&casts[1], Outcome { worst: 0.5, ..right.clone() });
        let text = "cast: 1 of 8 numbers are out of bounds; number 3 is 2e0 instead of 1e0, 7.0 times the bound";
        found.add(&dropouts[0], Outcome { worst: 7.0, failures: vec![text.into()], ..right });
        found.add(&dropouts[1], failed(&Error::arguments("dropout", "no numbers")));
        let section = found.section();
        assert_eq!(section.n_failed, 2);
        expect![[r#"
            kernels  cases  failed  numbers   f32  bf16  f16
            cast         2       0       48  0.50
            dropout      2       2       24  7.00   inf
            f32, bf16, f16: the largest error over its bound
            error: dropout f32, 10: cast: 1 of 8 numbers are out of bounds; number 3 is 2e0 instead of 1e0, 7.0 times the bound
            error: dropout bf16, 4200: `dropout`: no numbers
        "#]]
        .assert_eq(&strip_str(&section.text).to_string());
        let families = &section.json["families"];
        assert_eq!(families[1]["worst"], serde_json::json!({ "f32": 7.0, "bf16": null }));
        assert_eq!(section.json["cases"].as_array().map(Vec::len), Some(4));
        assert_eq!(section.json["cases"][2]["failures"][0], text);
    }
}
