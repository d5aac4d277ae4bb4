#!/usr/bin/env python3
"""Writes tracking.json: records written by the libraries of TensorBoard and wandb.

    pip install torch tensorboard 'wandb==0.19.11'   # the last version that writes its log in Python
    python3 tests/golden/tracking.py
"""
import json, os, tempfile
from pathlib import Path

import numpy as np
import wandb
from google.protobuf import __version__ as protobuf
from tensorboard import __version__ as tensorboard
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.record_writer import RecordWriter

wandb._assert_is_internal_process = True
from wandb.proto import wandb_internal_pb2 as pb  # noqa: E402
from wandb.sdk.internal.datastore import DataStore  # noqa: E402


def tfrecord(event):
    path = Path(tempfile.mkdtemp()) / "events"
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        writer.write(event.SerializeToString())
        writer.flush()
    return path.read_bytes().hex()


def histogram(values):
    counts, edges = np.histogram(values, bins=64)
    return HistogramProto(
        min=values.min(), max=values.max(), num=len(values), sum=values.sum(),
        sum_squares=values.dot(values), bucket_limit=edges.tolist(), bucket=[0.0, *counts.tolist()],
    )


def value(**fields):
    return Event(wall_time=1.5, step=300, summary=Summary(value=[Summary.Value(**fields)]))


def log(records):
    path = os.path.join(tempfile.mkdtemp(), "run.wandb")
    store = DataStore()
    store.open_for_write(path)
    for it in records:
        store._write_data(it)
    store.close()
    return Path(path).read_bytes()


numbers = np.array([-2.0, -0.5, 0.25, 0.25, 1.0, 6.0])
record = pb.Record(num=7)
record.history.step.num = 300
item = record.history.item.add()
item.nested_key.append("val_mask_acc")
item.value_json = "0.5"
# A block has 32768 bytes: the first record ends 3 bytes before the end of the first block, the second fills two.
long = [b"a" * (32_768 - 7 - 7 - 3), b"b" * 70_000, b"c"]

golden = {
    "from": {"tensorboard": tensorboard, "wandb": wandb.__version__, "protobuf": protobuf},
    "version": tfrecord(Event(wall_time=1.5, file_version="brain.Event:2")),
    "session": tfrecord(Event(wall_time=1.5, step=300, session_log=SessionLog(status=SessionLog.START))),
    "scalar": tfrecord(value(tag="val_mask/acc", simple_value=0.1)),
    "histogram": tfrecord(value(tag="weights", histo=histogram(numbers))),
    "history": record.SerializeToString().hex(),
    "log": log([b"one", record.SerializeToString()]).hex(),
    "long_log_crc": __import__("zlib").crc32(log(long)),
}
Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")
