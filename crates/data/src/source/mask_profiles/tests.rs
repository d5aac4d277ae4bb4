use std::{fs, path::Path};

use expect_test::{Expect, expect};

use super::{Listing, MaskProfiles, Source as _, from_names};
use crate::{Content, Context, Findings, Fixes, Manifest, synthetic};

const HEADER: &str = "id,gender,race,age,path\n";

fn seven() -> Vec<String> {
    super::STEMS.iter().map(|it| format!("{it}.jpg")).collect()
}

fn people(names: &[&str]) -> Listing {
    names.iter().map(|&it| (it.to_owned(), seven())).collect()
}

fn read(csv: &str, listing: &Listing, fixes: &str) -> (Manifest, Findings) {
    let fixes: Fixes = toml::from_str(fixes).unwrap();
    from_names(csv.as_bytes(), listing, Path::new("images"), &[fixes])
}

#[track_caller]
fn check(csv: &str, listing: &Listing, want: Expect) {
    want.assert_eq(&read(csv, listing, "").1.to_string());
}

#[test]
fn people_are_identified_by_folder() {
    let csv =
        format!("{HEADER}003397,female,Asian,20,003397_20\n003397,female,Asian,19,003397_19\n");
    let (manifest, findings) = read(&csv, &people(&["003397_20", "003397_19"]), "");
    assert_eq!(findings.0, []);
    assert_eq!(manifest.groups, ["003397_19", "003397_20"]);
    // incorrect (1), mask (0) five times, normal (2); female (1), under 30 (0).
    let classes: Vec<usize> = manifest.examples[..7].iter().map(|it| it.class).collect();
    assert_eq!(classes, [9, 3, 3, 3, 3, 3, 15]);
    assert!(manifest.examples[7..].iter().all(|it| it.group == 1));
    assert_eq!(manifest.attributes[0].name, "race");
    assert_eq!(manifest.attributes[0].values, ["Asian"]);
    assert!(manifest.examples.iter().all(|it| it.attributes == [0]));
}

#[test]
fn extensions_may_differ_between_files() {
    let mut listing = people(&["a"]);
    let files = listing.get_mut("a").unwrap();
    files[0] = "incorrect_mask.PNG".to_owned();
    files[1] = "mask1.jpeg".to_owned();
    let (manifest, findings) = read(&format!("{HEADER}1,male,Asian,60,a\n"), &listing, "");
    assert_eq!(findings.0, []);
    assert_eq!(manifest.examples[0].name, "a/incorrect_mask.PNG");
}

#[test]
fn line_numbers_match_those_of_an_editor() {
    let row = "1,male,Asian,abc,a";
    for (text, line) in [
        (format!("{HEADER}{row}\n"), 2),
        (format!("{HEADER}\n\n{row}\n"), 4),
        (format!("\u{feff}{HEADER}{row}"), 2),
        (format!("{HEADER}2,male,Asian,30,b\n\n{row}\n").replace('\n', "\r\n"), 4),
        (format!("{HEADER}2,male,Asian,30,b\n\n{row}\n").replace('\n', "\r"), 4),
        (format!("\n\n{HEADER}2,male,\"A\n\ns\",30,b\n\n{row}\n"), 8),
    ] {
        let findings = read(&text, &people(&["a", "b"]), "").1.to_string();
        assert!(findings.contains(&format!("line {line}: the age")), "{text:?}: {findings}");
    }
}

