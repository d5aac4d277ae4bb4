//! The files and folders that the settings of a run name. They are relative to the folder that it is started in.

use std::path::PathBuf;

use data::SourceConfig;

use crate::experiment::Experiment;

/// A setting, and the path that it contains.
type Place<'a> = (String, &'a mut PathBuf);

impl Experiment {
    /// Returns the files and folders of the data, each with the setting that contains it.
    pub fn places(&self) -> Vec<(String, PathBuf)> {
        let mut own = self.clone();
        own.places_mut().into_iter().map(|(at, path)| (at, path.clone())).collect()
    }

    /// As [`Experiment::places`], to replace them.
    pub fn places_mut(&mut self) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        of_source(&mut self.data.source, "data.source", &mut places);
        places.extend(numbered("data.reviewed", &mut self.data.reviewed));
        let pseudo = &mut self.data.pseudo;
        if pseudo.is_on() {
            places.push(("data.pseudo.file".to_owned(), &mut pseudo.file));
            places.push(("data.pseudo.images".to_owned(), &mut pseudo.images));
        }
        places
    }

    /// Returns the settings with the paths of another machine, where they name the same files and folders.
    #[must_use]
    pub fn with_places_of(&self, other: &Experiment) -> Experiment {
        let (mut own, others) = (self.clone(), other.places());
        if own.places().iter().map(|it| &it.0).eq(others.iter().map(|it| &it.0)) {
            own.places_mut().into_iter().zip(others).for_each(|(own, other)| *own.1 = other.1);
        }
        own
    }
}

/// Adds the files and folders of a source to `places`.
fn of_source<'a>(source: &'a mut SourceConfig, at: &str, places: &mut Vec<Place<'a>>) {
    match source {
        SourceConfig::SyntheticPeople(_) => {}
        SourceConfig::MaskProfiles(it) => {
            places.push((format!("{at}.root"), &mut it.root));
            places.extend(numbered(&format!("{at}.label_fixes"), &mut it.label_fixes));
        }
        SourceConfig::Folders(it) => places.push((format!("{at}.root"), &mut it.root)),
        SourceConfig::Table(it) => {
            // The others are relative to the root, where there is one.
            let n = if it.root.as_os_str().is_empty() { 3 } else { 1 };
            let own = [("root", &mut it.root), ("csv", &mut it.csv), ("images", &mut it.images)];
            let own = own.into_iter().take(n).filter(|it| !it.1.as_os_str().is_empty());
            places.extend(own.map(|(name, path)| (format!("{at}.{name}"), path)));
        }
        SourceConfig::Several(it) => {
            for (idx, root) in it.roots.iter_mut().enumerate() {
                of_source(&mut root.source, &format!("{at}.roots[{idx}].source"), places);
            }
        }
    }
}

fn numbered<'a>(at: &str, paths: &'a mut [PathBuf]) -> impl Iterator<Item = Place<'a>> {
    paths.iter_mut().enumerate().map(move |(idx, it)| (format!("{at}[{idx}]"), it))
}
