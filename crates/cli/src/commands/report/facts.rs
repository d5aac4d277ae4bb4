//! The data of a run: its sets, classes and numbers, from `data.csv` in its folder, and the sizes of its images.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use base::{Task, records::Records, task::Scope, text};
use data::{Manifest, sizes_of};
use report::{ClassCount, ClassCounts, DataFacts, Histogram, MOST_CLASSES, SetFacts, SizeCount};

use super::images::Images;
use crate::folds;

/// The most images whose size is read.
const MOST_MEASURED: usize = 2000;
/// The most sizes that are listed.
const N_SIZES: usize = 10;
/// The most bins of a histogram.
const MOST_BINS: usize = 30;

/// The sets, in the order of the page.
const SETS: [&str; 6] = [
    "cross-validated images",
    "training set",
    "pseudo-labels",
    "validation set",
    "test set",
    "left out",
];

/// What `data.csv` tells.
#[derive(Default)]
pub(super) struct Data {
    pub(super) facts: DataFacts,
    /// The number of training images of each joint class.
    pub(super) n_trained: Vec<usize>,
    /// The fold that held each image out; in repeats the first.
    pub(super) fold_of: HashMap<String, usize>,
    /// The groups of the test set.
    pub(super) test_groups: BTreeSet<String>,
}

/// Reads the table of a run's data.
///
/// # Errors
/// It is missing or damaged: why.
pub(super) fn read(dir: &Path, task: &Task) -> Result<Data, String> {
    let path = dir.join("data.csv");
    let wrong = |what: String| format!("{}: {what}", path.display());
    let text = text::read(&path).map_err(|err| wrong(err.to_string()))?;
    let table = Records::exact(&text);
    let header = table.header();
    let column = |name: &str| {
        let at = header.fields.iter().position(|it| it == name);
        at.ok_or_else(|| wrong(format!("there is no column `{name}`")))
    };
    let [image, group, class, usage, side] = ["image", "group", "class", "use", "side"].map(column);
    let (image, group, class, usage, side) = (image?, group?, class?, usage?, side?);
    let numeric: Vec<(usize, usize)> = task
        .numeric()
        .filter_map(|idx| Some((idx, column(&task.factors[idx].name).ok()?)))
        .collect();

    let mut data = Data { n_trained: vec![0; task.n_classes()], ..Data::default() };
    let mut groups: Vec<BTreeSet<String>> = vec![BTreeSet::new(); SETS.len()];
    let mut n_images = [0; SETS.len()];
    let mut counts = vec![[0; SETS.len()]; task.n_classes()];
    let mut numbers: Vec<BTreeMap<i64, usize>> = vec![BTreeMap::new(); numeric.len()];
    for row in table.rows() {
        let cell = |at: usize| row.fields.get(at).unwrap_or_default();
        let known = cell(class).parse().ok().filter(|it: &usize| *it < task.n_classes());
        let Some(of_class) = known else {
            return Err(wrong(format!("line {}: `{}` is not a class", row.line, cell(class))));
        };
        let is_pseudo = cell(usage).starts_with("pseudo ");
        let set = match cell(side) {
            it if it.starts_with("fold ") => 0,
            "train" if is_pseudo => 2,
            "train" => 1,
            "valid" => 3,
            "test" => 4,
            _ => 5,
        };
        data.fold_of.extend(folds::of_side(cell(side)).map(|it| (cell(image).to_owned(), it)));
        n_images[set] += 1;
        groups[set].insert(cell(group).to_owned());
        counts[of_class][set] += 1;
        data.n_trained[of_class] += usize::from(set < 2);
        if [0, 1, 3, 4].contains(&set) {
            for (all, (_, at)) in numbers.iter_mut().zip(&numeric) {
                // A histogram of whole numbers, such as ages.
                if let Some(it) = cell(*at).parse::<f64>().ok().filter(|it| it.abs() < 1e15) {
                    *all.entry(it.floor() as i64).or_default() += 1;
                }
            }
        }
    }
    let shown: Vec<usize> = (0..SETS.len()).filter(|&it| n_images[it] > 0).collect();
    data.facts.unit = task.unit.one().to_owned();
    data.facts.units = task.unit.many().to_owned();
    data.facts.sets = shown
        .iter()
        .map(|&it| SetFacts {
            name: SETS[it].to_owned(),
            n_images: n_images[it],
            n_groups: groups[it].len(),
        })
        .collect();
    data.test_groups = std::mem::take(&mut groups[4]);
    data.facts.classes =
        task.scopes().into_iter().map(|it| of_scope(task, it, &counts, &shown)).collect();
    data.facts.numbers = numbers
        .iter()
        .zip(&numeric)
        .filter_map(|(numbers, (idx, _))| histogram(&task.factors[*idx], numbers))
        .collect();
    Ok(data)
}

