#!/usr/bin/env python3
"""Checkpoints of real torch runs through wgpu-adam and back: test_torch_checkpoint.py PROGRAM

PROGRAM is the example `checkpoint`, which loads a file into an optimizer on a GPU and saves it from there. Every tensor
must come back with the same bits, and every group with the same options. A torch run continued from the file must follow
the uninterrupted run, bit for bit. The numbers of a GradScaler must come back too. The files are the recorded checkpoints
in tests/golden, and runs of the installed torch.
"""

import copy
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest.mock

import torch

import safetensors_file
import test_checkpoint_forms
import test_checkpoint_refusals
import torch_checkpoint

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"


def through_gpu(program, checkpoint, names):
    """A checkpoint in torch's form, after a .pt file, a .safetensors file, a GPU, and all the way back."""
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: str(pathlib.Path(folder) / name)
        torch.save(checkpoint, path("before.pt"))
        convert(path("before.pt"), path("before.safetensors"), *(["--names", json.dumps(names)] if names else []))
        subprocess.run([program, path("before.safetensors"), "--through-gpu", path("after.safetensors")], check=True,
                       stdout=subprocess.DEVNULL)
        before, after = safetensors_file.load(path("before.safetensors")), safetensors_file.load(path("after.safetensors"))
        same_tensors("file", before[0], after[0])
        same_entry(json.loads(before[1]["optimizer"]), json.loads(after[1]["optimizer"]))
        scalers = [json.loads(file[1].get("grad_scaler", "null")) for file in (before, after)]
        assert scalers[0] == scalers[1], f"scaler: {scalers[1]}, not {scalers[0]}"
        convert(path("after.safetensors"), path("after.pt"))
        return torch.load(path("after.pt"))


def convert(*arguments):
    done = subprocess.run([sys.executable, torch_checkpoint.__file__, *arguments], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"


def same_tensors(what, want, got):
    assert want.keys() == got.keys(), f"{what}: {sorted(want.keys() ^ got.keys())}"
    for name, tensor in want.items():
        bits = lambda tensor: tensor.contiguous().view(-1).view(torch.uint8)
        same = tensor.dtype == got[name].dtype and tensor.shape == got[name].shape
        assert same and torch.equal(bits(tensor), bits(got[name])), f"{what}: {name} has changed"


def same_entry(want, got):
    # An older torch lacks this option; what we write is its behaviour.
    groups = [{"decoupled_weight_decay": False, "amsgrad": False, "maximize": False, **group} for group in want["param_groups"]]
    assert got["param_groups"] == groups, f"groups: {got['param_groups']}, not {groups}"
    assert got.get("param_names") == want.get("param_names"), "names"


def same_checkpoint(want, got):
    same_tensors("model", want["model"], got["model"])
    assert want["optimizer"]["state"].keys() == got["optimizer"]["state"].keys(), "other parameters have state"
    for id, state in want["optimizer"]["state"].items():
        state = {key: torch_checkpoint.step_tensor(value) if key == "step" else value for key, value in state.items()}
        same_tensors(f"state {id}", state, got["optimizer"]["state"][id])


class Run:
    """A network with two groups, one of them with amsgrad, an unused parameter, and an external schedule."""

    def __init__(self, **options):
        torch.manual_seed(3)
        self.model = torch.nn.Sequential(torch.nn.Linear(7, 19), torch.nn.Tanh(), torch.nn.Linear(19, 3))
        self.model.register_parameter("unused", torch.nn.Parameter(torch.ones(5)))
        named = dict(self.model.named_parameters())
        groups = [[name for name in named if name.endswith("weight")], [name for name in named if not name.endswith("weight")]]
        self.names = [name for group in groups for name in group]
        weights, rest = ([named[name] for name in group] for group in groups)
        self.optimizer = torch.optim.Adam([{"params": weights, "weight_decay": 0.01}, {"params": rest, "amsgrad": True}],
                                          lr=0.01, **options)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.97)

    def steps(self, first, count):
        for step in range(first, first + count):
            torch.manual_seed(step)
            x = torch.randn(16, 7)
            self.optimizer.zero_grad()
            (self.model(x).sin() - x[:, :3]).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()

    def checkpoint(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}


