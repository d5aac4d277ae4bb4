//! Maps the attributes of a root to those of the first root, by name.

use std::collections::HashMap;

use crate::manifest::Attribute;

/// Where the value of one of the first root's attributes is found in an image of another root.
#[derive(Debug, PartialEq)]
pub(super) struct Values {
    /// The position of the root's own attribute; `None` if it has none of this name.
    own: Option<usize>,
    /// For each of its values the position among the first root's; of the empty value if it has none.
    to: Vec<u32>,
}

/// Builds the mapping from the attributes of a root to those of the first, which get the values that they
/// lack.
pub(super) fn translate(own: &[Attribute], first: &mut [Attribute]) -> Vec<Values> {
    let values = |first: &mut Attribute| {
        let at = own.iter().position(|it| it.name == first.name);
        let nothing = [String::new()];
        let values = at.map_or(&nothing[..], |it| &own[it].values);
        let mut known: HashMap<String, usize> = first.values.iter().cloned().zip(0..).collect();
        let position = |value: &String| {
            let next = known.len();
            *known.entry(value.clone()).or_insert_with(|| {
                first.values.push(value.clone());
                next
            }) as u32
        };
        Values { own: at, to: values.iter().map(position).collect() }
    };
    first.iter_mut().map(values).collect()
}

/// Maps the values of an image of the other root.
pub(super) fn of(values: &[Values], own: &[u32]) -> Vec<u32> {
    values.iter().map(|it| it.to[it.own.map_or(0, |at| own[at] as usize)]).collect()
}

#[cfg(test)]
mod tests {
    use super::{of, translate};
    use crate::manifest::Attribute;

    fn attribute(name: &str, values: &[&str]) -> Attribute {
        let values = values.iter().map(|&it| it.to_owned()).collect();
        Attribute { name: name.to_owned(), values }
    }

    #[test]
    fn values_are_matched_by_name() {
        let mut first = [attribute("race", &["A", "B"]), attribute("site", &["x"])];
        let own = [attribute("camera", &["c"]), attribute("race", &["B", "C"])];
        let values = translate(&own, &mut first);
        assert_eq!(first, [attribute("race", &["A", "B", "C"]), attribute("site", &["x", ""])]);
        assert_eq!(of(&values, &[0, 0]), [1, 1]);
        assert_eq!(of(&values, &[0, 1]), [2, 1]);
        // The first root itself.
        let own = first.clone();
        let values = translate(&own, &mut first);
        assert_eq!(first, own);
        assert_eq!(of(&values, &[2, 1]), [2, 1]);
    }
}
