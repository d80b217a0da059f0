"""Files that torch_checkpoint.py accepts, made by the installed torch, in the forms that people save.

Each is converted and converted back, and must have the same bits: state, options, model, the GradScaler's numbers. A run
continued from it must follow the uninterrupted run.
"""

import contextlib
import io
import json
import pathlib
import tempfile

import torch

import safetensors_file
import torch_checkpoint
import torch_file

SCALER = {"scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 7}
# A float32 number that no short decimal equals.
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
    """One weight under two names, like a language model's embedding and head."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.first(x))


class Wrapped(torch.nn.Module):
    """A model inside another, as wrappers do, which give it a name of their own."""

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
        # Each parameter once, in the order of the groups.
        called = {id(param): name for name, param in self.net.named_parameters()}
        return [called[id(param)] for group in self.adam.param_groups for param in group["params"]]


def by_shape(net):
    """Two groups in which each shape occurs once."""
    params = dict(net.named_parameters())
    return [{"params": [params["gain"], params["head.weight"]], "lr": 0.01}, {"params": [params["conv.weight"]]}]


def frozen(net):
    """All parameters except those of the convolution, BatchNorm and one other."""
    return [net.gain, net.head.weight, net.head.bias]


def forms():
    """Name, run, saved content, arguments, and the prefix that is removed from the names."""
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
    """The form in which torch since 2.6 saves an optimizer of named_parameters()."""
    saved, names = run.optimizer(), iter(run.names())
    for group in saved["param_groups"]:
        group["param_names"] = [next(names) for _ in group["params"]]
    return {"model": run.model(), "optimizer": saved}


def with_tensors(saved):
    """Options of every possible type, as later versions of torch accept them."""
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
    """The file's tensors and metadata, the file converted back, the same with --bare, and the notes."""
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
    """Checks that every key, type, number and bit is equal."""
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
    """A run of a model with buffers, interrupted and resumed from the file by torch's own load_state_dict."""
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


if __name__ == "__main__":
    run()
