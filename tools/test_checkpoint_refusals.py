"""Files that torch_checkpoint.py refuses, with its message and without an output file; and code in files, which is not run."""

import contextlib
import functools
import io
import json
import os
import pathlib
import pickle
import tempfile
import unittest.mock

import torch

import torch_checkpoint
import torch_file
from test_checkpoint_forms import SCALER, Net, Tied, converted, forms, same


class RunsCode:
    """A file that makes another when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Empty(torch.nn.Module):
    pass


def entry(*shape, **more):
    return {"step": torch.tensor(1.0), "exp_avg": torch.zeros(shape), "exp_avg_sq": torch.zeros(shape), **more}


def optimizer(*shapes, groups=None, **options):
    """Handmade state of these shapes, with no state for None; `groups` are the sizes of the groups."""
    sizes, ids = groups or [len(shapes)], iter(range(len(shapes)))
    return {"state": {id: entry(*shape) for id, shape in enumerate(shapes) if shape is not None},
            "param_groups": [{"lr": 0.1, **options, "params": [next(ids) for _ in range(size)]} for size in sizes]}


def model(**shapes):
    return {name.replace("_", "."): torch.zeros(shape) for name, shape in shapes.items()}


def refusals():
    """Name, saved content, arguments, and the required text of the message."""
    good, weights = optimizer((2,)), model(w=(2,))
    both = lambda one, other: {"model": one, "optimizer": other}
    yield "which of three", both(model(a=(2,), b=(2,), c=(2,), d=(3,)), optimizer((2,), (3,))), [], \
        ['parameter 0, with state of shape [2], may be "a", "b" or "c": give the parameters\' names', "--names"]
    yield "which of many", both(model(**{f"p{at}": (1,) for at in range(9)}), optimizer((1,), (1,))), [], \
        ['may be "p0", "p1", "p2", "p3", "p4" or 3 others, and 1 more are as uncertain']
    yield "no state to tell", both(model(a=(2,), b=(3,)), optimizer(None)), [], \
        ['parameter 0, which has no state yet, may be "a" or "b"']
    window = {"conv.weight": torch.ones(2, 2), "conv.window": torch.ones(7), "head.weight": torch.ones(3)}
    yield "a parameter without gradients and a buffer", both(window, optimizer((2, 2), None)), [], \
        ['parameter 1, which has no state yet, may be "conv.window" or "head.weight"']
    yield "convolution frozen with BatchNorm", both(Net().state_dict(), optimizer((), (5,), (5,), (3, 5), (3,))), [], \
        ['parameter 1, with state of shape [5], may be "conv.bias" or "norm.weight", and 1 more']
    yield "several groups of the same shapes", both(model(a=(2,), b=(2,)), optimizer((2,), (2,), groups=[1, 1])), [], \
        ['parameter 0, with state of shape [2], may be "a" or "b", and 1 more are as uncertain']
    yield "too few", both(Tied().state_dict(), optimizer((2,), (2,), (2,), (2,))), [], \
        ["the optimizer has 4 parameters, and the model 2 entries that may be theirs", "--model", "--names"]
    yield "another shape", both(model(a=(2,), b=(3,)), optimizer((2,), (4,))), [], \
        ['parameter 1, with state of shape [4], fits no entry of the model from "b" of shape [3] on']
    yield "another order", both(model(a=(2,), b=(3,), c=(1,)), optimizer((3,), (2,))), [], \
        ['parameter 1, with state of shape [2], fits no entry of the model from "c" of shape [1] on']
    yield "none behind", both(model(a=(2,), b=(3,), c=(1,)), optimizer((1,), (2,))), [], \
        ["parameter 1, with state of shape [2], fits no entry of the model that is left for it"]
    yield "several groups, another shape", both(model(a=(2,), b=(3,)), optimizer((2,), (4,), groups=[1, 1])), [], \
        ["parameter 1, with state of shape [4], fits no entry"]
    yield "two of one shape, one entry", both(model(a=(2,), b=(3,)), optimizer((2,), (2,), groups=[1, 1])), [], \
        ["parameter 0, with state of shape [2], fits no entry"]
    yield "names in the wrong order", both(model(a=(2,), b=(3,)), optimizer((2,), (3,))), ["--names", '["b", "a"]'], \
        ['parameter 0, with state of shape [2], is called "b", which has shape [3] in the model']
    yield "too few names", good, ["--names", "[]"], ["0 different names for 1 parameters"]
    yield "names that are no JSON", good, ["--names", "[a"], ["--names is no JSON", '["first name", ...]']
    yield "names that are none", good, ["--names", "[1]"], ["--names is no list of texts"]
    yield "no file of names", good, ["--names", "/nowhere/names"], ["/nowhere/names: No such file"]
    yield "two optimizers", {"optimizer": good, "optimizer_d": optimizer((2,))}, [], \
        ['several optimizers: choose "optimizer" or "optimizer_d" with --optimizer']
    yield "no such optimizer", {"optimizer": good}, ["--optimizer", "adam"], ['under "adam": --optimizer takes "optimizer"']
    yield "two models", {"a_state_dict": weights, "b_state_dict": model(w=(2,)), "optimizer": good}, [], \
        ['several models: choose "a_state_dict" or "b_state_dict" with --model']
    yield "no such model", both(weights, good), ["--model", "net"], ['under "net": --model takes "model"']
    yield "keys of a file without", good, ["--model", "net"], ["an optimizer's state alone", "leave out"]
    yield "weights alone", dict(weights), [], ["no \"optimizer\" in the checkpoint, which has ['w']: save optimizer.state_dict() too"]
    yield "an optimizer of another form", {"optimizer": {"lr": 0.1}}, [], ['"optimizer" is not what optimizer.state_dict() gives']
    yield "no dict", [1, 2], [], ["the file holds a list, and no dict"]
    yield "ids that are names", {"state": {"w": entry(2)}, "param_groups": [{"lr": 0.1, "params": ["w"]}]}, [], \
        ["ids of the optimizer's parameters are not 0, 1, 2", "rekey_optim_state_dict"]
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    sgd.param_groups[0]["params"][0].grad = torch.ones(2)
    sgd.step()
    yield "SGD", sgd.state_dict(), [], ["parameter 0 has ['momentum_buffer'], and not both exp_avg and exp_avg_sq", "only Adam's"]
    yield "state that is no tensor", {**good, "state": {0: entry(2, note="a")}}, [], ['"note" of the parameter 0 is a str']
    yield "a type without a place", both({"w": torch.zeros(2, dtype=torch.complex64)}, good), [], \
        ['"w" of the model is a tensor of torch.complex64, which has no place in the file']
    yield "sparse", both({"w": torch.zeros(2).to_sparse()}, good), [], ["sparse"]
    yield "no tensor in the model", both({**weights, "extra": 3}, good), [], ['"extra" of the model is a int, and no tensor']
    yield "a rate for each", optimizer((2,), lr=torch.ones(2)), [], ['"lr" of group 0 is a tensor of 2 numbers']
    yield "a rate of nan", optimizer((2,), lr=torch.tensor(float("nan"))), [], ['"lr" of group 0 is nan']
    yield "an option of no plain type", optimizer((2,), kind=torch.float32), [], ['"kind" of group 0 is a dtype']
    yield "two scalers", {"optimizer": good, "scaler": SCALER, "amp": {**SCALER, "scale": 2.0}}, [], \
        ['two different states of a GradScaler, "scaler" and "amp"']
    yield "a whole module", both(Empty(), good), [], ["holds ", "Empty", "--trust"]
    yield "no way to take", good, ["--bare"], ["--bare is for the way to torch's form"]


def which_decay():
    """Groups may not show whether their decay is AdamW's or Adam's. Then a note says so, and --adamw decides."""
    unsaid, said = optimizer((2,), weight_decay=0.1), optimizer((2,), weight_decay=0.1, decoupled_weight_decay=False)
    for name, saved, arguments, decoupled, noted in [
        ("unsaid", unsaid, [], None, True), ("--adamw", unsaid, ["--adamw"], True, False), ("said", said, [], False, False),
        ("said, and --adamw", said, ["--adamw"], False, False), ("no decay", optimizer((2,), weight_decay=0), [], None, False),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            (_, metadata), back, _, notes = converted(pathlib.Path(folder), saved, arguments)
        for group in json.loads(metadata["optimizer"])["param_groups"] + back["optimizer"]["param_groups"]:
            assert group.get("decoupled_weight_decay") is decoupled, f"{name}: {group}"
        assert ("--adamw" in notes) == noted, f"{name}: {notes!r}"


def refused(name, call, texts):
    """The message is one line, and no output file is left."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            call()
    except SystemExit as exit:
        message = str(exit)
    else:
        raise AssertionError(f"{name}: accepted")
    assert message.startswith("error: ") and "\n" not in message, f"{name}: {message}"
    assert all(text in message for text in texts), f"{name}: {message}, without {texts}"


