#!/usr/bin/env python3
"""Converts checkpoints between torch's form and wgpu-adam's, both ways, bit for bit.

    torch_checkpoint.py FROM.pt TO.safetensors
    torch_checkpoint.py FROM.safetensors TO.pt

From torch. FROM.pt is a file of torch.save, whose name does not end in .safetensors. It has optimizer.state_dict() alone, or a
dict with it and anything else:

- The optimizer is found by its form, under any key, also in Lightning's list.
- The model is the dict of tensors under "model", "net", "network", "module" or "state_dict", or else under a key that ends in
  "_state_dict". It may be missing.
- A GradScaler's state is found by its form, and under "scaler" and "grad_scaler".

If there are several, choose with --optimizer KEY and --model KEY. Options that are tensors become plain numbers of the same
value. Everything else in the file is left out, and its keys are printed.

The parameters' names come from the optimizer's groups, if torch put them there (since 2.6), or from --names, in the order of the
optimizer's packed ids, or from the model. In the model, parameters are the entries, in order, whose shapes fit the optimizer's
state. Buffers of BatchNorm are not parameters, and of tied weights only the first is. With several groups only the shapes
decide, because nothing else shows the group of an entry. If several choices remain, --names is required. Without a model and
without names, state is numbered, and is loaded by position. Prefixes that all names have are removed, and restored on the way
back to torch: "module." of DistributedDataParallel, "_orig_mod." of torch.compile, and Lightning's "model.".

To torch. TO.pt becomes {"model": ..., "optimizer": ..., "scaler": ...}, where "model" and "scaler" may be missing. With --bare
it becomes optimizer.state_dict() alone.

AdamW's groups of later versions have the option decoupled_weight_decay. In older files nothing distinguishes Adam's decay from
AdamW's: --adamw says that it is AdamW's.

Code in FROM.pt is never run without --trust: a file that needs it is refused. Needs only torch, of any version since 1.11.
"""

import argparse
import json
import math

import torch

import parameter_names
import safetensors_file
from checkpoint_parts import parts
from torch_file import fail, load, note

# torch 1.11 counts steps in a Python int, later versions in a float32 tensor.
FLOAT_COUNTS_TO = 2**24
STATE = "optimizer.state."
MODEL = "model."
VERSION = "wgpu_adam.version"
# The metadata entry of a prefix that was removed from all names.
PREFIX = "torch_checkpoint.prefix"
# The option of a group that had its parameters' names in it, as torch since 2.6 if it was given names. An optimizer that
# loads and saves the file keeps this option, like every unknown one.
NAMED = "named"
# The metadata entry of the loss scale, and its key in torch's own recipes.
GRAD_SCALER = "grad_scaler"
SCALER = "scaler"
# The option of a group that distinguishes AdamW's weight decay from Adam's.
DECOUPLED = "decoupled_weight_decay"
# Prefixes that wrappers put before all names; Lightning's key for optimizers, and its prefix.
WRAPPERS = ["module.", "_orig_mod."]
LIGHTNING, LIGHTNING_MODEL = "optimizer_states", "model."