/// Counts the classes of a scope in each set that is shown.
fn of_scope(
    task: &Task,
    scope: Scope,
    counts: &[[usize; SETS.len()]],
    shown: &[usize],
) -> ClassCounts {
    let mut all = vec![vec![0; shown.len()]; task.n_classes_of(scope)];
    for (class, counts) in counts.iter().enumerate() {
        let to = &mut all[task.project(class, scope)];
        to.iter_mut().zip(shown).for_each(|(n, &set)| *n += counts[set]);
    }
    let mut classes: Vec<usize> = (0..all.len()).collect();
    let mut n_left_out = 0;
    if classes.len() > MOST_CLASSES {
        classes.sort_by_key(|&it| Reverse(all[it].first().copied().unwrap_or_default()));
        n_left_out = classes.len() - MOST_CLASSES;
        classes.drain(MOST_CLASSES / 2..classes.len() - MOST_CLASSES / 2);
    }
    let row =
        |class| ClassCount { name: task.class_name(class, scope), counts: all[class].clone() };
    ClassCounts {
        name: task.scope_name(scope).to_owned(),
        rows: classes.into_iter().map(row).collect(),
        n_left_out,
    }
}

/// Puts whole numbers into bins of a width of 1, 2, 5, 10 and so on.
fn histogram(factor: &base::task::Factor, numbers: &BTreeMap<i64, usize>) -> Option<Histogram> {
    let ((&least, _), (&most, _)) = (numbers.first_key_value()?, numbers.last_key_value()?);
    let widths = (0..18).flat_map(|power| [1, 2, 5].map(|it| it * 10_i64.pow(power)));
    let n_bins = |width: i64| most.div_euclid(width) - least.div_euclid(width) + 1;
    let width = widths.into_iter().find(|&it| n_bins(it) <= MOST_BINS as i64)?;
    let mut counts = vec![0; n_bins(width) as usize];
    for (&number, n) in numbers {
        let bin = number.div_euclid(width) - least.div_euclid(width);
        if let Some(it) = usize::try_from(bin).ok().and_then(|it| counts.get_mut(it)) {
            *it += n;
        }
    }
    Some(Histogram {
        name: factor.name.clone(),
        low: (least.div_euclid(width) * width) as f64,
        width: width as f64,
        counts,
        cuts: factor.cuts.clone(),
    })
}

