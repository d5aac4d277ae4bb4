"""Writes the small weight files that crates/models/src/pickle/tests.rs reads: python3 weights.py

Both formats of `.pth`, tensors that share storage, are transposed or have other dtypes, and state dicts as training
scripts wrap them.
"""

from collections import OrderedDict
from pathlib import Path

import torch

out = Path(__file__).parent / "weights"
base = torch.arange(12, dtype=torch.float32)
state = OrderedDict(
    plain=torch.tensor([1.5, -2.0]),
    matrix=base.reshape(3, 4),
    transposed=base.reshape(3, 4).t(),
    part=base[4:6],
    scalar=torch.tensor(7.0),
    empty=torch.zeros(0, 3),
    half=torch.tensor([0.5, 1.0], dtype=torch.float16),
    brain=torch.tensor([0.5, 1.0], dtype=torch.bfloat16),
    double=torch.tensor([0.25], dtype=torch.float64),
    num_batches_tracked=torch.tensor(3),
    parameter=torch.nn.Parameter(torch.tensor([9.0])),
    flag=torch.tensor([True, False]),
)
torch.save(state, out / "zip.pth")
torch.save(state, out / "old.pth", _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "lr": 0.1, "state_dict": state}, out / "wrapped.pth")
torch.save([1, 2, 3], out / "no_tensors.pth")
