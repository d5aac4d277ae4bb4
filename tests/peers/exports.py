"""Compares exported models with ONNX Runtime and timm: every published network, every head, an ensemble.

    python3 exports.py PROGRAM FOLDER CARGO_TEST...

PROGRAM is `maskfit`, FOLDER an empty one, and CARGO_TEST the command of the test that writes a case: images and our
outputs for them. `cargo xtask exports` calls this. Needs numpy, onnxruntime, onnx, pillow, safetensors, torch and timm.

Prints for each model the largest difference of its logits as a share of the largest logit, by runtime, the size of
the file, and the seconds that the export took; then, for three networks with their preprocessing in one graph, the
largest difference of a probability. Fails if a difference is above the limit.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file

# As a share of the largest logit.
LIMIT = 1e-4
# Of a probability, where the pixels may differ by a level here and there.
LIMIT_OF_PIXELS = 0.01
N_IMAGES = 50

program, folder, command = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
problems = []


def write(case):
    """Has the test write a case; without a name the list of them."""
    env = {**os.environ, "MASKFIT_EXPORT_DIR": str(folder.resolve()), "MASKFIT_EXPORT_CASE": case}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{case}: the test failed\n{done.stdout}\n{done.stderr}")


def maskfit(*words):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"maskfit {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs(of, images):
    names = [it.name for it in of.get_outputs()]
    return dict(zip(names, of.run(names, {"images": images})))


def check(what, difference, limit):
    # NaN is not within the limit.
    if not difference <= limit:
        problems.append(f"{what}: {difference:.2e}, more than {limit:g}")
    return f"{difference:.1e}"


def of_timm(path, name, images, classifier_size):
    """The logits of timm's network with our weights, loaded in both ways."""
    model = timm.create_model(name, num_classes=classifier_size, checkpoint_path=str(path)).eval()
    tensors = {name: torch.from_numpy(it) for name, it in load_file(path).items()}
    missing = model.load_state_dict(tensors, strict=False)
    missing = [it for it in missing.missing_keys if "num_batches_tracked" not in it]
    assert not missing, missing
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


def compare(case):
    write(case)
    path = folder / "model.onnx"
    of_case = load_file(folder / "case.safetensors")
    images, seconds = of_case.pop("images"), of_case.pop("seconds")[0]
    tract = of_case.pop("tract")[0]
    logits = {name: it for name, it in of_case.items() if name.startswith("logits")}
    largest = max(np.abs(it).max() for it in logits.values())
    of_runtime = session(path)

    def off(n):
        got = outputs(of_runtime, images[:n])
        for name, want in of_case.items():
            scale = max(largest, 1.0) if name == "probabilities" else largest
            yield np.abs(got[name] - want[:n]).max() / scale

    # A batch of two and one of one.
    runtime = np.max([np.max(list(off(n))) for n in (2, 1)])
    cells = [check(f"{case}, ONNX Runtime", runtime, LIMIT), check(f"{case}, tract", tract, LIMIT)]
    weights = folder / "model.safetensors"
    if weights.exists():
        want = of_case["logits"]
        got = of_timm(weights, case, images, want.shape[1])
        cells.append(check(f"{case}, timm", np.abs(got - want).max() / largest, LIMIT))
    row(case, *cells, *["-"] * (3 - len(cells)), f"{path.stat().st_size / 2**20:.1f}", f"{seconds:.1f}")


def row(*cells):
    print(f"{cells[0]:<26}" + "".join(f"{it:>14}" for it in cells[1:]), flush=True)


def photographs():
    """Compares the probabilities of images of several sizes, decoded, with those that `maskfit predict` writes."""
    jpegs, pngs, path = folder / "jpegs", folder / "pngs", folder / "ensemble.onnx"
    jpegs.mkdir(exist_ok=True)
    for size in ("96x128", "150x110"):
        maskfit("data", "synthetic-people", jpegs / size, "--people", "5", "--size", size, "--test", "0")
    for jpeg in sorted(jpegs.rglob("*.jpg")):
        png = pngs / jpeg.relative_to(jpegs).with_suffix(".png")
        png.parent.mkdir(parents=True, exist_ok=True)
        Image.open(jpeg).save(png)
    path.unlink(missing_ok=True)
    maskfit("export", folder / "ensemble", "--preprocessing", "-o", path)
    of_runtime = session(path)
    print("\nthree networks with their preprocessing in one graph: the largest difference of a probability")
    worst, n = of_images(of_runtime, pngs)
    print(f"  {n} PNG files: {check('preprocessing in the graph', worst, LIMIT_OF_PIXELS)}")
    worst, n = of_images(of_runtime, jpegs)
    print(f"  {n} JPEG files, some of which `predict` decodes at half their size: {worst:.1e}")
    try:
        outputs(of_runtime, np.zeros((1, 20, 20, 3), np.uint8))
        problems.append("an image that is smaller than the crop is predicted")
    except Exception as err:
        print(f"  an image that is smaller than the crop is refused: {str(err).splitlines()[0][:80]}")


def of_images(of_runtime, images):
    """The largest difference for the images of a folder, and their number."""
    table = folder / "probabilities.csv"
    maskfit("predict", folder / "ensemble", "--images", images, "-o", table)
    with open(table) as file:
        rows = list(csv.reader(file))[1:]
    rows = rows[:: max(1, len(rows) // N_IMAGES)][:N_IMAGES]
    n_classes, worst = of_runtime.get_outputs()[0].shape[1], 0.0
    for row in rows:
        pixels = np.asarray(Image.open(images / row[0]).convert("RGB"))[None]
        got = outputs(of_runtime, pixels)["probabilities"][0]
        # The last columns are the probabilities.
        want = np.array(row[-n_classes:], dtype=float)
        worst = max(worst, np.abs(got - want).max())
    return worst, len(rows)


folder.mkdir(parents=True, exist_ok=True)
write("")
versions = f"ONNX Runtime {onnxruntime.__version__}, timm {timm.__version__}"
print(f"largest difference as a share of the largest logit; {versions}\n")
row("model", "ONNX Runtime", "tract", "timm", "MiB", "seconds")
for case in (folder / "names.txt").read_text().splitlines():
    compare(case)
photographs()
if problems:
    sys.exit("\n".join(["", *problems]))