def continued(program, **options):
    whole = Run(**options)
    whole.steps(0, 25)
    at_25 = torch_copy(whole.checkpoint())
    whole.steps(25, 25)

    broken = Run(**options)
    back = through_gpu(program, at_25, broken.names)
    same_checkpoint(at_25, back)
    broken.model.load_state_dict(back["model"])
    broken.optimizer.load_state_dict(back["optimizer"])
    broken.scheduler.last_epoch = 25
    broken.steps(25, 25)
    same_tensors("50 steps", whole.model.state_dict(), broken.model.state_dict())
    same_checkpoint(whole.checkpoint(), broken.checkpoint())
    for want, got in zip(whole.optimizer.param_groups, broken.optimizer.param_groups):
        options = lambda group: {key: value for key, value in group.items() if key != "params"}
        missing = {key: value for key, value in options(got).items() if key not in want}
        assert {**options(want), **missing} == options(got), f"{options(got)}, not {options(want)}"


def enabled_scaler(**options):
    """torch's own scaler. It disables itself without CUDA, although its state does not need CUDA."""
    with unittest.mock.patch("torch.cuda.is_available", return_value=True):
        return torch.cuda.amp.GradScaler(**options)


def with_scaler(program):
    """A GradScaler's state beside the optimizer's, under either key, comes back with the same numbers and types."""
    run = Run()
    run.steps(0, 3)
    scalers = [enabled_scaler(), enabled_scaler(init_scale=3.0, growth_factor=1.5, backoff_factor=0.1, growth_interval=7)]
    middle = enabled_scaler()
    # While it is growing, at a float32 number that no short decimal equals.
    scale = torch.tensor(0.1).item() * 2**20
    middle.load_state_dict({**middle.state_dict(), "scale": scale, "_growth_tracker": 1234})
    for want in [scaler.state_dict() for scaler in [*scalers, middle]]:
        for key in ["scaler", "grad_scaler"]:
            back = through_gpu(program, {**run.checkpoint(), key: want}, run.names)
            same_checkpoint(run.checkpoint(), back)
            resumed = enabled_scaler()
            resumed.load_state_dict(back["scaler"])
            types = lambda state: {key: (type(value), value) for key, value in state.items()}
            assert types(resumed.state_dict()) == types(want), f"{key}: {resumed.state_dict()}, not {want}"
    back = through_gpu(program, {**run.checkpoint(), "scaler": {}}, run.names)
    assert "scaler" not in back, f"a scaler that was disabled has {back['scaler']}"


def with_buffers(program):
    """A model with BatchNorm in a wrapper, as a trainer saves it. Its buffers and names come back too."""
    net = lambda: test_checkpoint_forms.wrap(test_checkpoint_forms.Net(), "module")
    run = test_checkpoint_forms.Run(net).steps()
    saved = {"epoch": 3, "model_state_dict": run.model(), "optimizer_state_dict": run.optimizer()}
    back = through_gpu(program, saved, None)
    same_checkpoint({"model": run.model(), "optimizer": run.optimizer()}, back)


def by_hand(named):
    """A checkpoint of two groups, with the parameters' names in them if `named`, as torch has put them there since 2.6."""
    entry = lambda *values: {"step": torch.tensor(3.0), "exp_avg": torch.tensor(values), "exp_avg_sq": torch.tensor(values)}
    options = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}
    groups = [{**options, "params": [0, 1]}, {**options, "lr": 0.2, "params": [2]}]
    if named:
        groups[0]["param_names"], groups[1]["param_names"] = ["0.weight", "0.bias"], ["1.weight"]
    state = {0: entry(0.5, 1.5), 1: entry(2.5), 2: entry(0.25, 0.125, 0.0)}
    model = {"0.weight": torch.ones(2), "0.bias": torch.ones(1), "1.weight": torch.zeros(3)}
    return {"model": model, "optimizer": {"state": state, "param_groups": groups}}


