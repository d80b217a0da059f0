"""Finds the parts of a torch checkpoint, whose keys everyone chooses differently.

The state of an optimizer and of a GradScaler is recognised by its form. A model's state is a dict of tensors, but so are other
things. So a model is only searched under the usual keys.
"""

import torch

from torch_file import fail

# Keys of models. Keys that end in STATE_DICT come after them.
MODEL_KEYS = ["model", "model_state_dict", "net", "network", "module", "state_dict"]
STATE_DICT = "_state_dict"
# Keys of a GradScaler's state in torch's own recipes and elsewhere, and the members that identify it under any other key.
SCALER_KEYS = ["scaler", "grad_scaler"]
SCALER_FORM = {"scale", "growth_factor", "backoff_factor", "growth_interval"}
# The number of keys that an error lists.
LISTED = 12


def parts(checkpoint, optimizer_key=None, model_key=None):
    """The state of optimizer, model and scaler in a checkpoint, and the keys of everything else."""
    if not isinstance(checkpoint, dict):
        fail(f"the file holds a {type(checkpoint).__name__}, and no dict: save optimizer.state_dict(), or a dict with it")
    if is_optimizer(checkpoint):
        if optimizer_key or model_key:
            fail("the file is an optimizer's state alone, without keys: leave out --optimizer and --model")
        return checkpoint, {}, {}, []
    used, optimizer = optimizer_of(checkpoint, optimizer_key)
    key, model = model_of(checkpoint, model_key)
    scalers = scalers_of(checkpoint)
    used = {used, key, *scalers}
    left = [key for key, value in checkpoint.items() if key not in used and not (isinstance(value, dict) and not value)]
    return optimizer, model, next(iter(scalers.values()), {}), left


def is_optimizer(value):
    return isinstance(value, dict) and "state" in value and "param_groups" in value


def is_scaler(value):
    return isinstance(value, dict) and SCALER_FORM <= value.keys()


def is_model(key, value):
    """Whether this is a dict of tensors by name. Under a model's key it may contain other things too."""
    if not isinstance(value, dict) or is_optimizer(value) or is_scaler(value) or not all(isinstance(name, str) for name in value):
        return False
    enough = any if key in MODEL_KEYS else all
    return len(value) > 0 and enough(torch.is_tensor(tensor) for tensor in value.values())


def optimizer_of(checkpoint, chosen):
    """The key and the state of the only optimizer or of the chosen one. Optimizers in a list are KEY[0], KEY[1]."""
    found = {}
    for key, value in checkpoint.items():
        if is_optimizer(value):
            found[str(key)] = key, value
        elif isinstance(value, (list, tuple)):
            found.update({f"{key}[{at}]": (key, state) for at, state in enumerate(value) if is_optimizer(state)})
    if found and chosen is not None and chosen not in found:
        fail(f"no optimizer's state under \"{chosen}\": --optimizer takes {one_of(found)}")
    if found and chosen is None and len(found) > 1:
        fail(f"the file has several optimizers: choose {one_of(found)} with --optimizer")
    if found:
        return found[chosen] if chosen is not None else next(iter(found.values()))
    if "optimizer" in checkpoint:
        fail("\"optimizer\" is not what optimizer.state_dict() gives, which has \"state\" and \"param_groups\": save that")
    keys = sorted(map(str, checkpoint))
    listed = keys if len(keys) <= LISTED else [*keys[:LISTED], "..."]
    fail(f"no \"optimizer\" in the checkpoint, which has {listed}: save optimizer.state_dict() too")


def model_of(checkpoint, chosen):
    """The key and the entries of the model, or None and no entries."""
    models = [key for key, value in checkpoint.items() if isinstance(key, str) and is_model(key, value)]
    if chosen is not None and chosen not in models:
        fail(f"no model's state under \"{chosen}\": --model takes {one_of(models) if models else 'no key of this file'}")
    found = [chosen] if chosen is not None else [key for key in models if key in MODEL_KEYS] \
        or [key for key in models if key.endswith(STATE_DICT)]
    if len(found) > 1:
        fail(f"the file has several models: choose {one_of(found)} with --model")
    if not found:
        return None, {}
    return found[0], checkpoint[found[0]]


def scalers_of(checkpoint):
    """A GradScaler's state, under each of its keys. A disabled scaler's state is empty."""
    found = {key: value for key, value in checkpoint.items()
             if is_scaler(value) or (key in SCALER_KEYS and isinstance(value, dict) and value)}
    if any(state != next(iter(found.values())) for state in found.values()):
        fail(f"two different states of a GradScaler, {' and '.join(quoted(found))}: save one alone")
    return found


def one_of(keys):
    return " or ".join(quoted(keys))


def quoted(keys):
    return [f'"{key}"' for key in keys]
