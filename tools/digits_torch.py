#!/usr/bin/env python3
"""Trains the digits of examples/digits in torch, from the start or from a checkpoint, to a checkpoint.

    digits_torch.py EPOCHS TO.safetensors [--resume FROM.safetensors]

The digits program reads and writes the same files: model, Adam's state, and the curves so far.
"""

import argparse
import gzip
import math
import pathlib
import sys

import numpy as np
import torch

import safetensors_file
import torch_checkpoint

DATA = pathlib.Path(__file__).resolve().parent.parent / "examples" / "digits" / "data"
sys.path.insert(0, str(DATA))
sys.dont_write_bytecode = True
from digits_torch_run import BATCH, CLASSES, HIDDEN, LR, epoch_order, uniform  # noqa: E402

LOSSES, ACCURACIES = "digits.loss_per_step", "digits.test_accuracy_per_epoch"


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(64, HIDDEN), torch.nn.Linear(HIDDEN, CLASSES)
        with torch.no_grad():
            self.fc1.weight.copy_(torch.from_numpy(uniform(0, 64 * HIDDEN, 1 / math.sqrt(64))).reshape(HIDDEN, 64))
            self.fc2.weight.copy_(torch.from_numpy(uniform(2, HIDDEN * CLASSES, 1 / math.sqrt(HIDDEN))).reshape(CLASSES, HIDDEN))
            self.fc1.bias.zero_()
            self.fc2.bias.zero_()

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("epochs", type=int)
    parser.add_argument("target")
    parser.add_argument("--resume")
    arguments = parser.parse_args()

    with gzip.open(DATA / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    is_test = np.arange(len(rows)) % 5 == 0
    part = lambda chosen: (torch.from_numpy(rows[chosen, :64] / 16), torch.from_numpy(rows[chosen, 64].astype(np.int64)))
    (x, y), (x_test, y_test) = part(~is_test), part(is_test)
    net = Net()
    adam = torch.optim.Adam(net.parameters(), lr=LR)
    losses, accuracies = [], []
    if arguments.resume:
        tensors, metadata = safetensors_file.load(arguments.resume)
        losses, accuracies = tensors[LOSSES].tolist(), tensors[ACCURACIES].tolist()
        checkpoint = torch_checkpoint.to_torch(tensors, metadata)
        net.load_state_dict(checkpoint["model"])
        adam.load_state_dict(checkpoint["optimizer"])

    for epoch in range(len(accuracies), arguments.epochs):
        order = epoch_order(epoch, len(x))
        done = len(losses) - epoch * math.ceil(len(x) / BATCH)
        for start in range(done * BATCH, len(x), BATCH):
            batch = order[start : start + BATCH]
            adam.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x[batch]), y[batch])
            loss.backward()
            adam.step()
            losses.append(loss.item())
        with torch.no_grad():
            accuracies.append((net(x_test).argmax(1) == y_test).double().mean().item())

    checkpoint = {"model": net.state_dict(), "optimizer": adam.state_dict()}
    tensors, metadata = torch_checkpoint.to_safetensors(checkpoint)
    tensors[LOSSES] = torch.tensor(losses, dtype=torch.float32)
    tensors[ACCURACIES] = torch.tensor(accuracies, dtype=torch.float64)
    safetensors_file.save(arguments.target, tensors, metadata)


if __name__ == "__main__":
    main()
