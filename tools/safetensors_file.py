"""Reads and writes safetensors files with torch alone.

The format is a length, a JSON header and the numbers. Debian has no package of the safetensors library, so these few lines
replace it.
"""

import contextlib
import json
import os
import shutil
import struct
import sys

import torch

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
# Types that only later torch versions have.
DTYPES.update({name: getattr(torch, dtype) for name, dtype in [("U64", "uint64"), ("U32", "uint32"), ("U16", "uint16")]
               if hasattr(torch, dtype)})
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# The widest first, so that the offset of each number is a multiple of its size.
ORDER = ["F64", "I64", "U64", "F32", "I32", "U32", "BF16", "F16", "I16", "U16", "I8", "U8", "BOOL"]


def load(path):
    """All tensors by name, and the metadata."""
    with open(path, "rb") as file:
        whole = file.read()
    try:
        return parse(whole)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        sys.exit(f"error: {path} is no safetensors file, or has been cut short: copy it again")


def parse(whole):
    """The same as `load`, from a file's bytes."""
    (length,) = struct.unpack_from("<Q", whole)
    header, data = json.loads(whole[8:8 + length]), memoryview(whole)[8 + length:]
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        # A step count may be U64, which older torch versions lack; int64 holds it too.
        dtype = DTYPES.get(info["dtype"], torch.int64 if info["dtype"] == "U64" else None)
        if dtype is None:
            sys.exit(f"error: tensor {name} is {info['dtype']}, which torch {torch.__version__} has no type for: take a later torch")
        if begin == end:
            tensors[name] = torch.empty(info["shape"], dtype=dtype)
        else:
            # A copy, because frombuffer shares its memory and requires alignment.
            tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=dtype).reshape(info["shape"]).clone()
    return tensors, metadata


def save(path, tensors, metadata):
    """Writes tensors, a dict by name, and metadata, a dict of strings."""
    names = sorted(tensors, key=lambda name: (ORDER.index(NAMES[tensors[name].dtype]), name))
    header, blobs, end = {"__metadata__": metadata}, [], 0
    for name in names:
        tensor = tensors[name].detach().cpu().contiguous()
        # Viewed as bytes, because numpy lacks bfloat16.
        blob = bytes(tensor.reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""
        begin, end = end, end + len(blob)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        file.writelines(blobs)


@contextlib.contextmanager
def replacing(path):
    """A file that replaces another when it is complete and on the disk. For a link it replaces the link's target."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        sys.exit(f"error: {path} is there and is no file")
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "wb") as file:
            if os.path.exists(path):
                shutil.copymode(path, partial)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)
        raise
