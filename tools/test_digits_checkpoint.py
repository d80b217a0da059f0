#!/usr/bin/env python3
"""Trains the digits, half in torch and half on the GPU, and the reverse: test_digits_checkpoint.py PROGRAM [ARGUMENTS]

PROGRAM is the digits program. Both runs must stay as close to torch's recorded run as the program requires of an
uninterrupted run.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import digits_torch
import safetensors_file

HALF, WHOLE = 20, 40
# examples/digits/src/terminal/comparison.rs
LOSS_BOUND, TEST_DIGITS = 1e-5, 360


def main():
    program = sys.argv[1:]
    torch = lambda *arguments: subprocess.run([sys.executable, digits_torch.__file__, *arguments], check=True)
    gpu = lambda *arguments: subprocess.run([*program, *arguments], check=True, stdout=subprocess.DEVNULL)
    with open(digits_torch.DATA / "digits_torch_run.json") as file:
        record = json.load(file)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (str(pathlib.Path(folder) / name) for name in ["first.safetensors", "second.safetensors"])
        torch(str(HALF), first)
        # The program compares the run with torch's and fails if it differs too much.
        gpu("--checkpoint", first, "--resume")
        check("half in torch, half on the GPU", record, first)

        gpu("--epochs", str(HALF), "--checkpoint", second)
        torch(str(WHOLE), second, "--resume", second)
        check("half on the GPU, half in torch", record, second)


def check(what, record, path):
    tensors, _ = safetensors_file.load(path)
    losses, accuracies = tensors[digits_torch.LOSSES].tolist(), tensors[digits_torch.ACCURACIES].tolist()
    assert len(losses) == len(record["loss_per_step"]), f"{what}: {len(losses)} steps"
    worst = max(abs(ours - torch) for ours, torch in zip(losses, record["loss_per_step"]))
    digits = max(abs(ours - torch) * TEST_DIGITS for ours, torch in zip(accuracies, record["test_accuracy_per_epoch"]))
    assert worst <= LOSS_BOUND and digits < 1.5, f"{what}: off the unbroken run by {worst:.1e} and {digits:.1f} digits"
    print(f"{what}: {len(losses)} losses within {worst:.1e} of torch's unbroken run, accuracies within {digits:.0f} digits")


if __name__ == "__main__":
    main()
