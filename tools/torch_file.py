"""Reads torch's files without running code in them.

A file of torch.save is a pickle, and a pickle can call any function. Later versions of torch can restrict loading to tensors
and plain values. Older versions cannot, or not if the file has a float. With those, this module reads the file by the same rule.
"""

import inspect
import io
import pickle
import re
import sys
import zipfile

import torch

# Number types by the name of their storage in torch's files.
STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128, "ComplexFloatStorage": torch.complex64,
}
# Other names in files that are harmless to call.
PLAIN = {
    ("collections", "OrderedDict"), ("torch", "Size"), ("torch", "device"),
    *(("torch", str(dtype).partition(".")[2]) for dtype in STORAGES.values()),
    *((module, name) for module in ["builtins", "__builtin__"] for name in ["set", "frozenset"]),
}
# The first torch version that reads the format from before 1.6, which is not a zip, without running code.
SAFE_WITHOUT_ZIP = (2, 6)


def load(path, trust=False):
    """The content of a torch file, on the CPU. Runs code in the file only with `trust`."""
    if trust:
        note(f"--trust: code that is in {path} is run now")
        return torch_load(path, weights_only=False)
    with open(path, "rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(path):
        fail(f"{path} is no file of torch's, or has been cut short: copy it again")
    if is_zip and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        fail(f"{path} is a TorchScript program, which no optimizer is in: save optimizer.state_dict() with torch.save")
    own = can_load_tensors_only()
    if not is_zip and not (own and version() >= SAFE_WITHOUT_ZIP):
        fail(f"{path} is in torch's format from before 1.6, or is no file of torch's, and torch {torch.__version__} cannot load"
             " it without running what is in it: save it anew with a later torch, or give --trust if you trust who made it")
    if not own:
        note(f"torch {torch.__version__} cannot load a checkpoint without running what is in it;"
             f" {path} is read without torch.load, and nothing in it is run")
    try:
        return torch_load(path, weights_only=True) if own else TensorsOnly.load_file(path)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|Unsupported (?:global:?|class)) (?:GLOBAL )?([\w.]+)", str(error))
        what = found.group(1) if found else "more than tensors and plain values"
        fail(f"{path} holds {what}, which is only loaded by running what is in the file: save a file of state dicts alone,"
             " or give --trust if you trust who made it")
    except OSError:
        raise
    # A file in another format may raise any exception.
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        fail(f"{path} is no file of torch's, or has been cut short ({why}): copy it again")


def can_load_tensors_only():
    """Whether this torch can load numbers and tensors and refuse the rest: 1.11 cannot, 1.13 cannot load floats."""
    probe = io.BytesIO()
    torch.save({"lr": 0.5}, probe)
    probe.seek(0)
    try:
        torch.load(probe, weights_only=True)
    except Exception:
        return False
    return True


def torch_load(path, weights_only):
    known = "weights_only" in inspect.signature(torch.load).parameters
    return torch.load(path, map_location="cpu", **({"weights_only": weights_only} if known else {}))


class TensorsOnly(pickle.Unpickler):
    """Makes tensors and plain values, and calls nothing else.

    Not passed to torch.load as its unpickler, because 1.13 accepts the argument but uses its own.
    """

    @classmethod
    def load_file(cls, path):
        with zipfile.ZipFile(path) as archive:
            # Everything is in one folder, named after the file at the time of saving.
            pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            folder = pickled[:-len("data.pkl")]
            if folder + "byteorder" in archive.namelist() and archive.read(folder + "byteorder") != b"little":
                fail(f"{path} was saved on a big-endian machine: convert it there")
            return cls(io.BytesIO(archive.read(pickled)), lambda key: archive.read(f"{folder}data/{key}")).load()

    def __init__(self, pickled, record):
        # torch's own encoding for strings of Python 2.
        super().__init__(pickled, encoding="utf-8")
        self.record, self.storages = record, {}

    def find_class(self, module, name):
        if (module, name) in PLAIN:
            return super().find_class(module, name)
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch._utils" and name in REBUILD:
            return REBUILD[name]
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")

    def persistent_load(self, saved):
        """The numbers of one or more tensors, which share them as they did when they were saved."""
        kind, dtype, key, _, _ = saved
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"GLOBAL {kind}")
        if key not in self.storages:
            data = bytearray(self.record(key))
            self.storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self.storages[key]


def tensor(storage, offset, size, stride, *_):
    """A tensor as torch saves it. requires_grad and hooks are not needed here."""
    return storage.as_strided(size, stride, offset)


REBUILD = {
    "_rebuild_tensor": tensor, "_rebuild_tensor_v2": tensor,
    "_rebuild_parameter": lambda data, *_: data, "_rebuild_parameter_with_state": lambda data, *_: data,
}


def version():
    return tuple(int(number) for number in re.match(r"(\d+)\.(\d+)", torch.__version__).groups())


def note(text):
    print(f"note: {text}", file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"error: {text}")