/// Adds the sizes of images; of many data sets those of some images, evenly spaced.
pub(super) fn add_sizes(facts: &mut DataFacts, manifest: &Manifest) {
    let measured = Images::some(manifest, MOST_MEASURED);
    facts.n_unmeasured = manifest.examples.len() - measured.len();
    let sizes = sizes_of(&measured, &|_, _| {});
    let mut counts: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    sizes.into_iter().flatten().for_each(|it| *counts.entry(it).or_default() += 1);
    let mut counts: Vec<([usize; 2], usize)> = counts.into_iter().collect();
    counts.sort_by_key(|it| Reverse(it.1));
    facts.n_other_sizes = counts.iter().skip(N_SIZES).map(|it| it.1).sum();
    let size =
        |&([height, width], n_images): &([usize; 2], usize)| SizeCount { height, width, n_images };
    facts.sizes = counts.iter().take(N_SIZES).map(size).collect();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::{Task, task::Factor};

    use super::read;

    fn task() -> Task {
        Task::new(vec![
            Factor::new("mask", &["<b>", "b"]),
            Factor::ranges("age", &["<30", ">=30"], &[30.0]),
        ])
    }

    #[test]
    fn sets_classes_and_numbers_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let table = "image,group,class,label,age,weight,use,side\n\
                     a1,\"Kim, A\",0,x,20,1,pool,train\na2,\"Kim, A\",2,x,20,1,pool,train\n\
                     b1,b,3,x,61.5,1,pool,valid\nc1,c,1,x,,1,pool,left out\nd1,d,1,x,30,0.5,pseudo ab,train\n\
                     e1,e,1,x,,1,test,test\n";
        fs::write(dir.path().join("data.csv"), table).unwrap();
        let data = read(dir.path(), &task()).unwrap();
        let sets: Vec<(&str, usize, usize)> =
            data.facts.sets.iter().map(|it| (it.name.as_str(), it.n_images, it.n_groups)).collect();
        assert_eq!(
            sets,
            [
                ("training set", 2, 1),
                ("pseudo-labels", 1, 1),
                ("validation set", 1, 1),
                ("test set", 1, 1),
                ("left out", 1, 1)
            ]
        );
        assert_eq!(data.test_groups, ["e".to_owned()].into());
        assert_eq!(data.n_trained, [1, 0, 1, 0]);
        let joint: Vec<&[usize]> =
            data.facts.classes[0].rows.iter().map(|it| it.counts.as_slice()).collect();
        assert_eq!(
            joint,
            [&[1, 0, 0, 0, 0][..], &[0, 1, 0, 1, 1], &[1, 0, 0, 0, 0], &[0, 0, 1, 0, 0]]
        );
        let mask = &data.facts.classes[1];
        assert_eq!((mask.name.as_str(), mask.rows[0].name.as_str()), ("mask", "<b>"));
        assert_eq!(mask.rows[0].counts, [1, 1, 0, 1, 1]);
        // 20 twice and 61: bins of 2 from 20 to 61; a width of 1 would need 42.
        let ages = &data.facts.numbers[0];
        assert_eq!((ages.low, ages.width, ages.counts.len()), (20.0, 2.0, 21));
        assert_eq!((ages.counts[0], ages.counts[20], ages.cuts.as_slice()), (2, 1, &[30.0][..]));
    }

    #[test]
    fn folds_are_read_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let of = |rows: &str| {
            let table = format!("image,group,class,label,age,weight,use,side\n{rows}");
            fs::write(dir.path().join("data.csv"), table).unwrap();
            read(dir.path(), &task())
        };
        let data = of("a1,a,0,x,20,1,pool,fold 3; fold 7\n").unwrap();
        assert_eq!((data.fold_of["a1"], data.n_trained[0]), (3, 1));
        assert_eq!(data.facts.sets[0].name, "cross-validated images");
        assert!(
            of("a1,a,9,x,20,1,pool,train\n").err().unwrap().contains("line 2: `9` is not a class")
        );
        fs::remove_file(dir.path().join("data.csv")).unwrap();
        assert!(read(dir.path(), &task()).err().unwrap().contains("data.csv"));
    }

    #[test]
    fn of_many_classes_the_most_and_the_least_frequent_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let levels: Vec<String> = (0..100).map(|it| it.to_string()).collect();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let task = Task::new(vec![Factor::new("class", &levels)]);
        let rows = (0..100).flat_map(|class| (0..=class).map(move |it| (class, it)));
        let rows = rows.map(|(class, it)| format!("{class}-{it},g,{class},x,1,pool,train\n"));
        let table =
            format!("image,group,class,label,weight,use,side\n{}", rows.collect::<String>());
        fs::write(dir.path().join("data.csv"), table).unwrap();
        let classes = read(dir.path(), &task).unwrap().facts.classes.remove(0);
        assert_eq!((classes.rows.len(), classes.n_left_out), (40, 60));
        assert_eq!((classes.rows[0].name.as_str(), classes.rows[39].name.as_str()), ("99", "0"));
    }
}
