//! Names in a message.

/// The maximum number of images, or groups, listed for a kind of change.
const SHOWN: usize = 5;

/// Formats the first names, and how many more there are.
pub(crate) fn first_of(mut names: Vec<String>) -> String {
    let n_more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let more = if n_more == 0 { String::new() } else { format!(" and {n_more} more") };
    format!("{}{more}", names.join(", "))
}
