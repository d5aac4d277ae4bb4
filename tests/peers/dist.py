"""Tries what `cargo xtask dist` makes, as people without Rust use it.

    python3 dist.py FOLDER [--quick-start] [--root ROOT]

FOLDER has the archive, the wheel and their SHA-256. In a temporary folder: the sums are verified, the archive is
unpacked and the wheel installed in a new virtual environment; both programs train on a few synthetic people, with the
same bytes; the archive's does so again where there is nothing but the program and glibc; the module predicts files and
arrays, with the bits of `maskfit predict`, also from several threads; its errors are Python's.

With `--quick-start` both train the quick start, and its score is printed. With `--root` the archive's program also runs
in the folder of another Linux, such as `debootstrap --variant=minbase bullseye ROOT` makes: with its glibc and its
files. Roots need the right to `chroot`: that of root, or of user namespaces. Needs a network for NumPy, Pillow and mypy.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

# Trains in seconds, and saves a bundle, which `--fast` does not.
SMALL = ["data.source.n_people=24", "data.source.n_test=6", "train.total=1 epochs"]
# What the program may load: the parts of glibc, and the kernel's.
GLIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2"}
KERNEL = "linux-vdso.so.1"


def run(*words, **more):
    done = subprocess.run([str(it) for it in words], capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def check(holds, problem):
    if not holds:
        sys.exit(problem)


def verified(folder):
    """Returns the archive and the wheel, whose sums are right."""
    files = []
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        total, name = line.split("  ")
        check(hashlib.sha256((folder / name).read_bytes()).hexdigest() == total, f"{name}: another SHA-256")
        files.append(folder / name)
    archives = [it for it in files if it.name.endswith(".tar.gz")]
    wheels = [it for it in files if it.suffix == ".whl"]
    check((len(archives), len(wheels)) == (1, 1), f"SHA256SUMS: expected an archive and a wheel, not {files}")
    return archives[0], wheels[0]


def trained(program, dir, settings, before=(), within=None):
    """Trains, and returns the weights of the bundle and what is printed.

    before: words before the program. within: the folder as the program names it.
    """
    dir.mkdir()
    sets = [f"run.dir={within or dir}/runs", *settings]
    words = [*before, program, "train", *(word for it in sets for word in ("--set", it))]
    # Nothing of this machine's cargo or Python is on the path.
    text = run(*words, cwd=dir, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(within or dir)})
    weights = list(dir.glob("runs/*/best/*.safetensors"))
    check(len(weights) == 1, f"{dir}: expected the weights of one bundle, not {weights}\n{text}")
    return weights[0], text


def libraries(program):
    """Returns the shared libraries of a program: names and files."""
    found = {}
    for line in run("ldd", program).splitlines():
        words = line.split()
        if words[0] != KERNEL:
            check("not" not in words, f"{program}: {line.strip()}")
            file = words[2] if "=>" in words else words[0]
            found[Path(words[0]).name] = Path(file)
    return found


def bare_root(program, dir):
    """Makes a folder with the libraries of a program, and nothing else."""
    for file in libraries(program).values():
        to = dir / file.relative_to("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    return dir


def trained_in(root, program):
    """Trains in another root, and returns the bytes of the weights."""
    with tempfile.TemporaryDirectory(dir=root) as temporary:
        place = Path(temporary)
        within = Path("/") / place.name
        shutil.copy(program, place / "maskfit")
        before = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        before += ["chroot", root]
        weights, _ = trained(within / "maskfit", place / "work", SMALL, before, within / "work")
        return weights.read_bytes()


# What the module is tried with: in the environment that the wheel is installed in.
MODULE = '''
import json, os, pathlib, pickle, signal, sys, threading, time
import numpy as np
from PIL import Image
import maskfit

# What `maskfit predict --json` prints has all digits of f64; its table has nine.
best, images, events = sys.argv[1:]
with open(events) as file:
    events = [json.loads(it) for it in file]
rows = [it for it in events if it["event"] == "prediction"]
# A path without a model opens nothing: a fork may.
for wrong in ("no/model", images):
    try:
        maskfit.open(wrong)
    except FileNotFoundError:
        pass
child = os.fork()
if child == 0:
    os._exit(0 if len(maskfit.open(best).classes) > 1 else 1)
assert os.waitpid(child, 0)[1] == 0, "a fork may open a model where its parent has none"
model = maskfit.open(best)
names = [row["image"] for row in rows]
paths = [f"{images}/{it}" for it in names]
want = np.array([[row["probabilities"][it] for it in model.classes] for row in rows])
got = model.predict(paths)
assert got.probabilities.dtype == np.float64 and got.predicted.dtype == np.int64
assert np.array_equal(got.probabilities, want), np.abs(got.probabilities - want).max()
assert [model.classes[it] for it in got.predicted] == [row["class"] for row in rows]
assert got.predicted.tolist() == [row["predicted"] for row in rows]
assert np.allclose(want.sum(axis=1), 1) and len({it.tobytes() for it in want}) > 1
of_run = maskfit.open(pathlib.Path(best).parent)
assert np.array_equal(of_run.predict(pathlib.Path(paths[0])).probabilities, want[:1])
pixels = [np.asarray(Image.open(it).convert("RGB")) for it in paths]
of_pixels = model.predict(pixels)
print(f"largest difference of a probability, arrays of Pillow against files: {np.abs(of_pixels.probabilities - want).max():.1e}")
assert np.array_equal(model.predict(pixels[0]).probabilities[0], of_pixels.probabilities[0])
assert np.array_equal(model.predict(np.stack(pixels[:2])).probabilities, of_pixels.probabilities[:2])
assert model.predict([]).probabilities.shape == (0, len(model.classes))
# A view that is not contiguous.
mirrored = np.ascontiguousarray(pixels[0][:, ::-1])
assert np.array_equal(model.predict(mirrored[:, ::-1]).probabilities[0], of_pixels.probabilities[0])
mixed = model.predict([paths[0], pixels[0], paths[1]]).probabilities
assert np.array_equal(mixed, np.stack([want[0], of_pixels.probabilities[0], want[1]]))
of_pillow = Image.open(paths[0])
of_pillow.load()
assert np.array_equal(model.predict(of_pillow).probabilities[0], of_pixels.probabilities[0])
assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(paths[0]).probabilities, want[:1])
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
fails(TypeError, lambda: model.predict(np.zeros((5, 4), np.uint8)), "[5, 4]")
fails(TypeError, lambda: model.predict(np.zeros((2, 5, 4, 3, 1), np.uint8)), "[2, 5, 4, 3, 1]")
for other in (None, 3, b"one.jpg", {paths[0]}):
    fails(TypeError, lambda: model.predict(other), type(other).__name__)
fails(ValueError, lambda: model.predict(images), "is a folder")
fails(ValueError, lambda: model.predict(["no.jpg", paths[0], __file__]), "no.jpg", __file__)
fails(ValueError, lambda: model.predict([f"no{it}.jpg" for it in range(200)]), "no0.jpg", "no19.jpg", "and 180 more")
try:
    model.predict([f"no{it}.jpg" for it in range(200)])
except ValueError as err:
    assert len(str(err).splitlines()) == 21, err
fails(AttributeError, lambda: setattr(model, "classes", []))
# Ctrl-C ends it long before the last image.
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
begun = time.monotonic()
fails(KeyboardInterrupt, lambda: model.predict(paths * 5000))
assert time.monotonic() - begun < 10
child = os.fork()
if child == 0:
    try:
        fails(RuntimeError, lambda: model.predict(paths[0]), "fork")
        fails(RuntimeError, lambda: maskfit.open(best), "fork")
    except BaseException as err:
        print(err, flush=True)
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "a forked process may not predict"
print(f"{maskfit.__version__}: {len(paths)} images, the bits of `maskfit predict`")
'''

TYPED = """import maskfit
model = maskfit.open("run")
n: int = model.predict("one.jpg").predicted.shape[0]
names: list[str] = model.classes
"""


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick-start", action="store_true")
    parser.add_argument("--root", type=Path)
    args = parser.parse_args()
    archive, wheel = verified(args.folder.resolve())
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        with tarfile.open(archive) as tar:
            tar.extractall(here, filter="data")
        (unpacked,) = here.glob("maskfit-*")
        for name in [
            "LICENSE-MIT", "LICENSES-OF-LIBRARIES.txt", "README.md", "man/man1/maskfit-train.1", "completions/_maskfit"
        ]:
            check((unpacked / name).is_file() and (unpacked / name).stat().st_size > 0, f"{archive.name}: no {name}")
        venv.create(here / "venv", with_pip=True)
        python = here / "venv/bin/python"
        run(python, "-m", "pip", "install", "--quiet", wheel, "pillow", "mypy")
        listed = run(python, "-m", "pip", "show", "--files", "maskfit")
        for name in ["licenses/.*LICENSE-MIT", "licenses/.*LICENSES-OF-LIBRARIES.txt", "maskfit/py.typed", "bin/maskfit"]:
            check(re.search(name, listed), f"{wheel.name}: no {name}\n{listed}")
        with zipfile.ZipFile(wheel) as files:
            (licences,) = [it for it in files.namelist() if it.endswith("LICENSES-OF-LIBRARIES.txt")]
            check("\npyo3 v" in files.read(licences).decode(), f"{wheel.name}: {licences} lacks the module's libraries")
        programs = {"archive": unpacked / "maskfit", "wheel": here / "venv/bin/maskfit"}
        versions = {name: run(it, "--version").strip() for name, it in programs.items()}
        print(versions)
        check(len(set(versions.values())) == 1, "the versions differ")
        for name, it in programs.items():
            others = libraries(it).keys() - GLIBC
            check(not others, f"{name}: needs more than glibc: {others}")

        ended = {name: trained(it, here / name, SMALL) for name, it in programs.items()}
        want = ended["archive"][0].read_bytes()
        check(ended["wheel"][0].read_bytes() == want, "the weights of archive and wheel differ")
        bare = bare_root(programs["archive"], here / "root")
        check(trained_in(bare, programs["archive"]) == want, "the weights differ where only glibc is")
        print("trains where there is nothing but the program and glibc: same bytes")
        if args.root:
            is_same = trained_in(args.root.resolve(), programs["archive"]) == want
            print(f"trains in {args.root}: {'same' if is_same else 'other'} bytes")
        if args.quick_start:
            whole = {name: trained(it, here / f"{name}-quick", []) for name, it in programs.items()}
            bytes_of = {weights.read_bytes() for weights, _ in whole.values()}
            check(len(bytes_of) == 1, "the weights of the quick start differ")
            print("\n".join(it for it in whole["archive"][1].splitlines() if "macro F1" in it))

        program, people = programs["wheel"], here / "people"
        run(program, "data", "synthetic-people", people, "--people", "12", "--test", "6")
        images, best = people / "eval/images", ended["wheel"][0].parent
        (here / "events").write_text(run(program, "predict", best, "--images", images, "--json"))
        (here / "module.py").write_text(MODULE)
        print(run(python, here / "module.py", best, images, here / "events", cwd=here), end="")
        (here / "typed.py").write_text(TYPED)
        print(run(python, "-m", "mypy", "--strict", here / "typed.py", cwd=here), end="")
        print(run(python, "-m", "mypy.stubtest", "maskfit", cwd=here), end="")
        wrong = TYPED.replace("list[str]", "list[int]")
        (here / "typed.py").write_text(wrong)
        failed = subprocess.run([python, "-m", "mypy", "--strict", here / "typed.py"], cwd=here, capture_output=True)
        check(failed.returncode == 1, "mypy finds no types in the module")
    print("all right")


if __name__ == "__main__":
    main()
