#!/usr/bin/env python3
"""Record the error of decoupled weight decay in torch's float32 AdamW.

    python make_decay.py decay.json

Every case takes 3,000 steps on the CPU, from the same parameters and with the same gradients, with its own lr and
weight_decay. Parameters and gradients come from a hash, so that a program in any language computes the same ones:
`values` equals tests/suite/src/values.rs, and every operation here rounds to float32 as it does there. The output has
the parameters of the float32 run, and their distance from a float64 run of torch. Needs torch and numpy.
"""

import json
import sys

import numpy as np
import torch

STEPS = 3000
LRS = [1e-3, 3e-4, 1e-4, 1e-5]
DECAYS = [0.01, 0.1]
# The first elements have gradients of mixed sizes, the last ones have zero gradients.
MOVING, RESTING = 192, 64


def values(number, length):
    """Element i of list `number`: 24 bits of splitmix64 as a number from -1 to 1."""
    gamma = 0x9E3779B97F4A7C15
    with np.errstate(over="ignore"):
        x = (np.uint64(number << 40) + np.arange(length, dtype=np.uint64) + np.uint64(1)) * np.uint64(gamma)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float32) / np.float32(8388608.0) - np.float32(1.0)


def start():
    """List 0, doubled."""
    return np.float32(2.0) * values(0, MOVING + RESTING)


def gradient(step):
    """A drift, half of list 1, plus list 1 + step; element i is divided by 2^(i mod 12)."""
    sizes = np.exp2(-(np.arange(MOVING) % 12)).astype(np.float32)
    moving = (np.float32(0.5) * values(1, MOVING) + values(1 + step, MOVING)) * sizes
    return np.concatenate([moving, np.zeros(RESTING, dtype=np.float32)])


def run(lr, weight_decay, dtype):
    param = torch.tensor(start(), dtype=dtype, requires_grad=True)
    optimizer = torch.optim.AdamW([param], lr=lr, weight_decay=weight_decay)
    for step in range(1, STEPS + 1):
        param.grad = torch.tensor(gradient(step), dtype=dtype)
        optimizer.step()
    return param.detach().numpy()


def rms(error):
    return float(f"{np.sqrt(np.mean(np.square(error))):.4g}")


def main():
    torch.set_num_threads(1)
    cases = []
    for lr in LRS:
        for weight_decay in DECAYS:
            got, want = (run(lr, weight_decay, dtype) for dtype in [torch.float32, torch.float64])
            error = got.astype(np.float64) - want
            cases.append({
                "lr": lr,
                "weight_decay": weight_decay,
                "torch_rms": {"moving": rms(error[:MOVING]), "resting": rms(error[MOVING:])},
                # Nine digits distinguish any two float32.
                "torch_param": [float(f"{x:.9g}") for x in got],
            })
    recorded = {
        "generator": {"torch": torch.__version__, "script": "make_decay.py"},
        "steps": STEPS,
        "moving": MOVING,
        "resting": RESTING,
        "cases": cases,
    }
    with open(sys.argv[1], "w") as file:
        json.dump(recorded, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
