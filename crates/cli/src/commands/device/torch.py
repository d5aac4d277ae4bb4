"""Images per second of training steps of a timm model in PyTorch, on a card.

arguments: MODEL BATCH SIZE CARD
Prints a line of JSON for each type and mode: the median of 5 rounds of 4 steps (forward pass, cross-entropy, backward
pass, Adam, on random pixels that are on the card; channels last), and the peak of the memory. bf16 and f16 are `torch.autocast`, f16 with a
`GradScaler`; f32 may use TF32, as PyTorch users are advised.
"""
import json
import sys
import time

import timm
import torch

model, batch, size, card = sys.argv[1], *map(int, sys.argv[2:5])
device = torch.device("cuda", card)
torch.cuda.set_device(device)
torch.backends.cudnn.benchmark = True
TYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def images_per_second(mode, dtype):
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    torch.cuda.reset_peak_memory_stats()
    last = torch.channels_last
    net = timm.create_model(model, pretrained=False, num_classes=18).to(device, memory_format=last).train()
    forward = torch.compile(net) if mode == "compile" else net
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=last)
    labels = torch.randint(0, 18, (batch,), device=device)

    def step():
        with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    def timed():
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(4):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - begin) / 4

    for _ in range(2):
        timed()
    seconds = sorted(timed() for _ in range(5))[2]
    return batch / seconds, torch.cuda.max_memory_allocated() >> 20


for name, dtype in TYPES.items():
    for mode in ["eager", "compile"]:
        line = dict(model=model, batch=batch, size=size, dtype=name, mode=f"torch {mode}", torch=torch.__version__)
        try:
            speed, peak = images_per_second(mode, dtype)
            line.update(train_img_s=round(speed, 1), train_peak_mib=peak)
        except torch.cuda.OutOfMemoryError:
            line.update(error="out of memory")
        except Exception as err:
            line.update(error=f"{type(err).__name__}"[:40])
        print(json.dumps(line), flush=True)
        torch._dynamo.reset()
        torch.cuda.empty_cache()