def names_in_groups(program):
    """Names in torch's groups come back in the groups, and nowhere else."""
    names = ["0.weight", "0.bias", "1.weight"]
    for named in [True, False]:
        want = by_hand(named)
        groups = want["optimizer"]["param_groups"]
        tensors, metadata = torch_checkpoint.to_safetensors(copy.deepcopy(want), None if named else names)
        assert json.loads(metadata["optimizer"])["param_names"] == names, metadata["optimizer"]
        back = torch_checkpoint.to_torch(tensors, metadata)
        same_checkpoint(want, back)
        assert back["optimizer"]["param_groups"] == groups, f"{back['optimizer']['param_groups']}, not {groups}"
        through = through_gpu(program, want, names)
        same_checkpoint(want, through)
        got = [group.get("param_names") for group in through["optimizer"]["param_groups"]]
        assert got == [group.get("param_names") for group in groups], f"named {named}: {got}"


def mistakes():
    """The error for anything that cannot be converted names it."""
    tensors, metadata = torch_checkpoint.to_safetensors(by_hand(True))
    stray = {**tensors, "optimizer.state.2.weight.exp_avg": torch.ones(1)}
    unknown = by_hand(True)
    unknown["optimizer"]["state"][9] = unknown["optimizer"]["state"].pop(2)
    for text, convert_it in [
        ('state of "2.weight", which is no parameter', lambda: torch_checkpoint.to_torch(stray, metadata)),
        ('state of "", which is no parameter', lambda: torch_checkpoint.to_torch({"optimizer.state.step": stray}, metadata)),
        ('no "optimizer"', lambda: torch_checkpoint.to_torch(tensors, {})),
        ("state of the parameter 9", lambda: torch_checkpoint.to_safetensors(unknown)),
        ("no \"optimizer\" in the checkpoint, which has ['net']", lambda: torch_checkpoint.to_safetensors({"net": 1})),
        ("names of their own", lambda: torch_checkpoint.to_safetensors(by_hand(True), ["a", "b", "c"])),
    ]:
        try:
            convert_it()
        except SystemExit as exit:
            assert text in str(exit), f"{exit}, not {text}"
        else:
            raise AssertionError(f"accepted: {text}")


def files():
    """Types that an older torch lacks, and a write that fails: the old file stays, and no partial file is left."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run.safetensors"
        text = json.dumps({"step": {"dtype": "U64", "shape": [], "data_offsets": [0, 8]}}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<Q", 2**53))
        tensors, _ = safetensors_file.load(path)
        assert tensors["step"].item() == 2**53, tensors
        os.chmod(path, 0o600)
        safetensors_file.save(path, {"a": torch.ones(3)}, {})
        whole = path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
        for failing in ["os.fsync", "os.replace"]:
            with unittest.mock.patch(failing, side_effect=OSError("the disk is full")):
                try:
                    safetensors_file.save(path, {"a": torch.zeros(3)}, {})
                except OSError:
                    pass
                else:
                    raise AssertionError(f"{failing} has failed, and nobody was told")
            assert path.read_bytes() == whole and os.listdir(folder) == [path.name], f"{failing}: {os.listdir(folder)}"
        torch.save(by_hand(False), pathlib.Path(folder) / "run.pt")
        same_checkpoint(by_hand(False), torch_checkpoint.load(pathlib.Path(folder) / "run.pt"))


def torch_copy(checkpoint):
    with tempfile.TemporaryFile() as file:
        torch.save(checkpoint, file)
        file.seek(0)
        return torch.load(file)


def main():
    program = sys.argv[1]
    for folder in ["checkpoint", "torch1.11/checkpoint"]:
        original = torch.load(GOLDEN / folder / "model_optimizer.pt")
        with open(GOLDEN / folder / "manifest.json") as file:
            names = json.load(file)["param_names"]
        same_checkpoint(original, through_gpu(program, original, names))
        print(f"{folder}: the same bits")
    test_checkpoint_forms.run()
    test_checkpoint_refusals.run()
    mistakes()
    files()
    names_in_groups(program)
    print("names in groups, files and mistakes: as they should be")
    with_buffers(program)
    print("BatchNorm's buffers, names in a wrapper: the same bits")
    with_scaler(program)
    print("GradScaler's state: the same numbers")
    for options in [{}, {"betas": (0.5, 0.75), "eps": 1e-3}, {"maximize": True}]:
        continued(program, **options)
        print(f"torch {torch.__version__}, {options}: 25 steps, there and back, 25 more: the same bits")


if __name__ == "__main__":
    main()
