"""Compares the program's speed with ONNX Runtime and PyTorch on the CPU, and prints a table beside the goals.

    python3 speed.py MASKFIT [--rounds 5] [--steps 5] [--only one,threads,batch,train,open,busy]

MASKFIT is the program (`target/release/maskfit`). Needs: pip install torch timm onnx onnxruntime. Networks are timm's,
with 18 classes and random weights, through `torch.onnx` at opset 17; they are made in a temporary folder. PyTorch trains
channels-last in f32 (forward, cross-entropy, backward, an Adam step). Everybody uses two threads.

In each round each network is measured by the program and by its rival in turn, each in a process of its own; which is
first changes from round to round. A row is the median of the rounds' ratios, with their range, and the median of each.
Other load on the machine makes all of it wrong. Exits with 1 if a goal is missed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

THREADS = 2
# Network: goal, and size where it is not 224.
ONE = {
    "efficientnet_b0": (1.2, 224),
    "resnet18": (1.0, 224),
    "resnet50": (1.0, 224),
    "tf_efficientnet_lite0": (1.2, 224),
    "convnext_tiny": (0.9, 224),
}
BATCH = {
    "efficientnet_b0": (1.4, 224),
    "resnet18": (1.1, 224),
    "resnet50": (1.0, 224),
    "efficientnet_b3": (1.2, 300),
}
# Network: goal, batch size and size.
TRAIN = {
    "efficientnet_b0": (3.0, 16, 224),
    "efficientnet_b3": (2.6, 8, 300),
    "tf_efficientnet_lite0": (2.8, 32, 128),
    "resnet18": (1.3, 16, 224),
    "resnet50": (1.2, 16, 224),
    "resnext50_32x4d": (1.1, 8, 224),
    "convnext_tiny": (1.2, 8, 224),
    "densenet121": (1.4, 8, 224),
    "vgg16": (1.4, 8, 224),
}
MEMORY = 0.22
THREADS_GOAL = 1.5
BUSY = 0.45


def export(folder, model, size):
    """Writes a network as ONNX, for batches of images of a size."""
    import timm
    import torch

    net = timm.create_model(model, num_classes=18).eval()
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    path = os.path.join(folder, model + ".onnx")
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
    torch.onnx.export(net, torch.randn(1, 3, size, size), path, opset_version=17, dynamo=False, **names)


def onnx(folder, model, batch, size, steps):
    """Times a session's opening, first run and later runs."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    began = time.perf_counter()
    path = os.path.join(folder, model + ".onnx")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    opened = time.perf_counter()
    x = np.random.rand(batch, 3, size, size).astype("f")
    run = lambda: session.run(None, {"x": x})
    begun = time.perf_counter()
    run()
    first = time.perf_counter()
    rate = batch / timed(run, 3, steps)
    return {"infer_img_s": rate, "open_ms": 1e3 * (opened - began), "first_ms": 1e3 * (first - begun)}


def torch_train(model, batch, size, steps):
    """Times training steps."""
    import timm
    import torch

    torch.set_num_threads(THREADS)
    net = timm.create_model(model, num_classes=18).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    x = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    y = torch.randint(0, 18, (batch,))

    def step():
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    rate = batch / timed(step, 2, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"train_img_s": rate, "train_peak_mib": peak}