def to_safetensors(checkpoint, names=None, optimizer_key=None, model_key=None, adamw=False):
    """The tensors and metadata for a checkpoint in torch's form."""
    optimizer, model, scaler, _ = parts(checkpoint, optimizer_key, model_key)
    groups = optimizer["param_groups"]
    ids = [id for group in groups for id in group["params"]]
    if ids != list(range(len(ids))):
        fail("the ids of the optimizer's parameters are not 0, 1, 2, ... in the order of its groups: save what"
             " torch.optim's own state_dict() gives, FSDP's after rekey_optim_state_dict")
    own = names_in_groups(groups)
    prefix = common_prefix([*model, *(own or [])], LIGHTNING in checkpoint)
    bare = lambda name: name[len(prefix):] if name.startswith(prefix) else name
    model = {bare(name): tensor for name, tensor in model.items()}
    names, own = (None if some is None else [bare(name) for name in some] for some in (names, own))
    if names is not None and own is not None and names != own:
        fail("the optimizer's groups have names of their own, and --names gives others: leave out --names")
    names = names if own is None else own
    if names is not None and (len(names) != len(ids) or len(set(names)) != len(names)):
        fail(f"{len(set(names))} different names for {len(ids)} parameters: give each one name")
    for name, tensor in model.items():
        check_tensor(f"\"{name}\" of the model", tensor)
    shapes = [None] * len(ids)
    for id, state in optimizer["state"].items():
        if id not in range(len(ids)):
            fail(f"there is state of the parameter {id}, which no group has: save the optimizer anew")
        shapes[id] = shape_of(id, state)
    if names is not None:
        parameter_names.check(names, shapes, model)
    elif model:
        names = parameter_names.find(shapes, len(groups), model)

    tensors = {MODEL + name: tensor for name, tensor in model.items()}
    for id, state in optimizer["state"].items():
        name = names[id] if names is not None else str(id)
        for key, value in state.items():
            tensors[f"{STATE}{name}.{key}"] = step_tensor(value) if key == "step" else value
    added = {DECOUPLED: True} if adamw else {}
    entry = {"param_groups": [{**added, **plain_group(group, f"group {at}")} for at, group in enumerate(groups)]}
    if names is not None:
        entry["param_names"] = names
    metadata = {"optimizer": json.dumps(entry, allow_nan=False), VERSION: "1"}
    if scaler:
        metadata[GRAD_SCALER] = json.dumps(plain(scaler, "the GradScaler's state"), allow_nan=False)
    if prefix:
        metadata[PREFIX] = prefix
    return tensors, metadata


def names_in_groups(groups):
    """The names of all parameters in the order of their ids, if the groups have names."""
    if not all("param_names" in group for group in groups):
        return None
    return [name for group in groups for name in group["param_names"]]


def shape_of(id, state):
    """Checks a parameter's state and returns the parameter's shape; None before its first step."""
    for key, value in state.items():
        if key != "step":
            check_tensor(f"\"{key}\" of the parameter {id}", value)
    if state and not {"exp_avg", "exp_avg_sq"} <= state.keys():
        fail(f"the state of the parameter {id} has {sorted(map(str, state))}, and not both exp_avg and exp_avg_sq:"
             " only Adam's and AdamW's can be converted")
    return tuple(state["exp_avg"].shape) if state else None


def check_tensor(what, tensor):
    """Fails unless a file can hold this tensor."""
    if not torch.is_tensor(tensor):
        fail(f"{what} is a {type(tensor).__name__}, and no tensor, which is all that the file holds: take it out before saving")
    if tensor.layout != torch.strided or tensor.dtype not in safetensors_file.NAMES:
        kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
        fail(f"{what} is a tensor of {kind}, which has no place in the file: convert it before saving")


def common_prefix(names, lightning):
    """The prefix that wrappers have put before all names."""
    shared = lambda prefix: len(names) > 0 and all(name.startswith(prefix) for name in names)
    prefix = LIGHTNING_MODEL if lightning and shared(LIGHTNING_MODEL) else ""
    while True:
        more = next((wrapper for wrapper in WRAPPERS if shared(prefix + wrapper)), None)
        if more is None:
            return prefix
        prefix += more


def step_tensor(step):
    step = number(step, "a step count")
    exact = torch.float32 if step <= FLOAT_COUNTS_TO else torch.float64
    return torch.tensor(float(step), dtype=exact)


def plain_group(group, where):
    """A group without tensors and tuples, and without names, which are stored elsewhere."""
    named = {NAMED: True} if "param_names" in group else {}
    return {**plain({key: option for key, option in group.items() if key != "param_names"}, where), **named}