#[test]
fn another_encoding_is_detected_and_reported() {
    let problems =
        |csv: &[u8]| from_names(csv, &people(&["a"]), Path::new("images"), &[]).1.to_string();
    // "김" in CP949.
    let cp949 = [HEADER.as_bytes(), b"1,male,Asian,30,\xb1\xe8\xb9\xce\xbc\xf6\n"].concat();
    expect![[r#"
        1 problem in the data:
          train.csv: this looks like CP949 (EUC-KR), not UTF-8 (line 2): save it as UTF-8"#]]
    .assert_eq(&problems(&cp949));
    let utf16: Vec<u8> =
        format!("\u{feff}{HEADER}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    expect![[r#"
        1 problem in the data:
          train.csv: this looks like UTF-16, not UTF-8: save it as UTF-8"#]]
    .assert_eq(&problems(&utf16));
}

#[test]
fn a_long_table_and_long_fixes_take_linear_time() {
    // An earlier version counted the lines above for each row, and searched all rows for each fix, which
    // took minutes.
    const N: usize = 100_000;
    let rows: String = (0..N).map(|it| format!("{it},male,Asian,30,p{it}\n")).collect();
    let csv = format!("{HEADER}{rows}x,male,Asian,abc,last\n");
    let names: Vec<String> = (0..N).map(|it| format!("p{it}")).collect();
    let listing = names.iter().map(|it| (it.clone(), seven())).collect();
    let ids: Vec<String> = (0..N / 2).map(|it| format!("\"{it}\"")).collect();
    let fixes = format!("[[fix]]\nids = [{}]\nage = 60\n", ids.join(","));
    let (manifest, findings) = read(&csv, &listing, &fixes);
    assert_eq!(manifest.examples.len(), 7 * N);
    assert_eq!(manifest.examples.iter().filter(|it| it.number(2) == Some(60.0)).count(), 7 * N / 2);
    assert_eq!(findings.0.len(), 1);
    assert_eq!(findings.0[0].place, format!("train.csv line {}", N + 2));
}

#[test]
fn all_problems_are_reported_at_once() {
    let csv = format!(
        "{HEADER}1,male,Asian,abc,a\n2,mle,Asian,30,b\n3,male,Asian,30,absent\n4,male,Asian,30\n\
         5,female,Asian,41,c\n6,female,Asian,41,c\n7,female,Asian,41,../c\n"
    );
    let mut listing = people(&["a", "b", "c", "nobody"]);
    listing.get_mut("c").unwrap().retain(|it| it != "mask3.jpg");
    listing.get_mut("c").unwrap().extend(["mask1.png".to_owned(), "notes.txt".to_owned()]);
    check(
        &csv,
        &listing,
        expect![[r#"
            10 problems in the data:
              train.csv line 2: the age `abc` is not a number of years: write the age in years
              train.csv line 3: the gender `mle` is unknown: write `male` or `female`
              train.csv line 5: has 4 fields, the header 5: correct the row
              train.csv line 7: `c` already has a row: remove one of the two
              train.csv line 8: the path `../c` is not a folder name: write the name of a folder in `images/`
              images/nobody: has no row in train.csv: add a row, or move the folder out of `images/`
              images/absent: is missing: put the folder there, or remove the row
              images/c/mask1: exists 2 times (mask1.jpg, mask1.png): keep one of them
              images/c/mask3: is missing: put the image there, or leave the person out by a label fix
              images/c/notes.txt: is not one of the seven images: move it away: the names are `mask1` to `mask5`, `incorrect_mask`, `normal`"#]],
    );
}

#[test]
fn a_folder_in_another_unicode_form_than_its_row_is_found() {
    // Hangul as Windows and as macOS write it: syllables, and their letters.
    let (nfc, nfd) = ("1_\u{d55c}", "1_\u{1112}\u{1161}\u{11ab}");
    let fix = |name: &str| format!("[[fix]]\nids = [\"{name}\"]\nage = 70\n");
    for (row, folder) in [(nfc, nfd), (nfd, nfc)] {
        let csv = format!("{HEADER}1,male,Asian,30,{row}\n2,male,Asian,30,b\n");
        let (manifest, findings) = read(&csv, &people(&[folder, "b"]), &fix(folder));
        assert_eq!(findings.0, []);
        // The person has the name in the table, the file the name on disk.
        assert!(manifest.groups.contains(&row.to_owned()), "{:?}", manifest.groups);
        let its = manifest.examples.iter().find(|it| it.name == format!("{row}/mask1.jpg"));
        let its = its.unwrap();
        let Content::File(path) = &its.content else { panic!("this source names files") };
        assert_eq!(*path, Path::new("images").join(folder).join("mask1.jpg"));
        assert_eq!(its.number(2), Some(70.0), "the fix applies to this person");
        assert!(
            manifest.notes[0].contains("differs from their folder's: 1, such as"),
            "{manifest:?}"
        );
        let ascii = format!("{HEADER}1,male,Asian,30,a\n2,male,Asian,30,b\n");
        let other = read(&ascii, &people(&["a", "b"]), "").0;
        assert_eq!(manifest.listed.len(), other.listed.len());
    }
    // Both forms exist: each path matches its own folder.
    let both = format!("{HEADER}1,male,Asian,30,{nfc}\n2,male,Asian,40,{nfd}\n");
    let (manifest, findings) = read(&both, &people(&[nfc, nfd]), &fix(nfd));
    assert!(findings.0.is_empty() && manifest.notes.is_empty(), "{findings}");
    let ages: Vec<_> = manifest.examples.iter().map(|it| (it.group, it.number(2))).collect();
    assert_eq!((ages.first(), ages.last()), (Some(&(0, Some(70.0))), Some(&(1, Some(30.0)))));
    let error = |csv: &str, folders: &[&str]| read(csv, &people(folders), "").1.to_string();
    let err = error(&both, &[nfc]);
    assert!(err.contains("1 problem in the data") && err.contains("occurs twice, in two"), "{err}");
    // U+212B and A with a ring above it are both U+00C5.
    let err = error(&format!("{HEADER}1,male,Asian,30,\u{c5}\n"), &["\u{212b}", "A\u{30a}"]);
    assert!(err.contains("looks like 2 folders in other Unicode forms"), "{err}");
}

#[test]
fn invalid_tables_are_reported() {
    check(
        "",
        &Listing::new(),
        expect![[r#"
            1 problem in the data:
              train.csv: is empty: put the header `id,gender,race,age,path` and the rows there"#]],
    );
    check(
        HEADER,
        &Listing::new(),
        expect![[r#"
            1 problem in the data:
              train.csv: has no rows: add a row for each person"#]],
    );
    check(
        "id,gender,race,path\n1,male,Asian,a\n",
        &people(&["a"]),
        expect![[r#"
            1 problem in the data:
              train.csv: has no column `age` (it has id, gender, race, path): the header is `id,gender,race,age,path`"#]],
    );
}

#[test]
fn fixes_change_labels_and_nothing_else() {
    let csv = format!("{HEADER}1,female,Asian,20,a\n2,male,Asian,57,b\n3,male,Asian,20,c\n");
    let fixes = r#"
        [[fix]]
        ids = ["1"]
        gender = { from = "female", to = "male" }
        swap = ["normal", "incorrect_mask"]
        [[fix]]
        ids = ["b"]
        age = 60
        weight = 0.5
        relabel = { incorrect_mask = "mask" }
        [[fix]]
        ids = ["3", "999"]
        ignore = true
        [[fix]]
        ids = ["2"]
        gender = { from = "female", to = "male" }
    "#;
    let (manifest, findings) = read(&csv, &people(&["a", "b", "c"]), fixes);
    assert_eq!(findings.0, []);
    assert_eq!(manifest.groups, ["a", "b"]);
    let classes: Vec<usize> = manifest.examples.iter().map(|it| it.class).collect();
    assert_eq!(classes, [12, 0, 0, 0, 0, 0, 6, 2, 2, 2, 2, 2, 2, 14]);
    let weights: Vec<f32> = manifest.examples.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [[1.0; 7], [0.5; 7]].concat());
    assert_eq!(
        manifest.notes,
        ["label fixes name unknown people: 999", "the label fix of 2 has no effect: already male"]
    );
}

#[test]
fn id_of_two_people_is_ambiguous_in_a_fix() {
    let csv = format!("{HEADER}1,female,Asian,20,a\n1,female,Asian,20,b\n");
    let (_, findings) = read(&csv, &people(&["a", "b"]), "[[fix]]\nids = [\"1\"]\nignore = true\n");
    expect![[r#"
        1 problem in the data:
          label fix of 1: several people have this id: name the folder instead of the id"#]]
    .assert_eq(&findings.to_string());
}

#[test]
fn damaged_images_are_found_before_training() {
    let dir = tempfile::tempdir().unwrap();
    let few = crate::SyntheticPeople {
        n_people: 2,
        n_test: 0,
        size: [32, 24],
        wrong_labels: 0.0,
        flipped: 0.0,
        seed: 0,
    };
    few.write(dir.path(), &|_, _| {}).unwrap();
    let root = dir.path().join("train");
    let names: Vec<String> = {
        let mut names: Vec<_> = fs::read_dir(root.join("images")).unwrap().collect();
        names.sort_by_key(|it| it.as_ref().unwrap().file_name());
        names.into_iter().map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    };
    let file = |idx: usize, name: &str| root.join("images").join(&names[idx]).join(name);
    let whole = fs::read(file(0, "mask1.jpg")).unwrap();
    fs::write(file(0, "mask1.jpg"), &whole[..whole.len() / 2]).unwrap();
    fs::write(file(0, "normal.jpg"), b"not an image").unwrap();
    fs::remove_file(file(1, "mask2.jpg")).unwrap();
    fs::write(file(1, "mask2.png"), b"").unwrap();
    let huge = synthetic::draw(
        &synthetic::Person::new(base::Seed(0), 0),
        synthetic::Shot::Normal,
        [99, 99],
    );
    huge.save(file(1, "mask5.jpg")).unwrap();
    fs::write(file(1, "._mask5.jpg"), b"metadata of other systems").unwrap();

    let source = MaskProfiles { root: root.clone(), ..MaskProfiles::default() };
    let context = Context { cache: None, max_pixels: 99 * 98, progress: &|_, _| {} };
    let err = source.read(&context).unwrap_err().to_string();
    expect![[r#"
        ROOT: 4 problems in the data:
          images/000001_female_Drawn_23/mask1.jpg: the image is truncated: replace the file, or leave its person out by a label fix
          images/000001_female_Drawn_23/normal.jpg: this is not an image: its first bytes are none of JPEG, PNG, WebP, GIF, BMP or TIFF: replace the file, or leave its person out by a label fix
          images/000002_male_Drawn_20/mask2.png: the file is empty: replace the file, or leave its person out by a label fix
          images/000002_male_Drawn_20/mask5.jpg: 99x99 pixels exceed `max_pixels = 9702`: replace the file, or leave its person out by a label fix"#]].assert_eq(&err.replace(&root.display().to_string(), "ROOT"));
}

#[test]
fn a_missing_folder_is_reported_with_its_expected_content() {
    let context = Context { cache: None, max_pixels: 100, progress: &|_, _| {} };
    let source = MaskProfiles { root: "no/such".into(), ..MaskProfiles::default() };
    expect!["no/such/train.csv: No such file or directory (os error 2): `data.source.root` must be the folder of `train.csv` and `images/`"].assert_eq(&source.read(&context).unwrap_err().to_string());
    let fixes = Fixes::read(Path::new("no.toml")).unwrap_err();
    assert!(fixes.ends_with(": `label_fixes` names files of label fixes"), "{fixes}");
    expect!["`data.source.root` is empty: name the folder of `train.csv` and `images/`"]
        .assert_eq(&MaskProfiles::default().read(&context).unwrap_err().to_string());
}
