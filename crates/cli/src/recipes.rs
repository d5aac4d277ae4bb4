//! The recipes: experiments that are built in, so that `maskfit train write_up_001` needs no file.

use base::nearest;

/// An experiment of `configs/`.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Its name: that of the file without `.toml`.
    pub(crate) name: &'static str,
    /// The file.
    pub(crate) text: &'static str,
}

impl Recipe {
    /// Returns what it is: the file's first sentence, below the line that names the schema.
    pub(crate) fn summary(&self) -> &'static str {
        self.text.lines().nth(1).unwrap_or_default().trim_start_matches("# ")
    }
}

macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        &[$(Recipe {
            name: $name,
            text: include_str!(concat!("../../../configs/", $name, ".toml")),
        }),*]
    };
}

/// All recipes, sorted.
pub(crate) const RECIPES: &[Recipe] = recipes![
    "fine_tune",
    "imbalance",
    "mask_profiles",
    "write_up_000",
    "write_up_001",
    "write_up_001_f1",
    "write_up_001_focal",
    "write_up_001_label_smoothing",
    "write_up_001_ldam",
    "write_up_001_multi_sample_dropout",
    "write_up_001_regression",
    "write_up_001_weighted",
    "write_up_001_xavier",
    "write_up_002",
    "write_up_003",
    "write_up_003_b0_branched",
    "write_up_003_b4",
    "write_up_003_b4_ages",
    "write_up_003_b4_factored",
    "write_up_003_vgg19",
    "write_up_004",
];

/// Finds a recipe by its name.
pub(crate) fn find(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|it| it.name == name)
}

/// Returns a suggestion for a name that is no recipe's, where one is similar.
pub(crate) fn meant(name: &str) -> Option<String> {
    let name = nearest(name, RECIPES.iter().map(|it| it.name))?;
    Some(format!("did you mean the recipe `{name}`?"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::RECIPES;

    #[test]
    fn every_experiment_of_the_folder_is_built_in() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let files = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name());
        let mut names: Vec<String> =
            files.filter_map(|it| Some(it.to_str()?.strip_suffix(".toml")?.to_owned())).collect();
        // Not experiments: the default settings, and lists of label fixes.
        names.retain(|it| it != "default" && !it.starts_with("label_fixes"));
        names.sort();
        assert_eq!(names, RECIPES.iter().map(|it| it.name).collect::<Vec<_>>());
    }

    #[test]
    fn a_recipe_begins_with_a_sentence_on_what_it_is_and_says_how_to_run_it() {
        for it in RECIPES {
            let summary = it.summary();
            let is_below_schema = it.text.starts_with("#:schema ./schema.json\n# ");
            assert!(is_below_schema && summary.ends_with('.'), "{}: {summary}", it.name);
            let heads: &[&str] = match it.name.starts_with("write_up_") {
                true => &["\n# Reported: ", "\n# Differs:  ", "\n# Run:      ", "`# ours` marks"],
                false => &["\n# Run:     "],
            };
            for head in heads {
                assert!(it.text.contains(head), "{} has no `{}`", it.name, head.trim());
            }
            // Each with the name that runs it.
            let command = format!("cargo xtask train {} ", it.name);
            let is_named = it.text.contains(&command);
            assert!(is_named || !it.name.starts_with("write_up_"), "{}: no {command}", it.name);
        }
    }
}
