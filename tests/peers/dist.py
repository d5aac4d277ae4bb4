"""Tries what `cargo xtask dist` makes, as people without Rust use it: `python3 dist.py FOLDER [--quick-start]`

FOLDER has the archive, the wheel and their SHA-256. In a temporary folder: the sums are verified, the archive is
unpacked and the wheel installed in a new virtual environment; both programs train on synthetic people, with the same
bytes; the module predicts files and arrays, with the bits of `maskfit predict`, also from several threads; its errors
are Python's. With `--quick-start` both train the quick start, and its score is printed. Needs a network for NumPy and
Pillow.
"""

import csv
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

folder = Path(sys.argv[1]).resolve()
is_whole = "--quick-start" in sys.argv[2:]


def run(*words, **more):
    done = subprocess.run([str(it) for it in words], capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def verified():
    files = []
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        total, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == total, name
        files.append(folder / name)
    return files


def trained(program, dir):
    """Trains in an empty folder, and returns the weights of the bundle and what is printed."""
    dir.mkdir()
    words = ["train"] if is_whole else ["train", "--fast"]
    # Nothing of this machine's cargo or Python is on the path.
    text = run(program, *words, cwd=dir, env={"PATH": "/usr/bin:/bin", "HOME": str(dir)})
    (weights,) = dir.glob("runs/*/best/*.safetensors")
    return weights, text


# What the module is tried with: in the environment that the wheel is installed in.
MODULE = '''
import csv, sys, threading
import numpy as np
from PIL import Image
import maskfit

run, images, table = sys.argv[1:]
with open(table, newline="") as file:
    rows = list(csv.reader(file))
header, rows = rows[0], rows[1:]
model = maskfit.open(run)
names = [row[0] for row in rows]
paths = [f"{images}/{it}" for it in names]
of_class = [header.index(it) for it in model.classes]
want = np.array([[float(row[it]) for it in of_class] for row in rows])
got = model.predict(paths)
assert got.probabilities.dtype == np.float64 and got.predicted.dtype == np.int64
assert np.array_equal(got.probabilities, want), np.abs(got.probabilities - want).max()
assert [model.classes[it] for it in got.predicted] == [row[header.index("class")] for row in rows]
pixels = [np.asarray(Image.open(it).convert("RGB")) for it in paths]
of_pixels = model.predict(pixels)
print(f"largest difference of a probability, arrays of Pillow against files: {np.abs(of_pixels.probabilities - want).max():.1e}")
assert np.array_equal(model.predict(pixels[0]).probabilities[0], of_pixels.probabilities[0])
assert np.array_equal(model.predict(np.stack(pixels[:2])).probabilities, of_pixels.probabilities[:2])
assert model.predict([]).probabilities.shape == (0, len(model.classes))
assert np.array_equal(model.predict(pixels[0][:, ::-1][:, ::-1]).probabilities[0], of_pixels.probabilities[0])
assert model.factors and all(model.factors.values())
threads = [threading.Thread(target=lambda: results.append(model.predict(paths).probabilities)) for _ in range(3)]
results = []
for it in threads: it.start()
for it in threads: it.join()
assert len(results) == 3 and all(np.array_equal(it, want) for it in results)

def fails(kind, call, *words):
    try:
        call()
    except kind as err:
        assert all(it in str(err) for it in words), err
    else:
        raise AssertionError(f"no {kind.__name__}")

fails(FileNotFoundError, lambda: maskfit.open("no/model"), "no/model")
fails(TypeError, lambda: model.predict(np.zeros((4, 4, 3))), "float64")
fails(TypeError, lambda: model.predict(np.zeros((0, 4, 3), np.uint8)))
fails(ValueError, lambda: model.predict(["no.jpg", paths[0], __file__]), "no.jpg", __file__)
fails(AttributeError, lambda: setattr(model, "classes", []))
print(f"{maskfit.__version__}: {len(paths)} images, the bits of `maskfit predict`")
'''

with tempfile.TemporaryDirectory() as temporary:
    here = Path(temporary)
    files = verified()
    (archive,) = [it for it in files if it.name.endswith(".tar.gz")]
    (wheel,) = [it for it in files if it.suffix == ".whl"]
    with tarfile.open(archive) as tar:
        tar.extractall(here, filter="data")
    (unpacked,) = here.glob("maskfit-*")
    venv.create(here / "venv", with_pip=True)
    python = here / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", wheel, "pillow", "mypy")
    programs = {"archive": unpacked / "maskfit", "wheel": here / "venv/bin/maskfit"}
    print({name: run(it, "--version").strip() for name, it in programs.items()})
    ended = {name: trained(it, here / name) for name, it in programs.items()}
    bytes_of = {name: weights.read_bytes() for name, (weights, _) in ended.items()}
    assert bytes_of["archive"] == bytes_of["wheel"], "the weights differ"
    if is_whole:
        print("\n".join(it for it in ended["archive"][1].splitlines() if "macro F1" in it))
    program = programs["wheel"]
    people = here / "people"
    run(program, "data", "synthetic-people", people, "--people", "12", "--test", "6")
    (images,) = [it for it in people.glob("test/images") if it.is_dir()] or [people]
    best = ended["wheel"][0].parent
    run(program, "predict", best, "--images", images, "-o", here / "table.csv")
    (here / "module.py").write_text(MODULE)
    print(run(python, here / "module.py", best, images, here / "table.csv"), end="")
    (here / "typed.py").write_text(
        "import maskfit\nmodel = maskfit.open('run')\nn: int = model.predict('one.jpg').predicted.shape[0]\n"
    )
    print(run(python, "-m", "mypy", "--strict", here / "typed.py", cwd=here), end="")
    for name in ["LICENSE-MIT", "LICENSES-OF-LIBRARIES.txt", "man/man1/maskfit-train.1", "completions/_maskfit"]:
        assert (unpacked / name).stat().st_size > 0, name
print("all right")
