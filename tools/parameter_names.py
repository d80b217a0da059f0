"""Finds the entries of a model's state that are an optimizer's parameters. The optimizer only has their numbers.

An optimizer of model.parameters() has them in the model's order, but a model's state also has buffers and parameters that are
not trained. The shapes of the optimizer's state decide. If they leave a choice, the caller has to give names.
"""

from torch_file import fail

# The buffers of torch's BatchNorm and InstanceNorm. They have the shapes of the parameters.
BUFFERS = {"running_mean", "running_var", "num_batches_tracked"}
# The number of choices that an error lists.
LISTED = 6
REMEDY = "give the parameters' names in the optimizer's order with --names"


def find(shapes, groups, model):
    """The name of each parameter. `shapes` are the shapes of their state by packed id, None for those without state."""
    entries = list(model.items()) if len(model) == len(shapes) else candidates(model)
    choices = in_order(shapes, entries) if groups == 1 else in_any_order(shapes, entries)
    uncertain = [id for id, found in enumerate(choices) if len(found) > 1]
    if uncertain:
        id, more = uncertain[0], len(uncertain) - 1
        may_be = [f'"{entries[at][0]}"' for at in choices[id]]
        listed = may_be if len(may_be) <= LISTED else [*may_be[:LISTED - 1], f"{len(may_be) - LISTED + 1} others"]
        others = f", and {more} more are as uncertain" if more else ""
        fail(f"{parameter(id, shapes)} may be {', '.join(listed[:-1])} or {listed[-1]}{others}: {REMEDY}")
    return [entries[found[0]][0] for found in choices]


def check(names, shapes, model):
    """Checks names from another source against the model's entries of these names."""
    for id, (name, shape) in enumerate(zip(names, shapes)):
        if name in model and not fits(shape, model[name]):
            fail(f'{parameter(id, shapes)} is called "{name}", which has shape {list(model[name].shape)} in the model: {REMEDY}')


def candidates(model):
    """Entries that may be parameters: no integers, no buffers of torch's layers, and only the first of tied weights."""
    found, seen = [], set()
    for name, tensor in model.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        tied = tensor.numel() > 0 and place in seen
        if tensor.is_floating_point() and name.rpartition(".")[2] not in BUFFERS and not tied:
            found.append((name, tensor))
        seen.add(place)
    return found


def in_order(shapes, entries):
    """For each parameter its possible entries, if parameters are in the order of the entries.

    A forward pass finds the first place of each parameter after the earlier ones, a backward pass the last place before the
    later ones. Every place in between with the right shape is possible, because the other parameters then fit too.
    """
    first, at = [], 0
    for id, shape in enumerate(shapes):
        fit = next((place for place in range(at, len(entries)) if fits(shape, entries[place][1])), None)
        if fit is None:
            nothing_fits(id, shapes, entries, at)
        first.append(fit)
        at = fit + 1
    last, end = [], len(entries)
    for shape in reversed(shapes):
        end = next(place for place in reversed(range(end)) if fits(shape, entries[place][1]))
        last.append(end)
    between = zip(shapes, first, reversed(last))
    return [[place for place in range(one, other + 1) if fits(shape, entries[place][1])] for shape, one, other in between]


def in_any_order(shapes, entries):
    """The same for several groups, by shape alone, because people sort parameters into groups in many ways."""
    choices = [[place for place, (_, tensor) in enumerate(entries) if fits(shape, tensor)] for shape in shapes]
    sure = [found[0] for found in choices if len(found) == 1]
    for id, found in enumerate(choices):
        if len(found) > 1:
            choices[id] = [place for place in found if place not in sure]
        elif not found or sure.count(found[0]) > 1:
            nothing_fits(id, shapes, entries)
    return choices


def nothing_fits(id, shapes, entries, at=None):
    """Fails with the difference. In the model's order, it names the first entry that the parameter could be."""
    remedy = f"choose another model of the file with --model, or {REMEDY}"
    if len(entries) < len(shapes):
        fail(f"the optimizer has {len(shapes)} parameters, and the model {len(entries)} entries that may be theirs: {remedy}")
    if at is None or at == len(entries):
        fail(f"{parameter(id, shapes)} fits no entry of the model that is left for it: {remedy}")
    name, tensor = entries[at]
    fail(f'{parameter(id, shapes)} fits no entry of the model from "{name}" of shape {list(tensor.shape)} on: {remedy}')


def fits(shape, tensor):
    return shape is None or shape == tuple(tensor.shape)


def parameter(id, shapes):
    return f"parameter {id}, " + ("which has no state yet," if shapes[id] is None else f"with state of shape {list(shapes[id])},")
