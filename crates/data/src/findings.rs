//! Problems found in data, all reported at once.

use std::{collections::HashMap, fmt};

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, folder or line.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// How to fix it.
    pub remedy: String,
}

/// All problems of a source, found before training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings(pub Vec<Finding>);

/// The maximum number of problems listed; further ones are only counted.
const LISTED: usize = 1000;

/// The number of places of the same problem that are named.
const NAMED: usize = 3;

impl Findings {
    /// Adds a problem.
    pub fn add(&mut self, place: impl Into<String>, problem: impl Into<String>, remedy: &str) {
        let (place, problem) = (place.into(), problem.into());
        self.0.push(Finding { place, problem, remedy: remedy.to_owned() });
    }

    /// Returns the findings with the same problem in more than three places as one, which names the first of
    /// them, and whether there is such a problem. Images that are too small have the same problem, whatever
    /// their size.
    pub fn grouped(&self) -> (Findings, bool) {
        let key = |it: &Finding| (without_size(&it.problem).0.to_owned(), it.remedy.clone());
        let mut groups: Vec<Vec<&Finding>> = Vec::new();
        let mut known = HashMap::new();
        for it in &self.0 {
            let idx = *known.entry(key(it)).or_insert(groups.len());
            match groups.get_mut(idx) {
                Some(group) => group.push(it),
                None => groups.push(vec![it]),
            }
        }
        let is_any_long = groups.iter().any(|it| it.len() > NAMED);
        let one_each = |group: Vec<&Finding>| -> Vec<Finding> {
            if group.len() <= NAMED {
                return group.into_iter().cloned().collect();
            }
            let places: Vec<&str> = group.iter().take(NAMED).map(|it| it.place.as_str()).collect();
            let first = group[0];
            let is_same = group.iter().all(|it| it.problem == first.problem);
            let problem = match without_size(&first.problem) {
                (what, Some(size)) if !is_same => format!("{what}, the first of {size}"),
                _ => first.problem.clone(),
            };
            let place = format!("{} and {} more", places.join(", "), group.len() - NAMED);
            vec![Finding { place, problem, remedy: first.remedy.clone() }]
        };
        (Findings(groups.into_iter().flat_map(one_each).collect()), is_any_long)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        let problems = if n == 1 { "problem" } else { "problems" };
        write!(f, "{n} {problems} in the data:")?;
        for Finding { place, problem, remedy } in self.0.iter().take(LISTED) {
            write!(f, "\n  {place}: {problem}: {remedy}")?;
        }
        if n > LISTED {
            write!(f, "\n  and {} more", n - LISTED)?;
        }
        Ok(())
    }
}

/// The maximum number of names in a message.
const SHOWN: usize = 10;

/// Lists names for a message.
pub(crate) fn shown(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(SHOWN).map(|it| format!("`{it}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => some.join(", "),
        n => format!("{} and {n} more", some.join(", ")),
    }
}

/// Splits the size of an image, such as ` of 30x40`, from the end of a problem.
fn without_size(problem: &str) -> (&str, Option<&str>) {
    let is_size = |it: &str| {
        let number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        it.split_once('x').is_some_and(|(h, w)| number(h) && number(w))
    };
    match problem.rsplit_once(" of ") {
        Some((what, size)) if is_size(size) => (what, Some(size)),
        _ => (problem, None),
    }
}

#[cfg(test)]
mod tests {
    use super::Findings;

    #[test]
    fn the_same_problem_of_many_images_is_one_line() {
        let mut findings = Findings::default();
        for (idx, size) in [30, 40, 40, 40, 50].into_iter().enumerate() {
            let problem = format!("a crop of 64x64 exceeds the image of {size}x{size}");
            findings.add(format!("{idx}.png"), problem, "put a `resize` before it");
            if idx < 3 {
                findings.add(format!("{idx}.jpg"), "is empty", "replace the file");
            }
        }
        let (grouped, is_shorter) = findings.grouped();
        assert!(is_shorter);
        assert_eq!(
            grouped.to_string(),
            "4 problems in the data:\n  \
             0.png, 1.png, 2.png and 2 more: a crop of 64x64 exceeds the image, the first of 30x30: put a \
             `resize` before it\n  \
             0.jpg: is empty: replace the file\n  \
             1.jpg: is empty: replace the file\n  \
             2.jpg: is empty: replace the file"
        );
        // A few are listed one by one, and a size that all have is named as that.
        findings.0.retain(|it| it.problem.contains("40x40"));
        assert_eq!(findings.grouped(), (findings.clone(), false));
        let problem = findings.0[0].problem.clone();
        findings.add("5.png", problem, "put a `resize` before it");
        let text = findings.grouped().0.to_string();
        assert!(text.contains("3.png and 1 more: a crop of 64x64 exceeds the image of 40x40: put"));
    }
}
