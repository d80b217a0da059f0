#!/usr/bin/env python3
"""Record what torch does with gradients between backward and step: clipping and loss scaling.

    python generate.py

writes into its own folder everything that README.md there describes. Gradients are not
stored: the reader generates the same ones. Needs torch, numpy and safetensors; the
output depends only on the torch build and the CPU.
"""

import json
import math
import os
import random
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import make_golden as golden  # noqa: E402

SEED = 1
MASK = 2**64 - 1


def value(stream, i):
    """Element i of a list of numbers from -1 to 1, equal to `values::value` of the suite."""
    x = ((stream << 40) + i + 1) * 0x9E3779B97F4A7C15 & MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    x ^= x >> 31
    return (x >> 40) / 8388608.0 - 1.0


def bits(number):
    """The bits of a float32."""
    return f"0x{int(np.float32(number).view(np.uint32)):08x}"


# --------------------------------------------------------------------------
# norms.json: one call of clip_grad_norm_
# --------------------------------------------------------------------------

ODD_LENGTHS = [1, 3, 4, 7, 64, 65, 255, 1023, 2, 128, 31, 500]
KINDS = {"two": 2.0, "infinity": math.inf}


def lengths(count):
    return [ODD_LENGTHS[(7 * k + k // 12) % 12] for k in range(count)]


def norm_rows():
    """name, lengths, exponent of the largest tensor, number of powers of two over which the tensors spread, max_norm
    (None: the norm itself, in float32)"""
    yield "one element", [1], 0, 0, 0.5
    yield "one tensor", [1000], -4, 0, 1.0
    yield "not clipped", [100, 28], -12, 0, 1.0
    yield "at the edge", [4], 0, 0, None
    for count in (2, 3, 10, 30, 100, 300):
        yield f"{count} tensors", lengths(count), 0, 0, 1.0
        yield f"{count} tensors over 60 powers of two", lengths(count), 30, 60, 5.0
    for exponent in range(-72, 73, 12):
        yield f"30 tensors about 2^{exponent}", lengths(30), exponent, 3, 1.0
    yield "beyond what squares hold", [300, 5], 100, 0, 1.0
    yield "too small for squares", [300, 5], -83, 0, 1e-3
    yield "all in one tensor", [1 << 14, 9], -1, 0, 0.01


def norms():
    rows = []
    for number, (name, sizes, exponent, spread, max_norm) in enumerate(norm_rows()):
        for kind, order in KINDS.items():
            row = {"name": f"{name}, {kind}", "stream": 1000 * (number + 1), "lengths": sizes,
                   "exponent": exponent, "spread": spread, "norm_type": kind, "max_norm": max_norm}
            grads = []
            for k, size in enumerate(sizes):
                power = 2.0 ** (exponent - 5 * k % (spread + 1))
                grad = [value(row["stream"] + k, i) * power for i in range(size)]
                grads.append(torch.tensor(grad, dtype=torch.float32))
            if max_norm is None:
                row["max_norm"] = float(np.float32(torch.nn.utils.get_total_norm([g.double() for g in grads], order)))
            for dtype, torch_type in golden.DTYPES.items():
                params = []
                for grad in grads:
                    params.append(torch.nn.Parameter(torch.zeros(len(grad), dtype=torch_type)))
                    params[-1].grad = grad.to(torch_type, copy=True)
                norm = float(torch.nn.utils.clip_grad_norm_(params, row["max_norm"], order))
                row[f"norm_{dtype}"] = norm if math.isfinite(norm) else None
                if dtype == "f64":
                    row["factor_f64"] = min(1.0, row["max_norm"] / (norm + 1e-6))
            rows.append(row)
    write("norms.json", {"generator": golden.generator_info(SEED), "rows": rows}, "rows")


# --------------------------------------------------------------------------
# grad_scaler.json: runs of torch.amp.GradScaler
# --------------------------------------------------------------------------

SCALER_LENGTHS = [5, 3]
SPECIALS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def scaler_runs():
    """name, steps, number of steps per overflow (0: no overflow), GradScaler's options"""
    yield "defaults", 2000, 40, {}
    yield "defaults without an overflow", 2000, 0, {}
    yield "short interval", 2000, 9, {"init_scale": 1024.0, "growth_interval": 7}
    yield "factors of 3/2 and 3/4", 2000, 6, {"init_scale": 1000.0, "growth_factor": 1.5,
                                               "backoff_factor": 0.75, "growth_interval": 5}
    yield "factors that float32 rounds", 400, 6, {"init_scale": 3000.0, "growth_factor": 1.3,
                                                   "backoff_factor": 0.3, "growth_interval": 2}
    yield "to the largest scale", 200, 25, {"init_scale": 2.0**120, "growth_interval": 3}


def grad_scaler():
    runs = []
    for number, (name, steps, every, options) in enumerate(scaler_runs()):
        options = {"init_scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5,
                   "growth_interval": 2000, **options}
        chance = random.Random(number)
        scaler = torch.amp.GradScaler("cpu", **options)
        params = [torch.nn.Parameter(torch.zeros(size)) for size in SCALER_LENGTHS]
        optimizer = torch.optim.Adam(params, lr=0.01)
        scaler.scale(torch.zeros(()))
        overflows, changes, tracker, scale = [], [], 0, scaler.get_scale()
        for step in range(1, steps + 1):
            total = sum(SCALER_LENGTHS)
            # The gradient from a backward pass of a loss that was multiplied by the scale.
            grad = [value(step, i) * scale for i in range(total)]
            if every and chance.randrange(every) == 0:
                overflow = [step, chance.randrange(total), chance.choice(list(SPECIALS))]
                overflows.append(overflow)
                grad[overflow[1]] = SPECIALS[overflow[2]]
            grad = torch.tensor(grad, dtype=torch.float32)
            for param, part in zip(params, grad.split(SCALER_LENGTHS)):
                param.grad = part.clone()
            scaler.step(optimizer)
            scaler.update()
            expected = (scale, tracker + 1)
            scale, tracker = scaler.get_scale(), scaler._get_growth_tracker()
            if (scale, tracker) != expected:
                changes.append([step, bits(scale), tracker])
        taken = int(optimizer.state[params[0]]["step"])
        runs.append({"name": name, "steps": steps, "lengths": SCALER_LENGTHS, "lr": 0.01, **options,
                     "taken": taken, "param": [p for t in params for p in t.tolist()],
                     "overflows": overflows, "changes": changes})
    write("grad_scaler.json", {"generator": golden.generator_info(SEED), "runs": runs}, "runs")


# --------------------------------------------------------------------------
# clip_*.json and .safetensors: ten clipped steps of Adam, in the format of the golden cases
# --------------------------------------------------------------------------

class ClipCase(golden.Case):
    """A case whose gradients are clipped before each step. With `norm_in_f64`, both runs clip by the float64 norm."""

    def __init__(self, name, description, norm_in_f64=False):
        super().__init__(name, SEED, "finite", description)
        self.norm_in_f64 = norm_in_f64

    def clipped_steps(self, max_norms, kind):
        for max_norm in max_norms:
            self.step(clip_norm=max_norm, norm_type=kind)
        self.checkpoint()
        self.features = (self.features - {"grad_scale"}) | {"clip_norm"}

    def run(self, dtype):
        tensors = {p: torch.nn.Parameter(torch.from_numpy(a.copy()).to(dtype)) for p, a in self.init.items()}
        names = {id(t): p for p, t in tensors.items()}
        optimizer, out = None, {}
        for op in self.timeline:
            if op["op"] == "construct":
                optimizer = golden.make_optimizer(op["algorithm"], op["defaults"],
                                                  [golden.bind(g, tensors) for g in op["groups"]])
            elif op["op"] == "step":
                for pid, tensor in tensors.items():
                    tensor.grad = torch.from_numpy(self.gradient(op["n"], pid).copy()).to(dtype)
                kind = KINDS[op["norm_type"]]
                of = [t.grad.double() if self.norm_in_f64 else t.grad for t in tensors.values()]
                norm = torch.nn.utils.get_total_norm(of, kind)
                torch.nn.utils.clip_grads_with_norm_(tensors.values(), op["clip_norm"], norm.to(dtype))
                if dtype == torch.float64:
                    op["grad_norm"] = float(norm)
                optimizer.step()
            else:
                arrays = {}
                for tensor in (p for g in optimizer.param_groups for p in g["params"]):
                    state = optimizer.state[tensor]
                    arrays[names[id(tensor)]] = {"param": tensor.detach().numpy().copy(), **{
                        k: state[k].numpy().copy() for k in golden.STATE_KEYS if k in state}}
                steps = {names[id(t)]: int(s["step"]) for t, s in optimizer.state.items()}
                out[op["name"]] = arrays, steps, golden.packed_groups(optimizer)
        return out, {}


def around(norm):
    """Ten bounds around a norm, so close together that every step contributes to the second moment. There a rounding
    error of the factor counts twice, so a single dominant step would make the result depend on a lucky rounding."""
    return [norm * share for share in (0.5, 0.8, 1.5, 0.3, 0.9, 1.2, 0.6, 0.4, 1.0, 0.7)]


def clip_cases():
    one = ClipCase("clip_one_tensor", "One tensor of 1001 elements, norm 2, clipped in most steps.")
    one.use_rule()
    one.construct([{"params": [one.param([1001], rule=True, sampled=True)]}], lr=0.01)
    one.clipped_steps(around(0.5), "two")
    yield one

    many = ClipCase("clip_300_tensors", "300 tensors in three groups that differ, norm 2 over all of them.")
    many.use_rule()
    ids = [many.param([size], rule=True) for size in [1 + 7 * k % 19 for k in range(300)]]
    many.construct([{"params": ids[:100]}, {"params": ids[100:200], "amsgrad": True, "weight_decay": 0.02},
                    {"params": ids[200:], "lr": 0.02, "maximize": True}], lr=0.01)
    many.clipped_steps(around(0.9), "two")
    yield many

    infinity = ClipCase("clip_infinity", "40 tensors, the norm being the largest magnitude; AdamW.")
    infinity.use_rule()
    ids = [infinity.param([size], rule=True) for size in lengths(12)[:7] + [5] * 33]
    infinity.construct([{"params": ids}], algorithm="AdamW", lr=0.01)
    infinity.clipped_steps(around(0.06), "infinity")
    yield infinity

    # Beyond 2^60 torch's norm is infinite in float32.
    large = ClipCase("clip_large_norms", "Gradients whose norm is about 1e18, clipped to about 1.")
    large.use_rule(grad_log2=58, grad_spread_mask=3)
    large.construct([{"params": [large.param([size], rule=True) for size in (257, 33, 1, 64)]}], lr=0.01)
    large.clipped_steps(around(1.0), "two")
    yield large

    small = ClipCase("clip_small_norms", "Gradients whose norm is about 1e-5, clipped a little.")
    small.use_rule(grad_log2=-21, grad_spread_mask=3)
    small.construct([{"params": [small.param([size], rule=True) for size in (129, 2, 40)]}], lr=0.01)
    small.clipped_steps(around(2e-6), "two")
    yield small

    huge = ClipCase("clip_norms_of_1e20", "Gradients whose norm is about 1e20, clipped to about 1: in float32 torch's "
                    "norm would be infinite, and is given from float64.", norm_in_f64=True)
    huge.use_rule(grad_log2=64, grad_spread_mask=3)
    huge.construct([{"params": [huge.param([size], rule=True) for size in (257, 33, 1, 64)]}], lr=0.01)
    huge.clipped_steps(around(1.0), "two")
    yield huge

    # The squares of smaller gradients are denormal as second moments, clipped or not.
    tiny = ClipCase("clip_tiny_norms", "Gradients whose norm is about 5e-13, scaled by bounds below 1e-6; eps is small "
                    "enough to let them count.")
    tiny.use_rule(grad_log2=-42)
    tiny.construct([{"params": [tiny.param([size], rule=True) for size in (129, 2, 40)]}], lr=0.01, eps=1e-14)
    tiny.clipped_steps(around(5e-7), "two")
    yield tiny


def clips():
    index = []
    for case in clip_cases():
        index.append(case.write(HERE))
    with open(os.path.join(HERE, "index.json"), "w") as handle:
        handle.write("[\n" + ",\n".join("  " + json.dumps(row) for row in index) + "\n]\n")


def write(name, content, key):
    """JSON with a line for each entry of one list."""
    head = [f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in content.items() if k != key]
    rows = ",\n".join("    " + json.dumps(row, allow_nan=False) for row in content[key])
    with open(os.path.join(HERE, name), "w") as handle:
        handle.write("{\n" + ",\n".join(head + [f"  {json.dumps(key)}: [\n{rows}\n  ]"]) + "\n}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    norms()
    grad_scaler()
    clips()
