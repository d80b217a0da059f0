"""Reading torch's files without running what is in them.

A file of torch.save is a pickle, and a pickle can call any function there is. Later versions of torch can be asked to make
tensors and plain values only. Older ones cannot, or not where there is a float; for those the rule is kept here.
"""

import inspect
import io
import pickle
import re
import sys
import types
import zipfile

import torch

# What torch.save calls for tensors, parameters and what stands around them. Storages torch finds by itself.
ALLOWED = {
    ("collections", "OrderedDict"), ("torch", "Size"), ("torch", "device"), ("torch.nn.parameter", "Parameter"),
    *(("torch._utils", f"_rebuild_{what}") for what in
      ["tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state"]),
    *(("torch", name) for name in ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
                                   "bool"]),
    *((module, name) for module in ["builtins", "__builtin__"] for name in ["set", "frozenset"]),
}
# The first that reads torch's older format, without zip, and calls nothing.
SAFE_WITHOUT_ZIP = (2, 6)


class TensorsOnly(pickle.Unpickler):
    """Makes tensors and plain values, and calls nothing else."""

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return super().find_class(module, name)


def load(path, trust=False):
    """What is in a file of torch's, on the CPU. Only with `trust` is code run that is in it."""
    if trust:
        note(f"--trust: code that is in {path} is run now")
        return torch_load(path, weights_only=False)
    is_zip = zipfile.is_zipfile(path)
    with open(path, "rb") as file:
        starts_as_zip = file.read(4) == b"PK\x03\x04"
    if is_zip != starts_as_zip:
        fail(f"{path} is no file of torch's, or has been cut short: copy it again")
    if is_zip and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        fail(f"{path} is a TorchScript program, which no optimizer is in: save optimizer.state_dict() with torch.save")
    own = can_load_tensors_only()
    if not is_zip and not (own and version() >= SAFE_WITHOUT_ZIP):
        fail(f"{path} is in torch's format from before 1.6, if it is torch's, and torch {torch.__version__} cannot load that"
             " without running what is in it: save it anew with a later torch, or give --trust if you trust who made it")
    if not own:
        note(f"torch {torch.__version__} cannot itself load a checkpoint without running what is in it;"
             f" {path} is read here as tensors and plain values only")
    try:
        return torch_load(path, weights_only=True) if own else torch_load(path, weights_only=False, pickle_module=tensors_only())
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|Unsupported (?:global:?|class)) (?:GLOBAL )?([\w.]+)", str(error))
        what = found.group(1) if found else "more than tensors and plain values"
        fail(f"{path} holds {what}, which torch can only load by running what is in the file: save a file of state dicts"
             " alone, or give --trust if you trust who made it")
    except (RuntimeError, EOFError, KeyError, ValueError, AttributeError) as error:
        fail(f"{path} cannot be read, and may have been cut short: {str(error).splitlines()[0]}")


def can_load_tensors_only():
    """Whether this torch itself loads numbers and tensors and refuses the rest: 1.11 does not know how, 1.13 knows no floats."""
    probe = io.BytesIO()
    torch.save({"lr": 0.5}, probe)
    probe.seek(0)
    try:
        torch.load(probe, weights_only=True)
    except Exception:
        return False
    return True


def torch_load(path, weights_only, **options):
    if "weights_only" in inspect.signature(torch.load).parameters:
        options["weights_only"] = weights_only
    return torch.load(path, map_location="cpu", **options)


def tensors_only():
    """In the form of the module pickle, which torch takes another in place of."""
    module = types.ModuleType("tensors_only")
    module.Unpickler = TensorsOnly
    return module


def version():
    return tuple(int(number) for number in re.match(r"(\d+)\.(\d+)", torch.__version__).groups())


def note(text):
    print(f"note: {text}", file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"error: {text}")
