"""Reading and writing safetensors files with torch alone.

The format is a length, a header of JSON and the numbers; Debian has no package of the safetensors library, so these few
lines stand in for it.
"""

import json
import struct

import torch

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# The widest first, so that all numbers lie at a multiple of their size.
ORDER = ["F64", "I64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8", "BOOL"]


def load(path):
    """All tensors by name, and the metadata."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        dtype = DTYPES[info["dtype"]]
        if begin == end:
            tensors[name] = torch.empty(info["shape"], dtype=dtype)
        else:
            # A copy: frombuffer shares its memory, and wants it aligned.
            tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=dtype).reshape(info["shape"]).clone()
    return tensors, metadata


def save(path, tensors, metadata):
    """Writes tensors, a dict by name, and metadata, a dict of texts."""
    names = sorted(tensors, key=lambda name: (ORDER.index(NAMES[tensors[name].dtype]), name))
    header, blobs, end = {"__metadata__": metadata}, [], 0
    for name in names:
        tensor = tensors[name].detach().cpu().contiguous()
        # Bytes of any type, bfloat16 too, which numpy does not know.
        blob = bytes(tensor.reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""
        begin, end = end, end + len(blob)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        file.writelines(blobs)
