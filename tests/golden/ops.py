"""Golden numbers of PyTorch for crates/ops, in f64: python3 ops.py

Inputs are from shared_numbers.py, channels last as in Rust; outputs and gradients have the same layout.
The loss is the sum of the output times a fixed projection.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from shared_numbers import numbers


def tensor(name, *shape):
    return torch.from_numpy(numbers(name, *shape)).requires_grad_()


def flat(t):
    return t.detach().flatten().tolist()


def case(name, inputs, f):
    """`inputs`: name -> shape; `f` takes the tensors in order and returns the output, channels last."""
    xs = [tensor(f"{name}/{key}", *shape) for key, shape in inputs.items()]
    y = f(*xs)
    r = torch.from_numpy(numbers(f"{name}/projection", *y.shape))
    (y * r).sum().backward()
    return dict(shapes=[list(s) for s in inputs.values()], output=flat(y), output_shape=list(y.shape), gradients=[flat(x.grad) for x in xs])


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def pad_same(x, kernel, stride):
    """TensorFlow's SAME, as timm pads."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def conv(kernel, stride, padding, groups=1):
    def f(x, w):
        x = nchw(x)
        if padding == "same":
            x, p = pad_same(x, kernel, stride), 0
        else:
            p = (kernel - 1) // 2
        # Ours: [out, kh, kw, in], or [kh, kw, c] for depthwise ones.
        w = w.permute(2, 0, 1)[:, None] if groups > 1 else w.permute(0, 3, 1, 2)
        return nhwc(F.conv2d(x, w, stride=stride, padding=p, groups=groups))

    return f


ACTIVATIONS = dict(none=lambda x: x, relu=F.relu, relu6=F.relu6, silu=F.silu, sigmoid=torch.sigmoid, gelu=F.gelu)
cases = {}
for padding in ["symmetric", "same"]:
    for kernel, stride, h, w in [(3, 1, 5, 4), (3, 2, 5, 4), (3, 2, 6, 7), (5, 2, 7, 8), (1, 2, 4, 5)]:
        name = f"conv2d/{kernel}/{stride}/{padding}/{h}/{w}"
        cases[name] = case(name, dict(x=(2, h, w, 3), w=(4, kernel, kernel, 3)), conv(kernel, stride, padding))
        name = f"depthwise/{kernel}/{stride}/{padding}/{h}/{w}"
        cases[name] = case(name, dict(x=(2, h, w, 9), w=(kernel, kernel, 9)), conv(kernel, stride, padding, 9))
cases["conv2d/7/2/symmetric/9/8"] = case("conv2d/7/2/symmetric/9/8", dict(x=(2, 9, 8, 3), w=(4, 7, 7, 3)), conv(7, 2, "symmetric"))
for kernel, stride, h, w in [(3, 2, 7, 6), (2, 2, 4, 6), (3, 1, 4, 5)]:
    name = f"max_pool/{kernel}/{stride}/symmetric/{h}/{w}"
    pool = lambda x: nhwc(F.max_pool2d(nchw(x), kernel, stride, (kernel - 1) // 2))
    cases[name] = case(name, dict(x=(2, h, w, 5)), pool)
cases["product"] = case("product", dict(x=(2, 3, 2, 5), w=(4, 5), b=(4,)), F.linear)
for key, act in ACTIVATIONS.items():
    name = f"activate/{key}"
    cases[name] = case(name, dict(x=(40,)), lambda x: act(9 * x))
    name = f"batch_norm/{key}"
    cases[name] = case(
        name,
        dict(x=(3, 2, 2, 6), gamma=(6,), beta=(6,)),
        lambda x, g, b: nhwc(act(F.batch_norm(nchw(x), None, None, g, b, training=True, eps=1e-3))),
    )
    name = f"batch_norm_fixed/{key}"
    mean, var = torch.from_numpy(numbers("mean", 6)), 1.5 + torch.from_numpy(numbers("variance", 6))
    cases[name] = case(
        name,
        dict(x=(3, 2, 2, 6), gamma=(6,), beta=(6,)),
        lambda x, g, b: nhwc(act(F.batch_norm(nchw(x), mean, var, g, b, training=False, eps=1e-3))),
    )
for kernel, padding, h, w in [(2, "symmetric", 5, 6), (2, "same", 5, 7), (2, "same", 6, 5), (3, "symmetric", 6, 7)]:
    name = f"avg_pool/{kernel}/2/{padding}/{h}/{w}"
    pool = lambda x: nhwc(F.avg_pool2d(nchw(x), kernel, 2, (kernel - 1) // 2, ceil_mode=padding == "same", count_include_pad=False))
    cases[name] = case(name, dict(x=(2, h, w, 5)), pool)
for h, w in [(5, 6), (14, 10)]:
    name = f"adaptive_avg_pool/7/{h}/{w}"
    cases[name] = case(name, dict(x=(2, h, w, 5)), lambda x: nhwc(F.adaptive_avg_pool2d(nchw(x), 7)))
for c in [6, 37]:
    name = f"layer_norm/{c}"
    cases[name] = case(name, dict(x=(2, 3, 2, c), gamma=(c,), beta=(c,)), lambda x, g, b: F.layer_norm(x, (c,), g, b, eps=1e-3))
cases["concat"] = case("concat", dict(x=(2, 3, 2, 5), y=(2, 3, 2, 4)), lambda x, y: torch.cat([x, y], 3))
cases["global_avg_pool"] = case("global_avg_pool", dict(x=(2, 3, 4, 5)), lambda x: x.mean((1, 2)))
cases["gate"] = case("gate", dict(x=(2, 3, 4, 5), g=(2, 5)), lambda x, g: x * g[:, None, None])

# Running statistics after one batch, momentum 0.1: as stored by models::BatchNorm.
bn = torch.nn.BatchNorm2d(6, eps=1e-3, momentum=0.1).double()
bn(nchw(torch.from_numpy(numbers("running/x", 3, 2, 2, 6))))
running = dict(mean=flat(bn.running_mean), variance=flat(bn.running_var))

out = Path(__file__).with_suffix(".json")
out.write_text(json.dumps(dict(made_by=f"torch {torch.__version__}", cases=cases, running=running)))
print(out, out.stat().st_size)
