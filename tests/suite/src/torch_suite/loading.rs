//! Loading: what a dict changes, what it does not change, and what it may omit.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, Error, LoadOptions, ParamGroup, StateDict, StateDictError, StateMatching, WgpuAdam};

use super::{
    check, configurations,
    dicts::{NAMES, shapes},
    read_params, same_dicts,
};
use crate::{
    Gpu,
    reference::Reference,
    twin::{Twin, TwinTensor},
};

fn tensors(gpu: &Gpu) -> Vec<TwinTensor> {
    [("a", 70), ("b", 5)].map(|(name, length)| TwinTensor::alone(gpu, name, length)).into()
}

/// A twin after three steps.
fn stepped(gpu: &Gpu, config: AdamConfig) -> Result<Twin<'_>> {
    let mut twin = Twin::new(gpu, tensors(gpu), config)?;
    for _ in 0..3 {
        twin.step()?;
    }
    Ok(twin)
}

/// Options that a dict lacks become false, whatever the constructor set.
pub async fn older_versions(gpu: &Gpu) -> Result<()> {
    let all_on = AdamConfig { amsgrad: true, maximize: true, lr: 0.5, ..AdamConfig::adamw() };
    let config = AdamConfig { weight_decay: 0.1, lr: 0.01, ..Default::default() };
    let mut twin = stepped(gpu, config)?;
    let whole = twin.adam.state_dict().await?;
    for missing in 1..8_u32 {
        let mut dict = whole.clone();
        let group = &mut dict.param_groups[0];
        for (bit, option) in
            [&mut group.amsgrad, &mut group.maximize, &mut group.decoupled_weight_decay].into_iter().enumerate()
        {
            if missing >> bit & 1 == 1 {
                *option = None;
            }
        }
        let params: Vec<_> = twin.tensors.iter().map(TwinTensor::as_param).collect();
        twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, all_on)?;
        twin.adam.load_state_dict(&dict).await?;
        let loaded = *twin.adam.param_groups()[0].config();
        ensure!(loaded == config, "without options {missing:#b}: {loaded:?} instead of {config:?}");
        same_dicts("what is missing is saved again", &twin.adam.state_dict().await?, &whole)?;
    }
    twin.step()?;
    check(&twin, "the step after loading", config.lr).await
}

/// If either side has names, the optimizer has them afterwards. If both have different names, the optimizer keeps its
/// own.
pub async fn names(gpu: &Gpu) -> Result<()> {
    let others = ["u", "v", "w", "x", "y", "z"];
    for (saved, current, want) in [
        (None, None, None),
        (Some(NAMES), None, Some(NAMES)),
        (None, Some(NAMES), Some(NAMES)),
        (Some(NAMES), Some(NAMES), Some(NAMES)),
        // By position, on request. torch would take the dict's names.
        (Some(NAMES), Some(others), Some(others)),
    ] {
        let case = format!("saved {saved:?}, current {current:?}");
        let mut adam = shapes(gpu, saved)?;
        adam.step()?;
        let mut loaded = shapes(gpu, current)?;
        let ids: Vec<_> = loaded.param_groups().iter().flat_map(|group| group.params().to_vec()).collect();
        let dict = adam.state_dict().await?;
        if want == Some(others) {
            let refused = loaded.load_state_dict(&dict).await;
            ensure!(matches!(refused, Err(Error::StateDict(StateDictError::Names { .. }))), "{case}: {refused:?}");
            loaded.load_state_dict_with(&dict, &LoadOptions::new().matching(StateMatching::ByPosition)).await?;
        } else {
            loaded.load_state_dict(&dict).await?;
        }
        for (number, id) in ids.into_iter().enumerate() {
            let (name, want) = (loaded.param(id)?.name, want.map(|names| names[number]));
            ensure!(name == want, "{case}: parameter {number} is called {name:?} instead of {want:?}");
            ensure!(want.is_none_or(|name| loaded.find(name) == Some(id)), "{case}: {want:?} is not found");
        }
        // Whether loaded or kept, the names are saved and loaded again.
        let again = loaded.state_dict().await?;
        ensure!(again.state == dict.state, "{case}: the state has changed");
        loaded.load_state_dict(&again).await?;
        same_dicts(&case, &loaded.state_dict().await?, &again)?;
    }
    Ok(())
}

