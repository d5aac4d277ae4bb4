//! The first of some names, for a message.

use std::fmt::Display;

/// Maximum number of names in a message.
const SHOWN: usize = 5;
/// Maximum number of names to choose from that are all listed.
const CHOICES: usize = 12;

/// Lists the first items, and counts the others: `a, b, c, d, e and 3 more`.
pub fn listed(items: impl IntoIterator<Item: Display>) -> String {
    first(items, |it| it.to_string())
}

/// Lists the first names in back-ticks, and counts the others.
pub fn quoted(names: impl IntoIterator<Item: Display>) -> String {
    first(names, |it| format!("`{it}`"))
}

/// Lists names of which one is to be chosen, in back-ticks: all of a few, and of many the first.
pub fn choices(names: impl IntoIterator<Item: Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|it| format!("`{it}`")).collect();
    if names.len() <= CHOICES { names.join(", ") } else { listed(names) }
}

fn first<T>(items: impl IntoIterator<Item = T>, format: impl Fn(T) -> String) -> String {
    let mut items = items.into_iter();
    let first: Vec<String> = items.by_ref().take(SHOWN).map(format).collect();
    let text = first.join(", ");
    match items.count() {
        0 => text,
        n_more => format!("{text} and {n_more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::{choices, listed, quoted};

    #[test]
    fn of_more_than_five_names_the_others_are_counted() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        for (n, want) in [
            (0, ""),
            (1, "a"),
            (5, "a, b, c, d, e"),
            (6, "a, b, c, d, e and 1 more"),
            (7, "a, b, c, d, e and 2 more"),
        ] {
            assert_eq!(listed(&names[..n]), want);
            let owned: Vec<String> = names[..n].iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(listed(owned), want);
        }
        assert_eq!(listed(8..20), "8, 9, 10, 11, 12 and 7 more");
    }

    #[test]
    fn up_to_twelve_names_to_choose_from_are_all_listed() {
        assert_eq!(choices([""; 0]), "");
        assert_eq!(choices(1..=6), "`1`, `2`, `3`, `4`, `5`, `6`");
        assert!(choices(1..=12).ends_with(", `11`, `12`"));
        assert_eq!(choices(1..=13), "`1`, `2`, `3`, `4`, `5` and 8 more");
    }

    #[test]
    fn names_are_put_in_back_ticks_one_by_one() {
        assert_eq!(quoted([""; 0]), "");
        assert_eq!(quoted(["a"]), "`a`");
        assert_eq!(quoted("a b".split(' ').map(str::to_owned)), "`a`, `b`");
        assert_eq!(quoted([7; 6]), "`7`, `7`, `7`, `7`, `7` and 1 more");
    }
}