def refuses():
    for name, checkpoint, arguments, texts in refusals():
        with tempfile.TemporaryDirectory() as folder:
            source, target = str(pathlib.Path(folder) / "before.pt"), str(pathlib.Path(folder) / "after.safetensors")
            torch.save(checkpoint, source)
            refused(name, lambda: torch_checkpoint.main([source, target, *arguments]), texts)
            assert os.listdir(folder) == ["before.pt"], f"{name}: {os.listdir(folder)}"


def files_that_are_none():
    """Files that are cut off, of another format or missing, and arguments for neither direction."""
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: str(pathlib.Path(folder) / name)
        torch.save(optimizer((2,)), path("whole.pt"))
        with contextlib.redirect_stderr(io.StringIO()):
            torch_checkpoint.main([path("whole.pt"), path("whole.safetensors")])
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path("script.pt"))
        torch.save(optimizer((2,)), path("old.pt"), _use_new_zipfile_serialization=False)
        for kind in ["pt", "safetensors"]:
            whole = pathlib.Path(path(f"whole.{kind}")).read_bytes()
            for cut, length in [("empty", 0), ("short", 5), ("half", len(whole) // 2), ("last", len(whole) - 1)]:
                pathlib.Path(path(f"{cut}.{kind}")).write_bytes(whole[:length])
        cut_off = [(f"{cut}.safetensors", "to.pt", ["no safetensors file, or has been cut short"])
                   for cut in ["empty", "short", "half", "last"]]
        before_1_6 = ["format from before 1.6", "--trust"] if torch_file.version() < torch_file.SAFE_WITHOUT_ZIP else None
        for source, target, texts in [
            *cut_off, ("half.pt", "to.safetensors", ["no file of torch's, or has been cut short"]),
            ("empty.pt", "to.safetensors", []), ("short.pt", "to.safetensors", ["cut short"]),
            ("missing.pt", "to.safetensors", ["missing.pt: No such file"]), ("whole.pt", "no/to.safetensors", ["No such file"]),
            ("script.pt", "to.safetensors", ["TorchScript program"]), ("whole.pt", "to.pt", ["has to end in .safetensors"]),
            ("whole.safetensors", "to.safetensors", ["has to end in .safetensors"]),
            *([("old.pt", "to.safetensors", before_1_6)] if before_1_6 else []),
        ]:
            before = os.listdir(folder)
            refused(f"{source} to {target}", lambda: torch_checkpoint.main([path(source), path(target)]), texts)
            assert os.listdir(folder) == before, f"{source} to {target}: {os.listdir(folder)}"
        for wrong in [["--names", "[]"], ["--model", "a"], ["--optimizer", "a"], ["--adamw"], ["--trust"]]:
            refused(wrong[0], lambda: torch_checkpoint.main([path("whole.safetensors"), path("to.pt"), *wrong]),
                    [f"{wrong[0]} is for the way from torch's form"])
        with contextlib.redirect_stderr(io.StringIO()):
            same("the older format", torch_file.load(path("whole.pt")), torch_file.load(path("old.pt"), trust=bool(before_1_6)))


def code_in_files():
    """Code is not run, neither by torch's loader nor by ours. With --trust it is run, after a note that says so."""
    for own in {torch_file.can_load_tensors_only(), False}:
        for zipped in [True, False]:
            with tempfile.TemporaryDirectory() as folder, unittest.mock.patch(
                    "torch_file.can_load_tensors_only", return_value=own):
                made, source, target = (str(pathlib.Path(folder) / name) for name in ["made", "run.pt", "run.safetensors"])
                torch.save({**optimizer((2,)), "more": RunsCode(made)}, source, _use_new_zipfile_serialization=zipped)
                name = f"torch's own {own}, zip {zipped}"
                call = lambda *more: torch_checkpoint.main([source, target, *more])
                known = zipped or own and torch_file.version() >= torch_file.SAFE_WITHOUT_ZIP
                refused(name, call, ["mkdir" if known else "without running what is in it", "--trust"])
                assert not os.path.exists(made) and not os.path.exists(target), f"{name}: {os.listdir(folder)}"

                said = []

                @functools.wraps(torch.load)
                def loads(*of, load=torch.load, **options):
                    said.append(notes.getvalue())
                    return load(*of, **options)

                with contextlib.redirect_stderr(io.StringIO()) as notes, unittest.mock.patch("torch.load", loads):
                    call("--trust")
                assert os.path.isdir(made) and os.path.exists(target), f"{name}: {os.listdir(folder)}"
                assert said[0].startswith("note: --trust: code that is in"), f"{name}: {said}"


def old_torch():
    """A torch that cannot restrict loading to tensors: a note says so before loading, and the result is the same."""
    for name, _, checkpoint, *_ in forms():
        with tempfile.TemporaryDirectory() as folder:
            path = str(pathlib.Path(folder) / "run.pt")
            torch.save(checkpoint, path)
            said = []

            def load_file(path, load=torch_file.TensorsOnly.load_file):
                said.append(notes.getvalue())
                return load(path)

            with contextlib.redirect_stderr(io.StringIO()) as notes, \
                    unittest.mock.patch("torch_file.TensorsOnly.load_file", load_file), \
                    unittest.mock.patch("torch_file.can_load_tensors_only", return_value=False):
                same(f"as an old torch, {name}", checkpoint, torch_file.load(path))
            assert "cannot load a checkpoint without running what is in it" in said[0], f"{name}: {said}"
    for module, name in [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("torch", "load"), ("torch._utils", "os"),
                         ("torch", "os.system"), ("torch._utils", "_rebuild_tensor_v2.__globals__")]:
        attack = b"\x80\x04" + f"c{module}\n{name}\n.".encode()
        try:
            torch_file.TensorsOnly(io.BytesIO(attack), None).load()
        except pickle.UnpicklingError:
            continue
        raise AssertionError(f"{module}.{name} was given out")


def run():
    refuses()
    files_that_are_none()
    print(f"{len(list(refusals()))} refusals: each with its message")
    which_decay()
    code_in_files()
    old_torch()
    print("AdamW's decay: not guessed; code in files: not run")


if __name__ == "__main__":
    run()
