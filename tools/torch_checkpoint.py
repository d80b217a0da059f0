#!/usr/bin/env python3
"""Converts checkpoints between torch's own form and that of wgpu-adam, both ways, bit for bit.

    torch_checkpoint.py FROM.pt TO.safetensors
    torch_checkpoint.py FROM.safetensors TO.pt

A .pt file is torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()});
"model" may be missing, and so may "scaler", that of a torch.amp.GradScaler, which is found under "grad_scaler" too.
The parameters' names come from "model", whose order torch.optim.Adam(model.parameters()) has, or from --names, in the
order of the optimizer's packed ids. Needs torch, of any version since 1.11, and nothing else.
"""

import argparse
import io
import json
import sys

import torch

import safetensors_file

# torch 1.11 counts steps in Python's int, later versions in a float32 tensor.
FLOAT_COUNTS_TO = 2**24
STATE = "optimizer.state."
MODEL = "model."
VERSION = "wgpu_adam.version"
# Of a group whose parameters' names were in it, as torch puts them there since 2.6 where it is given names. An optimizer
# that loads and saves the file keeps it, as every option that it does not know.
NAMED = "named"
# The metadata entry of the loss scale; its key in torch's own recipes, which is the one written, and another.
GRAD_SCALER = "grad_scaler"
SCALER_KEYS = ["scaler", GRAD_SCALER]


def to_safetensors(checkpoint, names=None):
    """Tensors and metadata of a checkpoint in torch's form."""
    if "optimizer" not in checkpoint:
        sys.exit(f"error: no \"optimizer\" in the checkpoint, which has {sorted(map(str, checkpoint))}")
    optimizer, model = checkpoint["optimizer"], checkpoint.get("model", {})
    ids = [id for group in optimizer["param_groups"] for id in group["params"]]
    if ids != list(range(len(ids))):
        sys.exit("error: the ids of the optimizer's parameters are not 0, 1, 2, ... in the order of its groups")
    own = names_of(optimizer, model, ids) if names is None or all_named(optimizer) else None
    if names is not None and own is not None and names != own:
        sys.exit("error: the optimizer's groups have names of their own, and --names gives others")
    names = names if own is None else own
    if names is not None and (len(names) != len(ids) or len(set(names)) != len(names)):
        sys.exit(f"error: {len(set(names))} different names for {len(ids)} parameters")
    tensors = {MODEL + name: tensor for name, tensor in model.items()}
    for id, state in optimizer["state"].items():
        if id not in range(len(ids)):
            sys.exit(f"error: there is state of the parameter {id}, which no group has")
        name = names[id] if names is not None else str(id)
        for key, value in state.items():
            tensors[f"{STATE}{name}.{key}"] = step_tensor(value) if key == "step" else value
    entry = {"param_groups": [plain(group) for group in optimizer["param_groups"]]}
    if names is not None:
        entry["param_names"] = names
    metadata = {"optimizer": json.dumps(entry, allow_nan=False), VERSION: "1"}
    scaler = scaler_of(checkpoint)
    if scaler:
        metadata[GRAD_SCALER] = json.dumps(scaler, allow_nan=False)
    return tensors, metadata


def scaler_of(checkpoint):
    """The GradScaler's state; that of a disabled one is empty."""
    found = [checkpoint[key] for key in SCALER_KEYS if checkpoint.get(key)]
    if len(found) > 1 and found[0] != found[1]:
        sys.exit("error: two different states of a GradScaler: " + " and ".join(f'"{key}"' for key in SCALER_KEYS))
    return plain(found[0]) if found else {}


def names_of(optimizer, model, ids):
    """The names of all parameters in the order of their ids; none if nothing tells."""
    groups = optimizer["param_groups"]
    if all_named(optimizer):
        return [name for group in groups for name in group["param_names"]]
    if len(groups) == 1 and len(model) == len(ids):
        return list(model)
    if model:
        sys.exit("error: with several groups, or model state that is no parameter, --names must give the parameters' names")
    return None


def all_named(optimizer):
    """Whether the groups say what their parameters are called."""
    return all("param_names" in group for group in optimizer["param_groups"])


def step_tensor(step):
    step = float(step) if torch.is_tensor(step) else step
    exact = torch.float32 if step <= FLOAT_COUNTS_TO else torch.float64
    return torch.tensor(float(step), dtype=exact)


def plain(group):
    """A group, or a GradScaler's state, without tensors and tuples; names stand elsewhere."""
    def value(option):
        return option.item() if torch.is_tensor(option) else list(option) if isinstance(option, tuple) else option

    named = {NAMED: True} if "param_names" in group else {}
    return {**{key: value(option) for key, option in group.items() if key != "param_names"}, **named}


def to_torch(tensors, metadata):
    """A checkpoint in torch's form, which load_state_dict of model and optimizer take."""
    if "optimizer" not in metadata:
        sys.exit("error: the file's metadata has no \"optimizer\"")
    entry = json.loads(metadata["optimizer"])
    groups = entry["param_groups"]
    ids = [id for group in groups for id in group["params"]]
    names = entry.get("param_names")
    by_id = {id: names[id] if names is not None else str(id) for id in ids}
    by_name = {name: id for id, name in by_id.items()}
    state, model = {}, {}
    for name, tensor in tensors.items():
        if name.startswith(MODEL):
            model[name[len(MODEL):]] = tensor
        elif name.startswith(STATE):
            param, _, key = name[len(STATE):].rpartition(".")
            if param not in by_name:
                sys.exit(f"error: tensor {name} is state of \"{param}\", which is no parameter of the optimizer")
            # torch's kernels take no other type of step.
            state.setdefault(by_name[param], {})[key] = tensor.float() if key == "step" else tensor
    for group in groups:
        group["betas"] = tuple(group["betas"])
        if group.pop(NAMED, False):
            group["param_names"] = [by_id[id] for id in group["params"]]
    optimizer = {"state": dict(sorted(state.items())), "param_groups": groups}
    checkpoint = {"model": model, "optimizer": optimizer} if model else {"optimizer": optimizer}
    if GRAD_SCALER in metadata:
        checkpoint[SCALER_KEYS[0]] = json.loads(metadata[GRAD_SCALER])
    return checkpoint


def load(path):
    """A file of torch's; where this torch can, without running what is in it."""
    probe = io.BytesIO()
    torch.save({"lr": 0.5}, probe)
    probe.seek(0)
    try:
        # 1.11 knows no such option, and 1.13 no floats then.
        torch.load(probe, weights_only=True)
    except Exception:
        return torch.load(path, map_location="cpu")
    return torch.load(path, map_location="cpu", weights_only=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--names", help="the parameters' names by packed id, a JSON list or a file of one")
    arguments = parser.parse_args()
    if arguments.source.endswith(".safetensors"):
        checkpoint = to_torch(*safetensors_file.load(arguments.source))
        with safetensors_file.replacing(arguments.target) as file:
            torch.save(checkpoint, file)
        return
    names = arguments.names
    if names is not None and not names.startswith("["):
        with open(names) as file:
            names = file.read()
    checkpoint = load(arguments.source)
    safetensors_file.save(arguments.target, *to_safetensors(checkpoint, json.loads(names) if names else None))


if __name__ == "__main__":
    main()
