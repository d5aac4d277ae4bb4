"""Golden logits of EfficientNet-Lite0 on its published weights: python3 lite0.py efficientnet-lite0-57934424.pth

The weights are not part of this repository; the images are computed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from shared_numbers import numbers

weights = torch.load(sys.argv[1], map_location="cpu")
net = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
tables = {
    True: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
    False: {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"},
}
outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
places = [(s, b) for s, depth in enumerate([1, 2, 2, 3, 3, 4, 1]) for b in range(depth)]
state = {}
for name, tensor in weights.items():
    parts = name.split(".")
    if parts[0] == "_blocks":
        n = int(parts[1])
        state[f"blocks.{places[n][0]}.{places[n][1]}.{tables[n == 0][parts[2]]}.{parts[3]}"] = tensor
    else:
        state[f"{outer[parts[0]]}.{parts[1]}"] = tensor
net.load_state_dict(state)

coarse = np.floor(127.5 * (1 + numbers("lite0", 10, 8, 8, 3)))
images = torch.from_numpy(coarse.repeat(16, 1).repeat(16, 2)).permute(0, 3, 1, 2).float()
with torch.no_grad():
    logits = net((images - 127) / 128).double()
out = Path(__file__).with_suffix(".json")
rounded = [[round(v, 6) for v in row] for row in logits.tolist()]
out.write_text(json.dumps(dict(made_by=f"torch {torch.__version__}, timm {timm.__version__}", logits=rounded)))
print(out, out.stat().st_size, logits.argmax(1).tolist(), logits.abs().max().item())