def timed(run, warm_up, steps):
    """Returns the median of the seconds of a run."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return median(times)


def last_line(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def worker(*arguments):
    """Runs a function of this file in a process of its own."""
    return last_line([sys.executable, __file__, "--worker", json.dumps(arguments)])


class Bench:
    def __init__(self, maskfit, rounds, steps, folder):
        self.maskfit, self.rounds, self.steps, self.folder = maskfit, rounds, steps, folder
        self.missed = []

    def own(self, what, model, batch, size, steps, *more, threads=THREADS):
        """Measures the program."""
        given = {"model": model, "batch-size": batch, "size": size, "steps": steps, "threads": threads}
        options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        return last_line([self.maskfit, "bench", what, *options, *more])

    def in_turn(self, ours, theirs):
        """Returns the pairs of all rounds; who is first changes."""
        pairs = []
        for number in range(self.rounds):
            if number % 2 == 0:
                own = ours()
                pairs.append((own, theirs()))
            else:
                other = theirs()
                pairs.append((ours(), other))
        return pairs

    def row(self, name, pairs, key, goal, at_most=False):
        """Prints the median of the ratios, beside its goal if there is one."""
        ratios = sorted(own[key] / other[key] for own, other in pairs)
        own, other = (median(it[side][key] for it in pairs) for side in (0, 1))
        ratio = median(ratios)
        is_met = goal is None or (ratio <= goal if at_most else ratio >= goal)
        verdict = "" if goal is None else f"goal {goal}{'' if is_met else '  MISSED'}"
        between = f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{name:34} {own:8.1f} {other:8.1f}  {ratio:5.2f}x {between:16} {verdict}".rstrip(), flush=True)
        if not is_met:
            self.missed.append(name)

    def infer(self, batch, table):
        steps = 40 if batch == 1 else self.steps
        for model, (goal, size) in table.items():
            pairs = self.in_turn(
                lambda: self.own("infer", model, batch, size, steps),
                lambda: worker("onnx", self.folder, model, batch, size, steps),
            )
            self.row(f"{model} at {size}, batch {batch}", pairs, "infer_img_s", goal)

    def one(self):
        """images/s at batch 1: the program, ONNX Runtime"""
        self.infer(1, ONE)

    def batch(self):
        """images/s at batch 16: the program, ONNX Runtime"""
        self.infer(16, BATCH)

    def threads(self):
        """images/s at batch 1: two threads, one"""
        for model, (_, size) in ONE.items():
            pairs = self.in_turn(
                lambda: self.own("infer", model, 1, size, 40),
                lambda: self.own("infer", model, 1, size, 40, threads=1),
            )
            self.row(model, pairs, "infer_img_s", THREADS_GOAL)

    def train(self):
        """training, images/s: the program, PyTorch"""
        for model, (goal, batch, size) in TRAIN.items():
            pairs = self.in_turn(
                lambda: self.own("train", model, batch, size, self.steps),
                lambda: worker("torch_train", model, batch, size, self.steps),
            )
            self.row(f"{model} at {size}, batch {batch}", pairs, "train_img_s", goal)
            if model == "efficientnet_b0":
                self.row("  peak memory, MiB", pairs, "train_peak_mib", MEMORY, at_most=True)

    def open(self):
        """milliseconds of B0: the program, ONNX Runtime"""
        pairs = self.in_turn(
            lambda: self.own("infer", "efficientnet_b0", 1, 224, 1),
            lambda: worker("onnx", self.folder, "efficientnet_b0", 1, 224, 1),
        )
        both = [[{"ms": it["open_ms"] + it["first_ms"]} for it in pair] for pair in pairs]
        self.row("opening", pairs, "open_ms", None)
        self.row("opening and the first answer", both, "ms", None)

    def busy(self):
        """images/s of B0: beside one busy process, without"""
        for what, batch, steps in (("infer", 1, 40), ("train", 16, self.steps)):
            key = "infer_img_s" if what == "infer" else "train_img_s"
            pairs = self.in_turn(
                lambda: self.own(what, "efficientnet_b0", batch, 224, steps, "--busy", "1"),
                lambda: self.own(what, "efficientnet_b0", batch, 224, steps),
            )
            self.row(f"{what}, batch {batch}", pairs, key, BUSY)


def main():
    parts = ["one", "threads", "batch", "train", "open", "busy"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maskfit", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--only", default=",".join(parts))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        name, *arguments = json.loads(args.worker)
        print(json.dumps({"onnx": onnx, "torch_train": torch_train}[name](*arguments)))
        return 0
    if not args.maskfit:
        parser.error("name the program")
    chosen = args.only.split(",")
    unknown = [it for it in chosen if it not in parts]
    if unknown:
        parser.error(f"--only: there is no {', '.join(unknown)}: choose among {', '.join(parts)}")
    with tempfile.TemporaryDirectory() as folder:
        wanted = [table for part, table in (("one", ONE), ("batch", BATCH)) if part in chosen]
        sizes = {model: size for table in wanted for model, (_, size) in table.items()}
        if "open" in chosen:
            sizes["efficientnet_b0"] = 224
        for model, size in sizes.items():
            export(folder, model, size)
        bench = Bench(args.maskfit, args.rounds, args.steps, folder)
        for part in chosen:
            measure = getattr(bench, part)
            print(f"\n{measure.__doc__}")
            measure()
    if bench.missed:
        print(f"\nmissed: {'; '.join(bench.missed)}")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
