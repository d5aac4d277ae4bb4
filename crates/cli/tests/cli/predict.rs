//! `maskfit predict` and `submit`: which files are predicted, and where the output goes.

use std::{
    fs::{self, File},
    process::Stdio,
};

use expect_test::expect;

use crate::bench::{Bench, text};

/// Returns a trained run, and the bytes of an image.
fn trained() -> (Bench, Vec<u8>) {
    let bench = Bench::new();
    bench.ok(&["train", "small.toml", "--set", "run.name=a", "--set", "train.total=1 steps"]);
    let image = fs::read(bench.image(0, "mask1.jpg")).unwrap();
    (bench, image)
}

fn png(w: u32, h: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(w, h).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn images_are_recognised_by_content_and_other_files_are_named() {
    let (bench, image) = trained();
    fs::create_dir_all(bench.path("in/deep")).unwrap();
    for name in ["a.jpg", "b.jfif", "c", "d.heic", "deep/Kim, Min-su.mpo"] {
        fs::write(bench.path("in").join(name), &image).unwrap();
    }
    fs::write(bench.path("in/notes.txt"), "notes").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("..", bench.path("in/deep/up")).unwrap();
    let output = bench.run(&["predict", "runs/a", "--images", "in", "-o", "p.csv"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(out.ends_with("5 rows: p.csv\n"), "{out}");
    assert!(err.contains("1 not an image (by the first bytes): notes.txt"), "{err}");
    let table = fs::read_to_string(bench.path("p.csv")).unwrap();
    let names: Vec<&str> =
        table.lines().skip(1).map(|it| it.rsplitn(21, ',').last().unwrap()).collect();
    assert_eq!(names, ["a.jpg", "b.jfif", "c", "d.heic", "\"deep/Kim, Min-su.mpo\""]);
    let digits =
        |it: &str| it.trim_start_matches(['0', '.']).chars().filter(char::is_ascii_digit).count();
    let longest =
        table.lines().skip(1).flat_map(|it| it.rsplitn(19, ',').take(18)).map(digits).max();
    assert!(longest <= Some(9), "{table}");

    // All images that cannot be predicted are listed, and the others have their rows.
    fs::write(bench.path("in/e.jpg"), b"no image").unwrap();
    fs::write(bench.path("in/f.jpg"), &image[..image.len() / 2]).unwrap();
    fs::write(bench.path("in/g.png"), png(40, 20)).unwrap();
    fs::write(bench.path("in/h.heic"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    let output = bench.run(&["predict", "runs/a", "--images", "in", "-o", "q.csv"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    for want in [
        "error: in: 4 problems in the data",
        "\n  e.jpg: ",
        "\n  f.jpg: the image is truncated: replace the file, or leave it out",
        "\n  h.heic: HEIC is not supported",
    ] {
        assert!(err.contains(want), "{err}");
    }
    assert!(err.contains("\n  g.png: `center_crop`: ") && err.contains("5 rows written"), "{err}");
    assert_eq!(fs::read(bench.path("q.csv")).unwrap(), table.as_bytes());
}

#[test]
fn images_that_are_too_small_to_show_anything_are_predicted_with_a_note() {
    let bench = Bench::new();
    let resize = "augment.eval=[{ kind = \"resize\", size = [32, 24] }]";
    let short = ["--set", "run.name=a", "--set", "train.total=1 steps", "--set", resize];
    bench.ok(&[&["train", "small.toml"][..], &short].concat());
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/small.png"), png(8, 8)).unwrap();
    let predict = ["predict", "runs/a", "--images", "in", "-o", "p.csv"];
    let err = bench.notes(&predict);
    assert!(!err.contains("means little"), "{err}");
    fs::write(bench.path("in/dot.png"), png(1, 1)).unwrap();
    fs::write(bench.path("in/line.png"), png(300, 7)).unwrap();
    let (out, err) = bench.both(&predict);
    assert!(out.contains("3 rows: p.csv"), "{out}");
    let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
    let note = "note: 2 images have a side shorter than 8 pixels, so that a prediction means little: `dot.png`, \
                `line.png`";
    assert!(words.contains(note), "{err}");
}

#[test]
fn submission_is_quoted_and_written_whole_or_not_at_all() {
    let (bench, image) = trained();
    fs::create_dir_all(bench.path("eval/images")).unwrap();
    let names = ["Kim, Min-su.jpg", "say \"hi\".jpg", "사진 1.jpg"];
    for name in names {
        fs::write(bench.path("eval/images").join(name), &image).unwrap();
    }
    let info = "ImageID,ans\n\"Kim, Min-su.jpg\",0\n\"say \"\"hi\"\".jpg\",0\n사진 1.jpg,0\n";
    fs::write(bench.path("eval/info.csv"), info).unwrap();
    bench.ok(&["submit", "runs/a", "--images", "eval"]);
    let table = fs::read_to_string(bench.path("output.csv")).unwrap();
    let ids = |table: &str| -> Vec<String> {
        table.lines().map(|it| it.rsplit_once(',').unwrap().0.to_owned()).collect()
    };
    assert_eq!(ids(&table), ids(info));

    fs::write(bench.path("eval/images/사진 1.jpg"), png(40, 20)).unwrap();
    fs::write(bench.path("eval/images/say \"hi\".jpg"), b"").unwrap();
    let before = bench.names();
    let output = bench.run(&["submit", "runs/a", "--images", "eval", "-o", "other.csv"]);
    let err = text(&output.stderr);
    assert!(err.contains("2 problems in the data") && err.contains("nothing is written"), "{err}");
    assert_eq!((output.status.code(), bench.names()), (Some(1), before));
}

#[test]
fn only_an_own_file_is_replaced() {
    let (bench, _) = trained();
    fs::create_dir_all(bench.path("own")).unwrap();
    let mine = "id,class\n1,2\n";
    fs::write(bench.path("mine.csv"), mine).unwrap();
    fs::write(bench.path("mine.png"), png(4, 4)).unwrap();
    let remedy = "name another file with `-o`, or remove it";
    let eval = ["--images", "people/eval/images"];
    let small = ["small.toml"];
    // Without the sample file.
    let people = ["--images", "people/eval/images", "--set", "submit.kind=probabilities"];
    let pseudo = [&eval[..], &["--top", "1"]].concat();
    for (command, args, own, what) in [
        (&["predict", "runs/a"][..], &eval[..], "csv", "a table of `maskfit predict`"),
        (&["submit", "runs/a"][..], &people[..], "csv", "a submission for these images"),
        (&["pseudo", "runs/a"][..], &pseudo[..], "csv", "a table of `maskfit pseudo`"),
        (&["schedule"][..], &small[..], "png", "an image that maskfit has drawn"),
        (&["lr-find", "--steps", "40"][..], &small[..], "png", "an image that maskfit has drawn"),
        (&["data", "show"][..], &small[..], "png", "an image that maskfit has drawn"),
        (&["data", "mixed"][..], &small[..], "png", "an image that maskfit has drawn"),
    ] {
        let command = [command, args].concat();
        let name = format!("own/{}.{own}", command[..2].join("-").replace('/', "-"));
        for file in ["mine.csv", "mine.png"] {
            let before = fs::read(bench.path(file)).unwrap();
            let output = bench.run(&[&command[..], &["-q", "-o", file]].concat());
            let want = format!("error: {file}: already exists, and is not {what}: {remedy}\n");
            assert_eq!(text(&output.stderr), want, "{command:?}");
            assert_eq!(output.status.code(), Some(1));
            assert!(fs::read(bench.path(file)).unwrap() == before, "{command:?}");
        }
        // A second time it replaces its own.
        for _ in 0..2 {
            bench.ok(&[&command[..], &["-o", &name]].concat());
        }
    }
    // A file of another command.
    let output = bench.run(&["predict", "runs/a", "--images", "people", "-o", "runs/a/valid.csv"]);
    let err = text(&output.stderr);
    assert!(err.contains("runs/a/valid.csv: already exists, and is not a table of"), "{err}");
    // The sample file has the columns and the ids of a submission.
    bench.fails(
        &["submit", "runs/a", "--images", "people/eval", "-o", "people/eval/info.csv"],
        expect!["error: people/eval/info.csv: is the sample file: name another file with `-o`"],
    );
}

#[test]
fn stdout_has_only_the_result() {
    let (bench, _) = trained();
    let predict = ["predict", "runs/a", "--images", "people/eval/images", "-o"];
    bench.ok(&[&predict[..], &["p.csv"]].concat());
    let table = fs::read_to_string(bench.path("p.csv")).unwrap();
    let output = bench.run(&[&predict[..], &["-"]].concat());
    assert_eq!(text(&output.stdout), table);
    assert!(text(&output.stderr).contains("21 rows: stdout"), "{}", text(&output.stderr));
    assert!(!bench.path("-").exists());

    #[cfg(target_os = "linux")]
    {
        // As `>> log` does.
        fs::write(bench.path("log"), "before\n").unwrap();
        let log = File::options().append(true).open(bench.path("log")).unwrap();
        let mut command = bench.command(&[&predict[..], &["/dev/stdout"]].concat());
        assert!(command.stdout(log).stderr(Stdio::null()).status().unwrap().success());
        assert_eq!(fs::read_to_string(bench.path("log")).unwrap(), format!("before\n{table}"));
    }

    #[cfg(target_os = "linux")]
    {
        // As `| head` does once it has its lines, and as a full disk.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let quiet = [&predict[..], &["-", "--quiet"]].concat();
        let output = bench.command(&quiet).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = bench.command(&quiet).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let err = text(&output.stderr);
        assert_eq!(err, "error: stdout: No space left on device (os error 28)\n");
        assert_eq!(output.status.code(), Some(1));
    }

    let output = bench.run(&["schedule", "small.toml", "-o", "-"]);
    assert!(output.stdout.starts_with(b"\x89PNG"), "{}", text(&output.stderr));
    let output = bench.run(&["labels", "runs/a", "-o", "-"]);
    assert!(text(&output.stderr).contains("this command writes several files"));
}

#[test]
fn all_images_that_are_too_small_are_named_before_the_first_step() {
    let bench = Bench::new();
    fs::remove_file(bench.image(1, "mask2.jpg")).unwrap();
    fs::write(bench.image(1, "mask2.png"), png(40, 20)).unwrap();
    fs::remove_file(bench.image(5, "normal.jpg")).unwrap();
    fs::write(bench.image(5, "normal.png"), png(20, 40)).unwrap();
    fs::write(bench.image(3, "mask1.jpg"), b"").unwrap();
    for command in [&["data", "check"][..], &["train"], &["kfold"], &["train", "--fast"]] {
        let before = bench.names();
        let output = bench.run(&[command, &["small.toml"]].concat());
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), bench.names()), (Some(1), before), "{err}");
        for want in [
            "mask1.jpg: the file is empty",
            "4 problems",
            "mask2.png: at `augment.train`: ",
            "mask2.png: at `augment.eval`: `center_crop`: ",
            "normal.png: at `augment.eval`: ",
        ] {
            assert!(err.contains(want), "{command:?}: {want}: {err}");
        }
    }
}
