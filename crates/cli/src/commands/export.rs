//! `maskfit export`: a bundle as a file for other programs.

use std::path::Path;

use anyhow::{anyhow, bail};
use candle::Device;
use export::{ExportError, Onnx, OnnxOptions, Port, TimmWeights};
use infer::Bundle;

use crate::{
    End,
    args::{ExportArgs, Format},
    bundles,
    output::Output,
    preparation::use_threads,
    wrap::{WIDTH, in_columns},
};

pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<End> {
    check(args)?;
    let path = args.path();
    let output = Output::at(&path)?;
    output.check_new()?;
    use_threads(0)?;
    bundles::note_unfinished(&args.runs)?;
    let mut bundle = bundles::open(&args.runs, args.join.join_factors, &Device::Cpu)?;
    if args.no_tta {
        bundle = bundle.without_views();
    }
    // The name that is loaded, in Python's quotes, which are those of JSON.
    let file = match &output {
        Output::Stdout => Path::new("FILE"),
        Output::Path(it) => it.as_path(),
    };
    let file = serde_json::to_string(&file.display().to_string())?;
    let names: Vec<String> = args.runs.iter().map(|it| it.display().to_string()).collect();
    let named = |err: ExportError| anyhow!("{}: {err}", names.join(", "));
    match args.format {
        Format::Onnx => {
            let options = OnnxOptions { preprocessing: args.preprocessing };
            let made = export::onnx(&bundle, &options).map_err(named)?;
            output.write_new(&made.bytes)?;
            print_onnx(&made, &bundle, &output, &file);
        }
        Format::SafetensorsTimm => {
            let made = export::timm(&bundle).map_err(named)?;
            output.write_new(&made.bytes)?;
            print_timm(&made, &output, &file);
        }
    }
    Ok(End::Done)
}

/// Checks that the options, and the ending of the file, are those of the format.
fn check(args: &ExportArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.output
        && let Some(other) = Format::of_ending(path)
        && other != args.format
    {
        bail!(
            "--output {}: the ending is that of `--format {}`: give this format, or a file that ends with `.{}`",
            path.display(),
            other.name(),
            args.format.ending()
        );
    }
    let options = [("--preprocessing", args.preprocessing), ("--no-tta", args.no_tta)];
    let given = options.iter().find(|it| it.1);
    match (args.format, given) {
        (Format::SafetensorsTimm, Some((name, _))) => bail!(
            "{name}: is for `--format onnx`: a file of weights has neither a graph nor preprocessing"
        ),
        _ => Ok(()),
    }
}

fn print_onnx(made: &Onnx, bundle: &Bundle, output: &Output, file: &str) {
    let n = bundle.members.len();
    let networks = if n == 1 { "1 network".to_owned() } else { format!("{n} networks") };
    say!("{output}: {}, ONNX opset {}, {networks}", size(made.bytes.len()), made.opset);
    let row = |what: &str, it: &Port| {
        let dims = format!("{} [{}]", it.dtype, it.shape.join(", "));
        [what.to_owned(), it.name.clone(), dims]
    };
    let inputs = made.inputs.iter().map(|it| row("input", it));
    let rows: Vec<_> = inputs.chain(made.outputs.iter().map(|it| row("output", it))).collect();
    for row in in_columns(WIDTH - 2, &rows, &[false; 3]) {
        row.lines().for_each(|line| say!("  {line}"));
    }
    made.inputs.iter().for_each(|it| say!("{} are {}", it.name, it.doc));
    if bundle.conformal.is_some() {
        status!("note: the prediction sets of the bundle are not in the graph");
    }
    let input = made.inputs.first().map_or("", |it| it.name.as_str());
    // The probabilities and the predicted class, which every graph has.
    let first: Vec<&str> = made.outputs.iter().take(2).map(|it| it.name.as_str()).collect();
    let first = first.join(", ");
    say!("run it in Python, after `pip install onnxruntime`:");
    say!("  session = onnxruntime.InferenceSession({file})");
    say!("  {first}, *_ = session.run(None, {{\"{input}\": {input}}})");
}

fn print_timm(made: &TimmWeights, output: &Output, file: &str) {
    let TimmWeights { architecture, n_classes, n_tensors, bytes } = made;
    say!(
        "{output}: {}, {n_tensors} tensors of timm's `{architecture}`, {n_classes} classes",
        size(bytes.len())
    );
    say!("load it in Python, after `pip install timm`:");
    say!("  model = timm.create_model(\"{architecture}\", num_classes={n_classes},");
    say!("                            checkpoint_path={file}).eval()");
}

/// Formats the size of a file.
fn size(n_bytes: usize) -> String {
    format!("{:.1} MiB", n_bytes as f64 / f64::from(1 << 20))
}
