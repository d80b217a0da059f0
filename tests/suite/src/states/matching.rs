//! Which entry of a state dict goes to which parameter.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, LoadOptions, Param, ParamGroup, StateMatching, TensorArena, WgpuAdam};

use crate::{Gpu, golden::Key, readback::read_state, twin::same_bits, values::values};

/// The names of the saved parameters, the names of the optimizer's, and for each of the latter the saved name that its
/// state comes from; or a part of the error.
type Case = (&'static str, &'static [&'static str], &'static [&'static str], StateMatching, Want);

enum Want {
    State(&'static [Option<usize>]),
    Refused(&'static str),
}

const STRICT: StateMatching = StateMatching::Strict;
const BY_POSITION: StateMatching = StateMatching::ByPosition;
const PARTIAL: StateMatching = StateMatching::Partial;

const CASES: [Case; 16] = [
    ("the same names", &["a", "b"], &["a", "b"], STRICT, Want::State(&[Some(0), Some(1)])),
    ("in another order", &["b", "a"], &["a", "b"], STRICT, Want::State(&[Some(1), Some(0)])),
    ("a prefix in the dict", &["module.b", "module.a"], &["a", "b"], STRICT, Want::State(&[Some(1), Some(0)])),
    (
        "a prefix in the optimizer",
        &["b", "a"],
        &["_orig_mod.a", "_orig_mod.b"],
        STRICT,
        Want::State(&[Some(1), Some(0)]),
    ),
    (
        "two prefixes in a row",
        &["_orig_mod.module.b", "_orig_mod.module.a"],
        &["a", "b"],
        STRICT,
        Want::State(&[Some(1), Some(0)]),
    ),
    (
        "no name in common",
        &["u", "v"],
        &["a", "b"],
        STRICT,
        Want::Refused(
            "only the state dict has \"u\", \"v\", only the optimizer has \"a\", \"b\"; give parameters the names",
        ),
    ),
    (
        "a prefix that not all have",
        &["module.a", "b"],
        &["a", "b"],
        STRICT,
        Want::Refused("only the state dict has \"module.a\", only the optimizer has \"a\""),
    ),
    ("no prefix: no dot", &["xa", "xb"], &["a", "b"], STRICT, Want::Refused("only the state dict has \"xa\", \"xb\"")),
    (
        "a layer less in the optimizer",
        &["a", "b", "c"],
        &["a", "c"],
        STRICT,
        Want::Refused(
            "only the state dict has \"b\", only the optimizer has none; give parameters the names of the dict, or \
                       load with StateMatching::Partial what both have",
        ),
    ),
    ("no name in common, by position", &["u", "v"], &["a", "b"], BY_POSITION, Want::State(&[Some(0), Some(1)])),
    ("the same names, by position", &["b", "a"], &["a", "b"], BY_POSITION, Want::State(&[Some(0), Some(1)])),
    (
        "another number, by position",
        &["a", "b", "c"],
        &["a", "b"],
        BY_POSITION,
        Want::Refused("group 0 of the state dict has 3 parameters, that of the optimizer 2"),
    ),
    ("a layer more, in part", &["a", "c"], &["a", "b", "c"], PARTIAL, Want::State(&[Some(0), None, Some(1)])),
    ("a layer less, behind a prefix", &["m.a", "m.b", "m.c"], &["c", "a"], PARTIAL, Want::State(&[Some(2), Some(0)])),
    ("a prefix that some have, in part", &["m.a", "n.b"], &["a", "c"], PARTIAL, Want::State(&[None, None])),
    ("nothing in common, in part", &["u", "v"], &["a", "b"], PARTIAL, Want::State(&[None, None])),
];

const LENGTH: usize = 70;

fn adam(gpu: &Gpu, names: &[&str], named: bool) -> Result<(TensorArena, WgpuAdam)> {
    let arena = TensorArena::new(&gpu.device, names.iter().map(|name| (*name, [LENGTH])))?;
    for (number, name) in (1..).zip(names) {
        arena.write_grad(&gpu.queue, name, &values(number, LENGTH as u64))?;
    }
    let params: Vec<Param> =
        arena.params().into_iter().map(|param| if named { param } else { param.unnamed() }).collect();
    let adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, AdamConfig::default())?;
    Ok((arena, adam))
}

pub async fn cases(gpu: &Gpu) -> Result<()> {
    for (case, saved, current, matching, want) in CASES {
        let (_arena, mut old) = adam(gpu, saved, true)?;
        old.step()?;
        let dict = old.state_dict().await?;
        let (_arena, mut new) = adam(gpu, current, true)?;
        for _ in 0..3 {
            new.step()?;
        }
        let before = new.state_dict().await?;
        let loaded = new.load_state_dict_with(&dict, &LoadOptions::new().matching(matching)).await;
        match want {
            Want::State(from) => {
                loaded.with_context(|| case.to_owned())?;
                for (name, from) in current.iter().zip(from) {
                    let id = new.find(name).with_context(|| format!("{case}: no {name}"))?;
                    let state = new.state(id)?;
                    let entry = from.map(|from| &dict.state[&(from as u64)]);
                    ensure!(
                        state.step == entry.map_or(0, |entry| entry.step),
                        "{case}: {name} is at step {}",
                        state.step
                    );
                    let zeros = vec![0.0; LENGTH];
                    let want = entry.map_or(&zeros, |entry| &entry.exp_avg);
                    same_bits(&format!("{case}: {name}"), &read_state(gpu, &state, Key::ExpAvg).await?, want)?;
                }
                new.step()?;
            }
            Want::Refused(text) => {
                let error = loaded.err().with_context(|| format!("{case}: it was accepted"))?.to_string();
                ensure!(error.contains(text), "{case}: '{error}' without '{text}'");
                ensure!(new.state_dict().await? == before, "{case}: the refused dict has changed something");
            }
        }
    }
    // If either side has no names, parameters can only match by position.
    for (saved_named, current_named) in [(false, true), (true, false), (false, false)] {
        let case = format!("names in the dict {saved_named}, in the optimizer {current_named}");
        let (_arena, mut old) = adam(gpu, &["b", "a"], saved_named)?;
        old.step()?;
        let dict = old.state_dict().await?;
        let (_arena, mut new) = adam(gpu, &["a", "b"], current_named)?;
        let partial = new.load_state_dict_with(&dict, &LoadOptions::new().matching(PARTIAL)).await;
        ensure!(partial.is_err_and(|error| error.to_string().contains("needs names on both sides")), "{case}: in part");
        new.load_state_dict(&dict).await?;
        ensure!(new.state_dict().await?.state == dict.state, "{case}");
    }
    names_of_one_group(gpu).await
}

/// Names in only some of the dict's groups are not enough for matching.
async fn names_of_one_group(gpu: &Gpu) -> Result<()> {
    let groups = |arena: &TensorArena| arena.params().into_iter().map(|param| ParamGroup::new([param])).collect();
    let new = |groups: Vec<ParamGroup>| WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default());
    let (old_arena, _) = adam(gpu, &["b", "a"], true)?;
    let mut old = new(groups(&old_arena))?;
    old.step()?;
    let mut dict = old.state_dict().await?;
    for nameless in [0, 1] {
        let names = dict.param_groups[nameless].param_names.take();
        let (arena, _) = adam(gpu, &["a", "b"], true)?;
        let mut new = new(groups(&arena))?;
        let partial = new.load_state_dict_with(&dict, &LoadOptions::new().matching(PARTIAL)).await;
        ensure!(partial.is_err(), "group {nameless} without names, in part");
        new.load_state_dict(&dict).await.with_context(|| format!("group {nameless} without names"))?;
        ensure!(new.state_dict().await?.state == dict.state, "group {nameless} without names");
        dict.param_groups[nameless].param_names = names;
    }
    Ok(())
}
