use std::{fs, path::Path, rc::Rc};

use augment::{Pipeline, StatisticsConfig, TransformConfig};
use base::{Seed, Task};
use candle::Device;
use models::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec};

use super::{Bundle, Member};

fn bundle(seed: u64) -> Bundle {
    let backbone = EfficientNet { width: 0.25, depth: 0.3, ..EfficientNet::default() };
    let backbone = BackboneConfig::EfficientNet(backbone);
    let spec = ModelSpec { backbone, head: HeadConfig::default() };
    let task = Task::mask_gender_age();
    let model = Model::fresh(&spec, &task, Seed(seed), &Device::Cpu).unwrap();
    let statistics = StatisticsConfig::default().get().known().unwrap();
    let ops = vec![TransformConfig::default().into()];
    let pipeline = Pipeline { ops, statistics, max_pixels: 1000 };
    Bundle::new(task.clone(), vec![Member::new(Rc::new(model), task, pipeline)])
}

fn numbers(bundle: &Bundle) -> Vec<(String, Vec<f32>)> {
    let all = bundle.members[0].model.params().to_file().unwrap().into_iter();
    all.map(|(name, it)| (name, it.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

#[test]
fn a_saved_bundle_opens_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let saved = bundle(1);
    saved.save(dir.path(), "7").unwrap();
    let opened = Bundle::open(dir.path(), &Device::Cpu).unwrap();
    assert_eq!(opened.task, saved.task);
    assert_eq!(opened.members[0].pipeline, saved.members[0].pipeline);
    assert_eq!(opened.members[0].model.spec(), saved.members[0].model.spec());
    assert!(numbers(&opened) == numbers(&saved));
}

/// Edits the description of the bundle in a folder.
fn edit(dir: &Path, edit: impl FnOnce(&mut toml::Table)) {
    let path = dir.join("bundle.toml");
    let mut table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    edit(&mut table);
    fs::write(path, table.to_string()).unwrap();
}

fn first_member(table: &mut toml::Table) -> &mut toml::Table {
    table["members"][0].as_table_mut().unwrap()
}

#[test]
fn bundles_of_format_2_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let saved = bundle(1);
    saved.save(dir.path(), "7").unwrap();
    edit(dir.path(), |table| {
        let members = first_member(table);
        members.retain(|key, _| ["weights", "model", "pipeline"].contains(&key));
        table.retain(|key, _| ["task", "members"].contains(&key));
        table.insert("version".to_owned(), 2.into());
    });
    let opened = Bundle::open(dir.path(), &Device::Cpu).unwrap();
    assert!(numbers(&opened) == numbers(&saved));
    assert_eq!(opened.members[0].task, saved.task);
    assert_eq!(opened.members[0].pipeline, saved.members[0].pipeline);
    // Saved again, it has the newest format.
    opened.save(dir.path(), "8").unwrap();
    let text = fs::read_to_string(dir.path().join("bundle.toml")).unwrap();
    assert!(text.starts_with("version = 3\n") && text.contains("sha256 = "), "{text}");
}

#[test]
fn checksums_are_required_and_of_the_right_form() {
    let dir = tempfile::tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let whole = fs::read_to_string(dir.path().join("bundle.toml")).unwrap();
    let hashes = [None, Some("abc".to_owned()), Some("G".repeat(64)), Some("A".repeat(64))];
    for hash in hashes {
        fs::write(dir.path().join("bundle.toml"), &whole).unwrap();
        edit(dir.path(), |table| {
            let member = first_member(table);
            member.remove("sha256");
            member.extend(hash.clone().map(|it| ("sha256".to_owned(), it.into())));
        });
        let err = Bundle::open(dir.path(), &Device::Cpu).err().unwrap().to_string();
        let want = match hash {
            None => "at `members[0]`: `sha256` is missing",
            Some(_) => "at `members[0]`: `sha256`: must be the SHA-256 of the weights",
        };
        assert!(err.contains(want), "{hash:?}: {err}");
    }
}

#[test]
fn a_staged_bundle_is_opened_after_commit() {
    let dir = tempfile::tempdir().unwrap();
    let opened = || numbers(&Bundle::open(dir.path(), &Device::Cpu).unwrap());
    bundle(1).save(dir.path(), "1").unwrap();
    bundle(2).stage(dir.path(), "2").unwrap();
    bundle(3).stage(dir.path(), "3").unwrap();
    assert!(opened() == numbers(&bundle(1)) && Bundle::tag(dir.path()).unwrap() == "1");
    Bundle::commit(dir.path(), "2").unwrap();
    Bundle::commit(dir.path(), "9").unwrap();
    assert!(opened() == numbers(&bundle(2)) && Bundle::tag(dir.path()).unwrap() == "2");
    // The third bundle stays until staged bundles are discarded.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    Bundle::discard_staged(dir.path());
    assert!(opened() == numbers(&bundle(2)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_newer_bundle_replaces_the_older_one_entirely() {
    let dir = tempfile::tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    bundle(2).save(dir.path(), "2").unwrap();
    let opened = Bundle::open(dir.path(), &Device::Cpu).unwrap();
    assert!(numbers(&opened) == numbers(&bundle(2)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn damage_to_a_bundle_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let err = || Bundle::open(dir.path(), &Device::Cpu).err().unwrap().to_string();
    assert!(err().contains("this is not a bundle"), "{}", err());

    bundle(1).save(dir.path(), "1").unwrap();
    let weights = dir.path().join("weights-0-1.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 100]).unwrap();
    assert!(err().contains("weights-0-1.safetensors: this is not a complete"), "{}", err());
    let remedy =
        ": the file is damaged, or of another bundle: copy the bundle again, or make it anew";
    assert!(err().contains(remedy) && !err().contains("download"), "{}", err());
    fs::remove_file(&weights).unwrap();
    assert!(err().contains("No such file"), "{}", err());

    // The lowest bit of one weight.
    let mut flipped = whole.clone();
    *flipped.iter_mut().nth_back(3).unwrap() ^= 1;
    fs::write(&weights, &flipped).unwrap();
    assert!(err().contains("weights-0-1.safetensors: its SHA-256 is not the one in"), "{}", err());
    assert!(err().contains(remedy), "{}", err());
    // A file that is fetched in another way keeps its own advice.
    fs::write(&weights, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    assert!(err().contains("run `git lfs pull`"), "{}", err());

    fs::write(&weights, &whole).unwrap();
    let text = fs::read_to_string(dir.path().join("bundle.toml")).unwrap();
    let other = text.replace("width = 0.25", "width = 0.5");
    assert_ne!(text, other);
    fs::write(dir.path().join("bundle.toml"), other).unwrap();
    assert!(err().contains("has shape"), "{}", err());
    fs::write(
        dir.path().join("bundle.toml"),
        text.replace("version = 3", "version = 1\nanswers = 3"),
    )
    .unwrap();
    assert!(err().contains("has format 1"), "{}", err());
    // Errors of syntax have a line and a column, as those of configs.
    fs::write(dir.path().join("bundle.toml"), "version = 3\ninputs = [1,, 2]\n").unwrap();
    let want = "bundle.toml is not valid TOML\nTOML parse error at line 2, column 1";
    assert!(err().contains(want), "{}", err());
}

#[test]
fn shapes_of_a_huge_network_are_checked_before_it_is_built() {
    let dir = tempfile::tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let path = dir.path().join("bundle.toml");
    let whole: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    let backbones = [
        "kind = \"vgg\"\nhidden = 65536\nwidth = 16.0",
        "kind = \"efficientnet\"\nvariant = \"v2l\"\nwidth = 16.0\ndepth = 16.0",
        "kind = \"resnet\"\ndepth = 152\ngroups = 4096\ngroup_width = 4096\nwidth = 16.0",
        "kind = \"xresnet\"\ndepth = 152\nwidth = 16.0",
        "kind = \"densenet\"\ndepth = 201\nwidth = 16.0",
        "kind = \"convnext\"\nsize = \"base\"\nwidth = 16.0",
    ];
    let backbones = backbones.map(|it| ("backbone", it.to_owned()));
    let heads = ["joint", "factored", "branched", "bins", "regression", "sigmoid"];
    let heads = heads.map(|it| ("head", format!("kind = \"{it}\"\ndepth = 16\nwidth = 65536")));
    for (section, huge) in backbones.into_iter().chain(heads) {
        let mut edited = whole.clone();
        let model = edited["members"][0]["model"].as_table_mut().unwrap();
        let huge: toml::Table = huge.parse().unwrap();
        model.insert(section.to_owned(), toml::Value::Table(huge));
        fs::write(&path, edited.to_string()).unwrap();
        let err = Bundle::open(dir.path(), &Device::Cpu).err().unwrap().to_string();
        assert!(err.contains("weights-0-1.safetensors: `"), "{section}: {err}");
    }
}

#[test]
fn edited_description_is_validated_like_a_config() {
    let dir = tempfile::tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let path = dir.path().join("bundle.toml");
    let text = fs::read_to_string(&path).unwrap();
    // The same file, outside the bundle's folder.
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("w.safetensors");
    fs::copy(dir.path().join("weights-0-1.safetensors"), &file).unwrap();
    std::os::unix::fs::symlink(&file, dir.path().join("link.safetensors")).unwrap();
    let far = format!("weights = \"{}\"", file.display());
    let ours = "weights = \"weights-0-1.safetensors\"";
    let elsewhere = "`weights` must be a file in the bundle's own folder";
    for (from, to, want) in [
        (ours, far.as_str(), elsewhere),
        (ours, "weights = \"../best/weights-0-1.safetensors\"", elsewhere),
        (ours, "weights = \"./../w.safetensors\"", elsewhere),
        (ours, "weights = \"\"", elsewhere),
        (ours, "weights = \"link.safetensors\"", elsewhere),
        ("width = 0.25", "width = 1e9", "`width` is above 0 and at most 16"),
        ("width = 0.25", "width = nan", "`width` is above 0 and at most 16"),
        ("depth = 0.3", "depth = 0.0", "`depth` is above 0 and at most 16"),
        ("\">=60\"", "\"<30\"", "the factor `age` has the level `<30` twice"),
        ("\">=60\"", "\">=60\", \"old\"", "has 4 levels, which take 3 rising cuts"),
        ("cuts = [30.0, 60.0]", "cuts = [60.0, 30.0]", "rising cuts"),
        ("\"male\", \"female\"", "", "has no levels"),
        ("std = [0.229", "std = [0.0", "every `std` must be above 0"),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from} is not in {text}");
        fs::write(&path, edited).unwrap();
        let err = Bundle::open(dir.path(), &Device::Cpu).err();
        let err = err.unwrap_or_else(|| panic!("{to} is opened")).to_string();
        assert!(err.contains(want), "{to}: {err}");
    }
    fs::write(&path, &text).unwrap();
    assert!(Bundle::open(dir.path(), &Device::Cpu).is_ok());

    // A file outside the folder that such a description names is not removed either.
    fs::write(&path, text.replace(ours, &far)).unwrap();
    bundle(2).save(dir.path(), "2").unwrap();
    assert!(file.is_file());
}

#[test]
fn what_was_fitted_is_saved_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved =
        Bundle::join(vec![("a".into(), bundle(1)), ("b".into(), bundle(2))], &[1.0, 3.0]).unwrap();
    saved.inputs = vec![1, 1];
    saved.calibration = toml::from_str("kind = \"temperature\"\ntemperature = 1.5").unwrap();
    saved.decision = toml::from_str(
        "class_weights = [1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n\
         thresholds = [{ factor = \"age\", thresholds = [0.4, 0.6] }]",
    )
    .unwrap();
    saved.conformal = Some(
        toml::from_str("n_groups = 2\nfolds = [{ scores = [0.1, 0.2], weights = [0.3, 0.6] }]")
            .unwrap(),
    );
    saved.members[0].views = toml::from_str("kind = \"flip\"\nmerge = \"geometric\"").unwrap();
    let augment = "train = [{ kind = \"random_crop\", size = [8, 8] }]\nviews = { kind = \"augment\", n = 3 }";
    #[derive(serde::Deserialize)]
    struct Augment {
        train: Vec<augment::Step>,
        views: augment::ViewsConfig,
    }
    let augment: Augment = toml::from_str(augment).unwrap();
    (saved.members[1].train, saved.members[1].views) = (augment.train, augment.views);
    saved.save(dir.path(), "1").unwrap();
    let opened = Bundle::open(dir.path(), &Device::Cpu).unwrap();
    assert_eq!((&opened.inputs, &opened.combine), (&saved.inputs, &saved.combine));
    assert_eq!((&opened.calibration, &opened.decision), (&saved.calibration, &saved.decision));
    assert_eq!(opened.conformal, saved.conformal);
    for (opened, saved) in opened.members.iter().zip(&saved.members) {
        assert_eq!((&opened.views, &opened.train), (&saved.views, &saved.train));
    }
    assert_eq!(opened.views().unwrap().len(), 5, "of flip 2, of augment 3 and the plain one again");
}

#[test]
fn every_new_field_of_an_edited_description_is_validated() {
    let dir = tempfile::tempdir().unwrap();
    bundle(1).save(dir.path(), "1").unwrap();
    let whole = fs::read_to_string(dir.path().join("bundle.toml")).unwrap();
    let task = |factors: &str| format!("[members.task]\nfactors = [{factors}]");
    let mask = "{ name = \"mask\", levels = [\"worn\", \"incorrect\", \"not worn\"] }";
    for (edit, want) in [
        ("inputs = [2]", "at `inputs`: must be the number of members of each input"),
        ("inputs = [0, 1]", "at `inputs`: must be"),
        (
            "combine = { kind = \"soft_vote\", weights = [1.0, 2.0] }",
            "at `combine`: `weights` are 1 numbers",
        ),
        (
            "combine = { kind = \"soft_vote\", weights = [nan] }",
            "at `combine`: `weights` are 0 or more",
        ),
        (
            "combine = { kind = \"hard_vote\", weights = [-1.0] }",
            "at `combine`: `weights` are 0 or more",
        ),
        ("combine = { kind = \"rank_average\" }", "at `combine`: `quantiles`"),
        ("combine = { kind = \"median\" }", "unknown kind `median`"),
        (
            "calibration = { kind = \"temperature\", temperature = nan }",
            "at `calibration`: `temperature`",
        ),
        ("calibration = { kind = \"vector\", scale = [1.0] }", "at `calibration`: `scale` takes"),
        ("calibration = { kind = \"isotonic\", classes = [[[0.1], [0.2]]] }", "at `calibration`: "),
        ("decision = { class_weights = [1.0, 2.0] }", "at `decision`: `class_weights` takes"),
        (
            "decision = { thresholds = [{ factor = \"mask\", thresholds = [0.5, 0.5] }] }",
            "at `decision`: `mask` is not a numeric factor",
        ),
        (
            "decision = { thresholds = [{ factor = \"age\", thresholds = [0.5] }] }",
            "at `decision`: the factor `age` takes 2 thresholds",
        ),
        ("conformal = { n_groups = 3, folds = [] }", "at `conformal`: `folds`"),
        (
            "conformal = { n_groups = 3, folds = [{ scores = [0.2, 0.1], weights = [0.1, 0.2] }] }",
            "at `conformal`: `folds[0]`",
        ),
        (
            "conformal = { n_groups = 3, folds = [{ scores = [], weights = [] }, { scores = [], weights = [] }] }",
            "at `conformal`: has 2 folds",
        ),
        ("members.views = { kind = \"blur\" }", "unknown kind `blur`"),
        ("members.views = { kind = \"flip\", merge = \"median\" }", "unknown value `median`"),
        ("members.views = { kind = \"crops\", n = 7 }", "at `members[0]`: `views`: `n` must be"),
        (
            "members.views = { kind = \"scales\", by = [nan] }",
            "at `members[0]`: `views`: each of `by`",
        ),
        // Without the transforms of training.
        ("members.views = { kind = \"augment\" }", "at `members[0]`: `views`: "),
        ("members.train = [{ kind = \"invert\", p = 2.0 }]", "at `members[0]`: `train`: "),
        (
            &task("{ name = \"age\", levels = [\"a\", \"b\"] }"),
            "`task`: the levels of the factor `age` differ, only in the bundle: ",
        ),
        (&task("{ name = \"hat\", levels = [\"a\", \"b\"] }"), "`task`: there is no factor `hat`"),
        (&task(""), "`task`: the task has no factors"),
        (&task(mask), "at `members`: no member of the bundle predicts `gender`"),
        ("members.colour = 3", "unknown field `colour`"),
    ] {
        // The edit's tables replace those of the bundle, and those of `members` those of its member.
        let mut table: toml::Table = whole.parse().unwrap();
        for (key, value) in edit.parse::<toml::Table>().unwrap() {
            match (key.as_str(), value) {
                ("members", toml::Value::Table(own)) => first_member(&mut table).extend(own),
                (_, value) => drop(table.insert(key, value)),
            }
        }
        fs::write(dir.path().join("bundle.toml"), table.to_string()).unwrap();
        let err = Bundle::open(dir.path(), &Device::Cpu).err();
        let err = err.unwrap_or_else(|| panic!("{edit} is opened")).to_string();
        assert!(err.contains("bundle.toml: ") && err.contains(want), "{edit}: {err}");
    }
}

/// A bundle of one factor.
fn of_factor(factor: usize, seed: u64) -> Bundle {
    let whole = bundle(seed);
    let task = Task::new(vec![whole.task.factors[factor].clone()]);
    let spec = whole.members[0].model.spec().clone();
    let model = Model::fresh(&spec, &task, Seed(seed), &Device::Cpu).unwrap();
    let pipeline = whole.members[0].pipeline.clone();
    Bundle::new(task.clone(), vec![Member::new(Rc::new(model), task, pipeline)])
}

#[test]
fn members_for_one_factor_each_are_saved_with_their_own_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let named = |factor: usize| (format!("bundle {factor}"), of_factor(factor, 1));
    let joined = Bundle::join(vec![named(2), named(0), named(1)], &[]).unwrap();
    let names = |task: &Task| task.factors.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&joined.task), ["age", "mask", "gender"]);
    joined.save(dir.path(), "1").unwrap();
    let opened = Bundle::open(dir.path(), &Device::Cpu).unwrap();
    assert_eq!(names(&opened.task), names(&joined.task));
    assert_eq!(names(&opened.members[1].task), ["mask"]);
    // Without the members for a factor, or combined otherwise, they do not fit together.
    let mut other = joined.clone();
    other.members.pop();
    let problem = other.problem().unwrap();
    assert!(problem.contains("no member of the bundle predicts `gender`"), "{problem}");
    other = joined.clone();
    other.combine = toml::from_str("kind = \"hard_vote\"").unwrap();
    let problem = other.problem().unwrap();
    assert!(
        problem.contains("at `combine`: `hard_vote` needs members that predict every"),
        "{problem}"
    );
    let folder = dir.path().join("other");
    assert!(other.save(&folder, "1").is_err() && !folder.exists(), "nothing is written");
}

#[test]
fn joined_bundles_share_their_weight_among_their_members() {
    let named = |name: &str, it: Bundle| (name.to_owned(), it);
    let pair = Bundle::join(vec![named("a", bundle(1)), named("b", bundle(2))], &[]).unwrap();
    assert!(pair.weights().is_empty() && pair.members.len() == 2);
    let three = |weights: &[f64]| {
        let all = vec![named("pair", pair.clone()), named("c", bundle(3))];
        Bundle::join(all, weights).map(|it| it.weights())
    };
    assert_eq!(three(&[]), Ok(vec![]));
    assert_eq!(three(&[0.5, 0.25]), Ok(vec![0.25, 0.25, 0.25]));
    for wrong in [&[1.0][..], &[0.0, 0.0], &[-1.0, 2.0], &[f64::NAN, 1.0], &[f64::INFINITY, 1.0]] {
        let err = three(wrong).unwrap_err();
        assert!(err.contains("the weights must be 2 numbers of at least 0"), "{err}");
    }
    let mut fitted = bundle(4);
    fitted.calibration = toml::from_str("kind = \"temperature\"\ntemperature = 1.5").unwrap();
    // Alone it is what it is.
    let alone = Bundle::join(vec![named("fitted", fitted.clone())], &[]).unwrap();
    assert_eq!(alone.calibration, fitted.calibration);
    let err =
        Bundle::join(vec![named("a", bundle(1)), named("fitted", fitted)], &[1.0]).err().unwrap();
    assert!(
        err.contains("the weights must be") && err.contains("\nfitted: what was fitted"),
        "{err}"
    );
    assert!(Bundle::join(Vec::new(), &[]).err().unwrap().contains("name at least one"));
    let mut other = of_factor(2, 1);
    other.task.factors[0].cuts[0] = 29.0;
    let err = Bundle::join(vec![named("a", bundle(1)), named("other", other)], &[]).err().unwrap();
    let want = "other: the factor `age` has the cuts 30, 60 in a, and the cuts 29, 60 in other: ";
    assert!(err.starts_with(want), "{err}");
}
