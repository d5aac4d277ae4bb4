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

/// The maximum number of lines of problems; further ones are only counted.
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
    /// them, in the order of the first places. Problems are the same whatever name in back-ticks they begin with, and
    /// images that are too small whatever their size.
    pub fn grouped(&self) -> Vec<Finding> {
        let mut groups: Vec<Vec<(usize, &Finding)>> = Vec::new();
        let mut known = HashMap::new();
        for (at, it) in self.0.iter().enumerate() {
            let key = (Parts::of(&it.problem).what, it.remedy.as_str());
            let idx = *known.entry(key).or_insert(groups.len());
            match groups.get_mut(idx) {
                Some(group) => group.push((at, it)),
                None => groups.push(vec![(at, it)]),
            }
        }
        let mut lines: Vec<(usize, Finding)> = groups.into_iter().flat_map(joined).collect();
        lines.sort_by_key(|it| it.0);
        lines.into_iter().map(|it| it.1).collect()
    }

    /// Lists every problem, one a line.
    pub fn in_full(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        format!("{}\n  {}", self.title(), lines.join("\n  "))
    }

    fn title(&self) -> String {
        let n = self.0.len();
        format!("{n} {} in the data:", if n == 1 { "problem" } else { "problems" })
    }
}

/// Returns findings with the same problem as one, if they are many; each with its position.
fn joined(group: Vec<(usize, &Finding)>) -> Vec<(usize, Finding)> {
    if group.len() <= NAMED {
        return group.into_iter().map(|(at, it)| (at, it.clone())).collect();
    }
    let (at, first) = group[0];
    let is_same = group.iter().all(|it| it.1.problem == first.problem);
    let problem = match Parts::of(&first.problem) {
        _ if is_same => first.problem.clone(),
        Parts { what, size: Some(size), .. } => format!("{what}, the first of {size}"),
        Parts { what, .. } => what.to_owned(),
    };
    let place = |(_, it): &(usize, &Finding)| match Parts::of(&it.problem).name {
        Some(name) if !is_same => format!("{} (`{name}`)", it.place),
        _ => it.place.clone(),
    };
    let places: Vec<String> = group.iter().take(NAMED).map(place).collect();
    let place = format!("{} and {} more", places.join(", "), group.len() - NAMED);
    vec![(at, Finding { place, problem, remedy: first.remedy.clone() })]
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.problem, self.remedy)
    }
}

/// The same problem in more than three places is one line.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title())?;
        let lines = self.grouped();
        lines.iter().take(LISTED).try_for_each(|it| write!(f, "\n  {it}"))?;
        match lines.len().saturating_sub(LISTED) {
            0 => Ok(()),
            n => write!(f, "\n  and {n} more"),
        }
    }
}

/// The parts of the text of a problem.
struct Parts<'a> {
    /// The name in back-ticks that it begins with, such as that of the image that a line names.
    name: Option<&'a str>,
    /// What is wrong.
    what: &'a str,
    /// The size of an image at its end, such as `30x40`.
    size: Option<&'a str>,
}

impl Parts<'_> {
    fn of(problem: &str) -> Parts<'_> {
        let is_size = |it: &str| {
            let number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
            it.split_once('x').is_some_and(|(h, w)| number(h) && number(w))
        };
        let named = problem.strip_prefix('`').and_then(|it| it.split_once('`'));
        let named = named.and_then(|(name, what)| Some((name, what.strip_prefix(' ')?)));
        let (name, what) = named.map_or((None, problem), |(name, what)| (Some(name), what));
        match what.rsplit_once(" of ") {
            Some((what, size)) if is_size(size) => Parts { name, what, size: Some(size) },
            _ => Parts { name, what, size: None },
        }
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
        assert_eq!(findings.grouped().len(), 4);
        assert_eq!(
            findings.to_string(),
            "8 problems in the data:\n  \
             0.png, 1.png, 2.png and 2 more: a crop of 64x64 exceeds the image, the first of 30x30: put a \
             `resize` before it\n  \
             0.jpg: is empty: replace the file\n  \
             1.jpg: is empty: replace the file\n  \
             2.jpg: is empty: replace the file"
        );
        // A few are listed one by one, and a size that all have is named as that.
        findings.0.retain(|it| it.problem.contains("40x40"));
        assert_eq!(findings.grouped(), findings.0);
        let problem = findings.0[0].problem.clone();
        findings.add("5.png", problem, "put a `resize` before it");
        let text = findings.to_string();
        assert!(text.contains("3.png and 1 more: a crop of 64x64 exceeds the image of 40x40: put"));
        let lines = findings.in_full();
        assert!(lines.starts_with("4 problems in the data:\n  1.png: a crop"), "{lines}");
        assert_eq!(lines.lines().count(), 5);
    }

    #[test]
    fn a_name_that_a_problem_begins_with_is_part_of_its_place() {
        let mut findings = Findings::default();
        for (line, name) in ["a", "b", "c d", "e", "f"].into_iter().enumerate() {
            let problem = format!("`{name}` has no file in images");
            findings.add(format!("line {line}"), problem, "put the image there");
        }
        // One that is the same of all stays where it is.
        for line in 5..9 {
            let problem = "`mask` is `wron`, which is not one of its levels";
            findings.add(format!("line {line}"), problem, "write one of `worn`");
        }
        assert_eq!(
            findings.to_string(),
            "9 problems in the data:\n  \
             line 0 (`a`), line 1 (`b`), line 2 (`c d`) and 2 more: has no file in images: put the image \
             there\n  \
             line 5, line 6, line 7 and 1 more: `mask` is `wron`, which is not one of its levels: write one \
             of `worn`"
        );
    }
}
