//! Which fold of a cross-validation held each image out, from its `data.csv`.

use std::{collections::HashMap, path::Path};

use anyhow::Context as _;
use base::{
    records::{Record, Records},
    text,
};

/// Returns the fold in the column `side`, of repeats the first: 2 of `fold 2; fold 7`.
pub(crate) fn of_side(side: &str) -> Option<usize> {
    side.strip_prefix("fold ")?.split(';').next()?.parse().ok()
}

/// Returns the fold that held each image out, of repeats the first.
///
/// # Errors
/// The table is missing or damaged.
pub(crate) fn holding_out(dir: &Path) -> anyhow::Result<HashMap<String, usize>> {
    let path = dir.join("data.csv");
    let text = text::read(&path).with_context(|| path.display().to_string())?;
    let table = Records::exact(&text);
    let header = table.header();
    let column = |name: &str| {
        let absent = || format!("{}: there is no column `{name}`", path.display());
        header.column(name).with_context(absent)
    };
    let (image, side) = (column("image")?, column("side")?);
    let fold =
        |row: Record| Some((row.fields.get(image)?.to_owned(), of_side(row.fields.get(side)?)?));
    Ok(table.rows().filter_map(fold).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::holding_out;

    #[test]
    fn the_fold_of_an_image_is_the_first_that_held_it_out() {
        let dir = tempfile::tempdir().unwrap();
        let rows = "\"a, 1\",fold 1\nb,fold 0; fold 3\nc,train\nd,left out\n";
        fs::write(dir.path().join("data.csv"), format!("image,side\n{rows}")).unwrap();
        let mut folds: Vec<(String, usize)> =
            holding_out(dir.path()).unwrap().into_iter().collect();
        folds.sort();
        assert_eq!(folds, [("a, 1".to_owned(), 1), ("b".to_owned(), 0)]);
        fs::write(dir.path().join("data.csv"), "image,group\n").unwrap();
        let err = holding_out(dir.path()).unwrap_err().to_string();
        assert!(err.ends_with("data.csv: there is no column `side`"), "{err}");
    }
}