def plain(value, where):
    """The same value in types that JSON has."""
    if torch.is_tensor(value):
        value = number(value, where)
    if isinstance(value, dict):
        return {key: plain(inner, f"\"{key}\" of {where}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, where) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        fail(f"{where} is {value}, which the file cannot hold: set it to a finite number before saving")
    if value is not None and not isinstance(value, (bool, int, float, str)):
        fail(f"{where} is a {type(value).__name__}, which the file cannot hold: set it to a number or a text before saving")
    return value


def number(value, where):
    """A number, or the number in a tensor of one element."""
    if not torch.is_tensor(value):
        return value
    if value.numel() != 1:
        fail(f"{where} is a tensor of {value.numel()} numbers, where there has to be one: set it to a number before saving")
    return value.item()


def to_torch(tensors, metadata):
    """A checkpoint in torch's form, for load_state_dict of model and optimizer."""
    if "optimizer" not in metadata:
        fail("the file's metadata has no \"optimizer\": it is no checkpoint of wgpu-adam's save_checkpoint, nor of this program's")
    entry = json.loads(metadata["optimizer"])
    groups, prefix = entry["param_groups"], metadata.get(PREFIX, "")
    ids = [id for group in groups for id in group["params"]]
    names = entry.get("param_names")
    by_id = {id: names[id] if names is not None else str(id) for id in ids}
    by_name = {name: id for id, name in by_id.items()}
    state, model = {}, {}
    for name, tensor in tensors.items():
        if name.startswith(MODEL):
            model[prefix + name[len(MODEL):]] = tensor
        elif name.startswith(STATE):
            param, _, key = name[len(STATE):].rpartition(".")
            if param not in by_name:
                fail(f"tensor {name} is state of \"{param}\", which is no parameter of the optimizer: save the checkpoint anew")
            # torch's kernels accept no other type of step.
            state.setdefault(by_name[param], {})[key] = tensor.float() if key == "step" else tensor
    for group in groups:
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
        if group.pop(NAMED, False):
            group["param_names"] = [prefix + by_id[id] for id in group["params"]]
    optimizer = {"state": dict(sorted(state.items())), "param_groups": groups}
    checkpoint = {"model": model, "optimizer": optimizer} if model else {"optimizer": optimizer}
    if GRAD_SCALER in metadata:
        checkpoint[SCALER] = json.loads(metadata[GRAD_SCALER])
    return checkpoint


def arguments_of(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("target", metavar="TO")
    parser.add_argument("--names", help="the parameters' names by packed id, a JSON list or a file of one")
    parser.add_argument("--optimizer", metavar="KEY", help="which of several optimizers in FROM.pt")
    parser.add_argument("--model", metavar="KEY", help="which of several models in FROM.pt")
    parser.add_argument("--trust", action="store_true", help="run code that is in FROM.pt")
    parser.add_argument("--adamw", action="store_true", help="FROM.pt is of AdamW, where its groups do not say so")
    parser.add_argument("--bare", action="store_true", help="write the optimizer's state alone to TO.pt")
    arguments = parser.parse_args(words)
    back = arguments.source.endswith(".safetensors")
    if back == arguments.target.endswith(".safetensors"):
        fail("one of FROM and TO has to end in .safetensors, and the other not: rename one")
    wrong = [name for name in (["names", "optimizer", "model", "adamw", "trust"] if back else ["bare"]) if getattr(arguments, name)]
    if wrong:
        fail(f"--{wrong[0]} is for the way {'from' if back else 'to'} torch's form: leave it out")
    return arguments


def names_of(text):
    """Names from a JSON list, or from a file that contains one."""
    if text is None:
        return None
    if not text.startswith("["):
        with open(text) as file:
            text = file.read()
    try:
        names = json.loads(text)
    except ValueError as error:
        fail(f"--names is no JSON ({error}): give [\"first name\", ...], or a file of that")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        fail("--names is no list of texts: give [\"first name\", ...], or a file of that")
    return names


def main(words=None):
    arguments = arguments_of(words)
    try:
        if arguments.source.endswith(".safetensors"):
            checkpoint = to_torch(*safetensors_file.load(arguments.source))
            with safetensors_file.replacing(arguments.target) as file:
                torch.save(checkpoint["optimizer"] if arguments.bare else checkpoint, file)
            return
        names, checkpoint = names_of(arguments.names), load(arguments.source, arguments.trust)
        chosen = arguments.optimizer, arguments.model
        tensors, metadata = to_safetensors(checkpoint, names, *chosen, arguments.adamw)
        left = parts(checkpoint, *chosen)[-1]
        if left:
            note("left out, as it is neither the optimizer, the model nor a GradScaler: " + ", ".join(f"\"{key}\"" for key in left))
        entry = json.loads(metadata["optimizer"])
        if any(group.get("weight_decay") and DECOUPLED not in group for group in entry["param_groups"]):
            note("nothing in the file says whether the weight decay is Adam's or AdamW's: it is taken for Adam's, or with --adamw"
                 " for AdamW's")
        if "param_names" not in entry:
            note("the parameters have no names in this file, and are loaded by position; --names gives them names")
        safetensors_file.save(arguments.target, tensors, metadata)
    except OSError as error:
        fail(f"{error.filename or arguments.target}: {error.strerror or error}")


if __name__ == "__main__":
    main()
