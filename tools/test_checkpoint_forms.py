"""What torch_checkpoint.py takes and what it refuses: files of the torch that is installed, in the forms that people save.

Each is converted and converted back, and has to come back with the same bits: state, options, model, the GradScaler's numbers.
A run continued from it has to follow the one that was never broken. Each refusal has its message, and leaves no file.
"""

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

import safetensors_file
import torch_checkpoint
import torch_file

SCALER = {"scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 7}
# By torch's own float32, which no short decimal is.
LR = torch.tensor(0.1, dtype=torch.float32).item()


class Net(torch.nn.Module):
    """Convolution, BatchNorm, a buffer of another name and shape, a parameter without gradients, a scalar."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv1d(2, 5, 3), torch.nn.BatchNorm1d(5)
        self.conv.register_buffer("window", torch.linspace(0, 1, 7))
        self.head, self.gain = torch.nn.Linear(5, 3), torch.nn.Parameter(torch.tensor(1.5))
        self.unused = torch.nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean(2)) * self.gain


class Tied(torch.nn.Module):
    """One weight under two names, as of a language model's embedding and head."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.first(x))


class Wrapped(torch.nn.Module):
    """A model inside another, as wrappers have it under a name of theirs."""

    def __init__(self, name, model):
        super().__init__()
        self.add_module(name, model)
        self.inner = [model]

    def forward(self, x):
        return self.inner[0](x)


class Run:
    def __init__(self, model=Net, groups=lambda model: model.parameters(), optimizer=torch.optim.Adam, **options):
        torch.manual_seed(5)
        self.net = model()
        self.adam = optimizer(groups(self.net), **{"lr": 0.05, **options})

    def steps(self, first=0, count=4):
        for step in range(first, first + count):
            torch.manual_seed(step)
            self.adam.zero_grad()
            x = torch.randn(6, 4) if isinstance(self.net, Tied) else torch.randn(6, 2, 8)
            self.net(x).square().mean().backward()
            self.adam.step()
        return self

    def model(self):
        return self.net.state_dict()

    def optimizer(self):
        return self.adam.state_dict()

    def names(self):
        # Each once, in the order of the groups.
        called = {id(param): name for name, param in self.net.named_parameters()}
        return [called[id(param)] for group in self.adam.param_groups for param in group["params"]]


def by_shape(net):
    """Two groups in which each shape is once."""
    params = dict(net.named_parameters())
    return [{"params": [params["gain"], params["head.weight"]], "lr": 0.01}, {"params": [params["conv.weight"]]}]


def frozen(net):
    """All but the convolution, BatchNorm and a parameter beside."""
    return [net.gain, net.head.weight, net.head.bias]


def forms():
    """Name, run, what is saved, arguments, and the prefix that is taken from the names."""
    run = lambda *of, **options: Run(*of, **options).steps()
    wrapped = lambda *names: lambda: wrap(Net(), *names)
    plain, bare, tied, fresh = run(), run(), run(Tied), Run(Tied)
    recipe = lambda run: {"epoch": 3, "model_state_dict": run.model(), "optimizer_state_dict": run.optimizer(), "loss": 0.5}
    yield "model and optimizer", plain, {"model": plain.model(), "optimizer": plain.optimizer()}, [], ""
    yield "torch's recipe", plain, recipe(plain), [], ""
    yield "optim_state_dict, and all scalers' keys", plain, {
        "state_dict": plain.model(), "optim_state_dict": plain.optimizer(), "scaler": SCALER, "grad_scaler": SCALER,
        "scaler_state_dict": SCALER, "grad_scaler_state_dict": SCALER}, [], ""
    yield "net and optim, a disabled scaler", plain, {"net": plain.model(), "optim": plain.optimizer(), "scaler": {}}, [], ""
    yield "weights of an average beside", plain, {**recipe(plain), "ema_state_dict": run().model()}, [], ""
    yield "a model by a name of its own", plain, {"m": plain.model(), "o": plain.optimizer()}, ["--model", "m"], ""
    yield "an optimizer alone", bare, bare.optimizer(), ["--names", json.dumps(bare.names())], ""
    yield "an optimizer alone, without names", bare, bare.optimizer(), [], ""
    yield "before the first step", fresh, {"model": fresh.model(), "optimizer": fresh.optimizer()}, [], ""
    yield "tied weights", tied, {"model": tied.model(), "optimizer": tied.optimizer()}, [], ""
    sorted_out = run(Net, by_shape)
    yield "groups that shapes tell apart", sorted_out, recipe(sorted_out), [], ""
    part = run(Net, frozen)
    yield "frozen parameters", part, recipe(part), [], ""
    decoupled = run(optimizer=torch.optim.AdamW, amsgrad=True)
    yield "AdamW with amsgrad", decoupled, recipe(decoupled), [], ""
    for prefix in [["module"], ["_orig_mod"], ["module", "_orig_mod"]]:
        inner = run(wrapped(*prefix))
        yield f"in {prefix}", inner, recipe(inner), [], "".join(name + "." for name in prefix)
    ours = run(wrapped("body"))
    yield "a part called body", ours, recipe(ours), [], ""
    lightning = run(wrapped("model", "_orig_mod"))
    yield "Lightning's", lightning, {
        "pytorch-lightning_version": "2.1", "state_dict": lightning.model(), "optimizer_states": [lightning.optimizer()],
        "MixedPrecision": SCALER, "callbacks": {}, "loops": {"fit": 1}}, [], "model._orig_mod."
    first, second = run(), run(Tied)
    two = {"generator_state_dict": first.model(), "critic_state_dict": second.model(), "optimizers": [
        first.optimizer(), second.optimizer()]}
    choose = lambda model, at: ["--model", f"{model}_state_dict", "--optimizer", f"optimizers[{at}]"]
    yield "the first of two", first, two, choose("generator", 0), ""
    yield "the second of two", second, two, choose("critic", 1), ""
    named = run()
    yield "names in groups", named, with_names(named), [], ""
    if torch_file.version() >= (2, 6):
        named = run(Net, lambda net: net.named_parameters())
        yield "names in groups, by torch", named, recipe(named), [], ""
    rate = run(lr=torch.tensor(0.05))
    yield "a rate that is a tensor", rate, recipe(rate), [], ""
    inner = run(wrapped("module"))
    yield "names in groups, wrapped", inner, with_names(inner), [], "module."
    yield "options that are tensors", plain, {"model": plain.model(), "optimizer": with_tensors(plain.optimizer())}, [], ""


def wrap(net, *names):
    for name in reversed(names):
        net = Wrapped(name, net)
    return net


def with_names(run):
    """As torch has saved since 2.6 an optimizer of named_parameters()."""
    saved, names = run.optimizer(), iter(run.names())
    for group in saved["param_groups"]:
        group["param_names"] = [next(names) for _ in group["params"]]
    return {"model": run.model(), "optimizer": saved}


def with_tensors(saved):
    """Options of every type that holds them, which later versions of torch take."""
    saved = json_free_copy(saved)
    saved["param_groups"][0].update({
        "lr": torch.tensor(LR), "betas": (torch.tensor(0.5, dtype=torch.float64), torch.tensor([0.875], dtype=torch.bfloat16)),
        "eps": torch.tensor(1e-8, dtype=torch.float64), "weight_decay": torch.tensor(0.25, dtype=torch.float16),
        "amsgrad": torch.tensor(False)})
    saved["state"][0]["step"] = torch.tensor([4], dtype=torch.int64)
    return saved


def json_free_copy(saved):
    return {"state": {id: dict(state) for id, state in saved["state"].items()},
            "param_groups": [dict(group) for group in saved["param_groups"]]}


PLAIN = {"lr": LR, "betas": (0.5, 0.875), "eps": 1e-8, "weight_decay": 0.25, "amsgrad": False}


def converted(folder, checkpoint, arguments):
    """The file's tensors and metadata, what came back, what came with --bare, and the notes."""
    source, middle, back, bare = (str(folder / name) for name in ["before.pt", "middle.safetensors", "back.bin", "bare.pt"])
    torch.save(checkpoint, source)
    with contextlib.redirect_stderr(io.StringIO()) as notes:
        torch_checkpoint.main([source, middle, *arguments])
        torch_checkpoint.main([middle, back])
        torch_checkpoint.main([middle, bare, "--bare"])
        return safetensors_file.load(middle), torch_file.load(back), torch_file.load(bare), notes.getvalue()


def there_and_back(name, run, checkpoint, arguments, prefix):
    has_model = "model" in " ".join(checkpoint) or "state_dict" in " ".join(checkpoint) or not {"net", "m"}.isdisjoint(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        (_, metadata), back, bare, notes = converted(pathlib.Path(folder), checkpoint, arguments)
    same(f"{name}: --bare", back["optimizer"], bare)
    entry = json.loads(metadata["optimizer"])
    names = run.names() if has_model or "--names" in arguments else None
    stripped = names if names is None else [called[len(prefix):] for called in names]
    assert entry.get("param_names") == stripped, f"{name}: names {entry.get('param_names')}, not {stripped}"
    assert metadata.get("torch_checkpoint.prefix", "") == prefix, f"{name}: prefix {metadata}"

    options = PLAIN if name == "options that are tensors" else {}
    state = {id: {**state, **({"step": torch.tensor(float(state["step"]))} if "step" in state else {})}
             for id, state in run.optimizer()["state"].items()}
    number = lambda option: option.item() if torch.is_tensor(option) else option
    groups = [{**{key: number(option) for key, option in group.items()}, **options} for group in run.optimizer()["param_groups"]]
    if name.startswith("names in groups"):
        groups[0]["param_names"] = run.names()
    want = {"optimizer": {"state": state, "param_groups": groups}}
    if has_model:
        want["model"] = dict(run.model())
    if SCALER in [value for value in checkpoint.values() if isinstance(value, dict)]:
        want["scaler"] = SCALER
    same(name, want, back)
    left = {key for key in ["epoch", "loss", "loops", "pytorch-lightning_version", "ema_state_dict"] if key in checkpoint}
    assert all(f'"{key}"' in notes for key in left), f"{name}: {left} were left out, and the notes are {notes!r}"
    assert ("left out" in notes) == (len(left) > 0 or "critic_state_dict" in checkpoint), f"{name}: {notes!r}"


def same(what, want, got):
    """Every key, type, number and bit."""
    # A model's dict may be an OrderedDict.
    kind = lambda value: dict if isinstance(value, dict) else type(value)
    assert kind(want) is kind(got), f"{what}: {got!r}, not {want!r}"
    if isinstance(want, dict):
        assert list(want) == list(got) or sorted(map(str, want)) == sorted(map(str, got)), f"{what}: {list(got)}, not {list(want)}"
        for key in want:
            same(f"{what}: {key}", want[key], got[key])
    elif isinstance(want, (list, tuple)):
        assert len(want) == len(got), f"{what}: {got!r}, not {want!r}"
        for at, (one, other) in enumerate(zip(want, got)):
            same(f"{what}[{at}]", one, other)
    elif torch.is_tensor(want):
        bits = lambda tensor: tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        agree = want.dtype == got.dtype and want.shape == got.shape and torch.equal(bits(want), bits(got))
        assert agree, f"{what}: {got!r}, not {want!r}"
    else:
        assert want == got, f"{what}: {got!r}, not {want!r}"


def goes_on():
    """A model with buffers, broken off and resumed from the file, by torch's own load_state_dict."""
    whole, resumed = Run().steps(), Run()
    with tempfile.TemporaryDirectory() as folder:
        _, back, *_ = converted(pathlib.Path(folder), {
            "model_state_dict": whole.model(), "optimizer_state_dict": whole.optimizer()}, [])
    resumed.net.load_state_dict(back["model"])
    resumed.adam.load_state_dict(back["optimizer"])
    for run in [whole, resumed]:
        run.steps(4, 5)
    same("resumed: model", dict(whole.model()), dict(resumed.model()))
    same("resumed: state", whole.optimizer()["state"], resumed.optimizer()["state"])


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
    """By hand: state of these shapes, None where there is none; `groups` are their sizes."""
    sizes, ids = groups or [len(shapes)], iter(range(len(shapes)))
    return {"state": {id: entry(*shape) for id, shape in enumerate(shapes) if shape is not None},
            "param_groups": [{"lr": 0.1, **options, "params": [next(ids) for _ in range(size)]} for size in sizes]}


def model(**shapes):
    return {name.replace("_", "."): torch.zeros(shape) for name, shape in shapes.items()}


def refusals():
    """Name, what is saved, arguments, and what the message has to say."""
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


def refused(name, call, texts):
    """The message is one line, and no file is left."""
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
    """Cut, of another kind, missing, and none of the two ways."""
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
        for wrong in [["--names", "[]"], ["--model", "a"], ["--optimizer", "a"], ["--trust"]]:
            refused(wrong[0], lambda: torch_checkpoint.main([path("whole.safetensors"), path("to.pt"), *wrong]),
                    [f"{wrong[0]} is for the way from torch's form"])
        with contextlib.redirect_stderr(io.StringIO()):
            same("the older format", torch_file.load(path("whole.pt")), torch_file.load(path("old.pt"), trust=bool(before_1_6)))


def code_in_files():
    """It is not run, with torch's own means or with ours; with --trust it is, and that is said first."""
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
    """One that cannot load tensors only says so before it loads, and makes the same of the file."""
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
    count = 0
    for form in forms():
        try:
            there_and_back(*form)
        except SystemExit as exit:
            raise AssertionError(f"{form[0]}: {exit}")
        count += 1
    goes_on()
    print(f"{count} forms of checkpoints: there and back, the same bits")
    refuses()
    files_that_are_none()
    print(f"{len(list(refusals()))} refusals: each with its message")
    code_in_files()
    old_torch()
    print("code in files: not run")


if __name__ == "__main__":
    run()
