"""Reads what the trackers of a run have logged, each with its own library, and compares it with metrics.csv.

    python3 trackers.py server PORT FOLDER       an MLflow server, until it is killed
    python3 trackers.py read RUN                 compare all values of the run's trackers with metrics.csv

Needs tensorboard, mlflow and wandb: up to 0.19 its log is read in Python; later versions read it only
in Go, so `wandb sync` sends it to a mock server. TensorBoard has single precision, the others have double;
all values must be equal to the last bit.
"""

import csv
import gzip
import http.server
import json
import os
import struct
import sys
from pathlib import Path

TAGS = ["a tag", "another"]
os.environ["WANDB_SILENT"] = "true"


def table(run):
    """{name: {step: number}} of metrics.csv"""
    numbers = {}
    with open(run / "metrics.csv") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, text in row.items():
                if text:
                    numbers.setdefault(name, {})[step] = float(text)
    return numbers


def jsonl(run):
    numbers = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step = row.pop("step")
        for name, it in row.items():
            numbers.setdefault(name, {})[step] = it
    return numbers, ""


def tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    numbers = {}
    for tag in tags["scalars"]:
        found = events.Scalars(tag)
        numbers[tag] = {it.step: it.value for it in found}
        assert len(found) == len(numbers[tag]), f"{tag} has steps twice"
    images = [it for tag in tags["images"] for it in events.Images(tag)]
    for it in images:
        assert it.encoded_image_string[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", it.encoded_image_string[16:24]) == (it.width, it.height)
    histograms = [it for tag in tags["histograms"] for it in events.Histograms(tag)]
    for it in histograms:
        value = it.histogram_value
        assert sum(value.bucket) == value.num and len(value.bucket) == len(value.bucket_limit)
        assert value.bucket_limit[0] <= value.min <= value.max <= value.bucket_limit[-1]
    assert images and histograms
    return numbers, f"{len(images)} images and {len(histograms)} histograms"


def wandb(run):
    """With the package's own reader in Python, which it had up to 0.19."""
    import wandb

    wandb._assert_is_internal_process = True
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    (log,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    store = DataStore()
    store.open_for_scan(str(log))
    rows, kinds, summary = [], [], {}
    while (data := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(data)
        kinds.append(record.WhichOneof("record_type"))
        assert record.num == len(kinds)
        if kinds[-1] == "run":
            assert f"run-{record.run.run_id}.wandb" == log.name
            settings = {it.key: json.loads(it.value_json) for it in record.run.config.update}
            assert settings["train"]["total"] and list(record.run.tags) == TAGS
            assert record.run.display_name == run.name, record.run.display_name
        if kinds[-1] == "history":
            rows.append({it.nested_key[0]: json.loads(it.value_json) for it in record.history.item})
            assert rows[-1]["_step"] == record.history.step.num
        for it in record.summary.update:
            summary[it.nested_key[0]] = json.loads(it.value_json)
    assert kinds[:2] == ["header", "run"] and kinds[-1] == "exit", kinds
    return of_rows(rows, summary, log.parent / "files")


def wandb_sync(run):
    """With `wandb sync` of version 0.20 or later, to a mock server that records the requests."""
    import subprocess
    import tempfile
    import threading

    server = Listener(("127.0.0.1", 0), Cloud)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    (log,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    env = os.environ | {"WANDB_BASE_URL": uri, "WANDB_API_KEY": 40 * "a", "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-m", "wandb", "sync", "--no-skip-synced", log.parent.absolute()]
    # It writes a log of its own in the current folder.
    with tempfile.TemporaryDirectory() as here:
        subprocess.run(command, env=env, cwd=here, check=True, timeout=120)
    server.shutdown()
    run_id = log.stem.removeprefix("run-")
    variables = next(it for it in server.queries if "tags" in it)
    assert (variables["name"], variables["displayName"], variables["tags"]) == (run_id, run.name, TAGS), variables
    assert json.loads(variables["config"])["train"]["value"]["total"], variables
    rows = [json.loads(it) for it in server.lines.get("wandb-history.jsonl", [])]
    summary = json.loads(server.files["wandb-summary.json"])
    for name, it in server.files.items():
        if name.startswith("media/"):
            assert it == (log.parent / "files" / name).read_bytes()
    return of_rows(rows, summary, log.parent / "files")


class Listener(http.server.ThreadingHTTPServer):
    """Records the requests: variables of queries, lines of streams, and files."""

    def __init__(self, *args):
        super().__init__(*args)
        self.queries, self.lines, self.files = [], {}, {}

    def handle_error(self, *_):
        """The client may disconnect in the middle of a request."""


class Cloud(http.server.BaseHTTPRequestHandler):
    """Responds to the requests of `wandb sync`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def respond(self, it):
        body = json.dumps(it).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.respond({})

    def do_PUT(self):
        self.server.files[self.path.removeprefix("/upload/")] = self.body()
        self.respond({})

    def do_POST(self):
        body = self.body()
        if self.path.endswith("/file_stream"):
            for name, it in json.loads(body).get("files", {}).items():
                lines = self.server.lines.setdefault(name, [])
                lines[it["offset"] :] = it["content"]
        if not self.path.endswith("/graphql"):
            return self.respond({})
        variables = json.loads(body).get("variables") or {}
        self.server.queries.append(variables)
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "r", "name": variables.get("name"), "displayName": variables.get("displayName")}
        bucket |= {"config": "{}", "project": project, "historyLineCount": 0}
        uri = f"http://127.0.0.1:{self.server.server_port}/upload/"
        files = [{"name": it, "uploadUrl": uri + it} for it in variables.get("files") or []]
        self.respond({"data": {
            "viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}},
            "serverInfo": {"cliVersionInfo": {"max_cli_version": "9.0.0"}, "features": []},
            "upsertBucket": {"bucket": bucket, "inserted": True},
            "createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files},
            "model": {"bucket": None},
        }})


def of_rows(rows, summary, files):
    """The values of wandb's rows, one row per step; checks that the summary has the last ones."""
    numbers, n_images, n_histograms = {}, 0, 0
    steps = [it["_step"] for it in rows]
    assert steps == sorted(set(steps)), steps
    for row in rows:
        for name, value in row.items():
            if name.startswith("_"):
                continue
            if not isinstance(value, dict):
                numbers.setdefault(name, {})[row["_step"]] = value
            elif value["_type"] == "image-file":
                assert (files / value["path"]).stat().st_size == value["size"]
                n_images += 1
            else:
                assert len(value["bins"]) == len(value["values"]) + 1
                n_histograms += 1
    last = {name: it[max(it)] for name, it in numbers.items()}
    assert {name: summary[name] for name in last} == last
    return numbers, f"{n_images} images and {n_histograms} histograms"


def wandbs():
    """The readers that the installed version of the package supports."""
    from importlib.metadata import version

    return [wandb] if tuple(map(int, version("wandb").split(".")[:2])) < (0, 20) else [wandb_sync]


def mlflow(run):
    import tomllib

    from mlflow.tracking import MlflowClient

    known = tomllib.loads((run / "mlflow.toml").read_text())
    client = MlflowClient(known["uri"])
    found = client.get_run(known["run_id"])
    assert found.info.status == "FINISHED", found.info.status
    assert found.data.params["train.batch_size"] and found.info.run_name == run.name
    numbers = {}
    for name in found.data.metrics:
        history = client.get_metric_history(known["run_id"], name)
        numbers[name] = {it.step: it.value for it in history}
        assert len(history) == len(numbers[name]), f"{name} has steps twice"
    return numbers, f"{len(found.data.params)} parameters"


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def read(run):
    want = table(run)
    n = sum(len(it) for it in want.values())
    print(f"metrics.csv: {n} numbers under {len(want)} names")
    is_good = True
    for reader, rounded in [(jsonl, float), (tensorboard, single), *((it, float) for it in wandbs()), (mlflow, float)]:
        numbers, further = reader(run)
        differ = [
            (name, step)
            for name in want.keys() | numbers.keys()
            for step in want.get(name, {}).keys() | numbers.get(name, {}).keys()
            if numbers.get(name, {}).get(step) != rounded(want.get(name, {}).get(step, float("nan")))
        ]
        is_good &= not differ
        print(f"{reader.__name__}: {n - len(differ)} of {n} are equal" + (f"; {further}" if further else ""))
        for name, step in sorted(differ)[:5]:
            print(f"  {name} of step {step}: {numbers.get(name, {}).get(step)}, not {want.get(name, {}).get(step)}")
    return is_good


def server(port, folder):
    folder = Path(folder).absolute()
    os.execv(
        sys.executable,
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        + ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", str(folder)],
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", port, folder]:
            server(port, folder)
        case ["read", run]:
            sys.exit(0 if read(Path(run)) else 1)
        case _:
            sys.exit(__doc__)