/// Our own rule: the same names in another order match by name. torch would give each parameter the state of another.
pub async fn by_name(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        let mut twin = stepped(gpu, config)?;
        let dict = twin.adam.state_dict().await?;
        let params: Vec<_> = twin.tensors.iter().rev().map(TwinTensor::as_param).collect();
        twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, config)?;
        twin.adam.load_state_dict(&dict).await?;
        let swapped = twin.adam.state_dict().await?;
        ensure!(swapped.state[&0] == dict.state[&1] && swapped.state[&1] == dict.state[&0], "{case}: not by name");
        check(&twin, &format!("{case}: loaded"), config.lr).await?;
        twin.step()?;
        check(&twin, &format!("{case}: stepped"), config.lr).await?;
        // If only some names match, this is more likely a mistake than intended.
        let mut partly = dict.clone();
        partly.param_groups[0].param_names = Some(vec!["a".into(), "c".into()]);
        let (only_saved, only_current) = (vec!["c".into()], vec!["b".into()]);
        let result = twin.adam.load_state_dict(&partly).await;
        ensure!(
            result == Err(Error::StateDict(StateDictError::Names { only_saved, only_current })),
            "{case}: {result:?}"
        );
        twin.step()?;
        check(&twin, &format!("{case}: after the error"), config.lr).await?;
    }
    Ok(())
}

/// Saved options replace the constructor's, except as defaults for groups added later.
pub async fn saved_options(gpu: &Gpu) -> Result<()> {
    let made =
        AdamConfig { lr: 0.5, betas: (0.5, 0.5), eps: 0.1, amsgrad: true, maximize: true, ..AdamConfig::adamw() };
    for (case, config) in configurations() {
        let saved = AdamConfig { betas: (0.8, 0.95), eps: 1e-7, ..config };
        let mut twin = stepped(gpu, saved)?;
        let dict = twin.adam.state_dict().await?;
        let params: Vec<_> = twin.tensors.iter().map(TwinTensor::as_param).collect();
        twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, made)?;
        twin.adam.load_state_dict(&dict).await?;
        let loaded = twin.adam.param_groups()[0].config();
        ensure!(*loaded == saved, "{case}: {loaded:?} instead of {saved:?}");
        let added = TwinTensor::alone(gpu, "late", 9);
        let number = twin.adam.add_param_group(ParamGroup::new([added.as_param()]))?;
        twin.tensors.push(added);
        let added = twin.adam.param_groups()[number].config();
        ensure!(*added == made, "{case}: a group added later has {added:?} instead of {made:?}");
        twin.step()?;
        twin.step()?;
        check(&twin, &case, made.lr).await?;
    }
    Ok(())
}

/// Loading replaces the whole state: a parameter without an entry starts again.
pub async fn without_state(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        for kept in [vec![0], vec![1], vec![]] {
            let case = format!("{case}, entries {kept:?}");
            let mut twin = stepped(gpu, config)?;
            let StateDict { mut state, param_groups, .. } = twin.adam.state_dict().await?;
            state.retain(|id, _| kept.contains(id));
            let dict = StateDict { state, param_groups, ..Default::default() };
            twin.adam.load_state_dict(&dict).await?;
            same_dicts(&case, &twin.adam.state_dict().await?, &dict)?;
            let params = read_params(&twin).await?;
            for (id, (tensor, param)) in (0..).zip(twin.tensors.iter_mut().zip(params)) {
                if !kept.contains(&id) {
                    tensor.reference = Reference::new(&param);
                }
            }
            twin.step()?;
            twin.step()?;
            check(&twin, &case, config.lr).await?;
        }
    }
    Ok(())
}
