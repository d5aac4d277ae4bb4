//! `maskfit config schema`: what the schema accepts and refuses, the program does too.

use std::{fs, path::Path};

use testkit::JsonSchema;

use crate::bench::Bench;

/// Returns the shipped configs: their names and texts.
fn configs() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.retain(|it| it.extension().is_some_and(|it| it == "toml"));
    let name = |it: &Path| it.file_stem().unwrap().to_str().unwrap().to_owned();
    // Lists of label fixes are no configs.
    files.retain(|it| !name(it).starts_with("label_fixes"));
    files.iter().map(|it| (name(it), fs::read_to_string(it).unwrap())).collect()
}

/// Returns where a config does not fit the schema.
fn problems(schema: &JsonSchema, text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    schema.problems(&serde_json::to_value(table).unwrap())
}

fn schema(bench: &Bench) -> JsonSchema {
    let text = bench.ok(&["config", "schema"]);
    JsonSchema::new(serde_json::from_str(&text).unwrap())
}

#[test]
fn every_shipped_config_names_the_schema_and_fits_it() {
    let bench = Bench::empty();
    let schema = schema(&bench);
    let configs = configs();
    assert!(configs.len() >= 22, "{}", configs.len());
    for (name, text) in configs {
        assert!(text.starts_with("#:schema ./schema.json\n"), "{name}");
        assert_eq!(problems(&schema, &text), [""; 0], "{name}");
        // With every setting of every layer.
        let resolved = match name.as_str() {
            "default" => bench.ok(&["config", "show"]),
            name => bench.ok(&["config", "show", name]),
        };
        assert_eq!(problems(&schema, &resolved), [""; 0], "{name}: {resolved}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/schema.json");
    assert_eq!(bench.ok(&["config", "schema"]), fs::read_to_string(file).unwrap());
}

#[test]
fn the_schema_and_the_program_refuse_and_accept_the_same() {
    let bench = Bench::empty();
    let schema = schema(&bench);
    let is_read = |text: &str| {
        fs::write(bench.path("mine.toml"), text).unwrap();
        bench.run(&["config", "show", "mine.toml"]).status.success()
    };
    for (text, at) in [
        // Unknown settings, sections and kinds.
        ("seeed = 1", ""),
        ("[cheese]\na = 1", ""),
        ("[optim]\nrl = 1e-3", "/optim"),
        ("[train]\nbatchsize = 8", "/train"),
        ("[optim]\nkind = \"addam\"", "/optim"),
        ("[optim]\nkind = \"sgd\"\nbetas = [0.9, 0.99]", "/optim"),
        ("[augment]\ntrain = [{ kind = \"rotat\" }]", "/augment/train/0"),
        ("[groups]\nno_decay = [\"nrom\"]", "/groups/no_decay/0"),
        // Wrong types.
        ("seed = \"a\"", "/seed"),
        ("seed = -1", "/seed"),
        ("[optim]\nlr = \"fast\"", "/optim"),
        ("[train]\ntotal = 3", "/train/total"),
        ("[train]\ntotal = \"3 weeks\"", "/train/total"),
        ("[data]\ntraining_cuts = { age = \"old\" }", "/data/training_cuts/age"),
        ("[augment]\ntrain = [{ kind = \"resize\", size = [1, 2, 3] }]", "/augment/train/0"),
        // Without a `kind`, or a setting that is needed.
        ("[augment]\ntrain = [{ size = [32, 32] }]", "/augment/train/0"),
        ("[loss]\nkind = \"sum\"\nparts = [{ weight = 1.0 }]", "/loss"),
        ("[loss]\nweights = { beta = 0.9 }", "/loss"),
        ("[train]\nsizes = [{ size = [32, 32] }]", "/train/sizes/0"),
    ] {
        assert_eq!(problems(&schema, text), [at], "{text}");
        assert!(!is_read(text), "the program reads: {text}");
    }
    for text in [
        "",
        "[optim]\nlr = 1",
        "[optim]\nkind = \"sgd\"",
        // A table without a `kind` has the default's.
        "[head]\ndropout = 0.1",
        "[data]\nsource = { n_people = 10 }",
        "[data.pseudo]\nshare = 0.5",
        "[model.backbone]\nwidth = 0.25",
        "[loss]\nweights = { kind = \"effective\" }",
        "[loss]\nkind = \"sum\"\nparts = [{ kind = \"f1\" }, { kind = \"focal\", weight = 0.6, on = [\"age\"] }]",
        "[[phase]]\nname = \"a\"\ntotal = \"1 epochs\"\nschedule = { kind = \"cosine\" }",
        "[augment]\ntrain = [{ kind = \"rotate\", degrees = 30, p = 0.5 }, { kind = \"rotate\", degrees = [-3, 30] }]",
        "[data]\nsource = { kind = \"several\", roots = [{ source = { kind = \"synthetic_people\" } }] }",
    ] {
        assert_eq!(problems(&schema, text), [""; 0], "{text}");
        assert!(is_read(text), "the program refuses: {text}");
    }
}
