"""torch's side: makes and steps optimizers. Each command is a line on stdin, answered by a line on stdout.

    make PATH TENSORS ELEMENTS   then the parameters and the gradients as float32; back: "ok", or "no" and a reason
    step PATH                    back: milliseconds
    sample PATH TENSOR COUNT     back: the first elements of a parameter
"""

import sys
import time
import warnings

warnings.simplefilter("ignore")
try:
    import torch
except (ImportError, OSError) as error:
    print(f"no {error}", flush=True)
    sys.exit()

PATHS = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "for-loop": {"foreach": False},
}
LR = float(sys.argv[1])
made = {}


def tensors(count, elements):
    def one():
        return torch.frombuffer(bytearray(sys.stdin.buffer.read(4 * elements)), dtype=torch.float32).clone()

    return [one() for _ in range(count)]


def make(path, count, elements):
    params, grads = (tensors(int(count), int(elements)) for _ in range(2))
    for param, grad in zip(params, grads):
        param.requires_grad_()
        param.grad = grad
    try:
        made[path] = torch.optim.Adam(params, lr=LR, **PATHS[path]), params
    except (RuntimeError, TypeError) as error:  # older versions lack this path, or lack it on the CPU
        return f"no {' '.join(str(error).split())}"
    return "ok"


def step(path):
    optimizer, _ = made[path]
    begin = time.perf_counter()
    optimizer.step()
    return (time.perf_counter() - begin) * 1e3


def sample(path, tensor, count):
    _, params = made[path]
    return " ".join(map(repr, params[int(tensor)].detach()[: int(count)].tolist()))


print(f"torch {torch.__version__.split('+')[0]} {torch.get_num_threads()}", flush=True)
for line in iter(sys.stdin.buffer.readline, b""):
    command, *arguments = line.decode().split()
    print({"make": make, "step": step, "sample": sample}[command](*arguments), flush=True)
