//! Every golden case as a test body, in both placements.

use anyhow::{Context, Result, bail, ensure};

use crate::{
    Body,
    adapter::Gpu,
    body,
    golden::{
        Case,
        continuation::{Folder, continue_run},
    },
    judge::judge,
    replay::{FoundInf, Placement, replay, replay_with},
};

/// Replays a case and judges the results.
pub async fn golden_case(gpu: &Gpu, name: &str, placement: Placement) -> Result<()> {
    let case = load(name)?;
    let results = replay(gpu, &case, placement).await?;
    judge(&case, &results, gpu.keeps_denormals().await?)?.into_result()
}

/// torch's fused steps, where a buffer says which ones to skip.
async fn told_found_inf(gpu: &Gpu) -> Result<()> {
    for name in ["fused_grad_scale", "fused_grad_scale_adamw"] {
        let case = load(name)?;
        let results = replay_with(gpu, &case, Placement::Arena, FoundInf::Told).await?;
        judge(&case, &results, gpu.keeps_denormals().await?)?.into_result().context(name)?;
    }
    Ok(())
}

/// The places of tensors change how they are batched, but no result.
async fn placements_agree(gpu: &Gpu) -> Result<()> {
    let case = load("many_tensors")?;
    let arena = replay(gpu, &case, Placement::Arena).await?;
    let own = replay(gpu, &case, Placement::OwnBuffers).await?;
    ensure!(!arena.is_empty() && arena.len() == own.len(), "{} and {} checkpoints", arena.len(), own.len());
    for (arena, own) in arena.iter().zip(&own) {
        ensure!(arena.groups == own.groups && arena.params.len() == own.params.len(), "{}: other groups", own.name);
        for (arena, own_buffers) in arena.params.iter().zip(&own.params) {
            let place = format!("{} {}", own.name, arena.id);
            ensure!((&arena.id, arena.step) == (&own_buffers.id, own_buffers.step), "{place}: other steps");
            ensure!(arena.values.keys().eq(own_buffers.values.keys()), "{place}: other tensors");
            for ((key, a), b) in arena.values.iter().zip(own_buffers.values.values()) {
                ensure!(a.len() == b.len(), "{place} {key}: {} and {} elements", a.len(), b.len());
                if let Some(i) = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits()) {
                    bail!("{place} {key} [{i}]: {:e} in an arena, {:e} in a buffer of its own", a[i], b[i]);
                }
            }
        }
    }
    Ok(())
}

async fn continued(gpu: &Gpu, folder: Folder<'_>) -> Result<()> {
    continue_run(gpu, &folder).await.map(drop)
}

macro_rules! folder {
    ($name:literal) => {
        Folder {
            manifest: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/", $name, "/manifest.json")),
            checkpoint: include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../golden/",
                $name,
                "/model_optimizer.safetensors"
            )),
            continuation: include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../golden/",
                $name,
                "/continuation.safetensors"
            )),
        }
    };
}

macro_rules! golden_cases {
    ($($name:literal)*) => {
        pub(crate) const BODIES: &[(&str, Body)] = &[
            $(
                body!(concat!("golden/", $name, "/arena"), gpu => golden_case(gpu, $name, Placement::Arena)),
                body!(concat!("golden/", $name, "/own-buffers"), gpu => golden_case(gpu, $name, Placement::OwnBuffers)),
            )*
            body!("golden/placements-agree", gpu => placements_agree(gpu)),
            body!("golden/found_inf from outside", gpu => told_found_inf(gpu)),
            body!("golden/checkpoint", gpu => continued(gpu, folder!("checkpoint"))),
            body!("golden/torch1.11/checkpoint", gpu => continued(gpu, folder!("torch1.11/checkpoint"))),
        ];

        /// Every name in the table.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];

        /// A page has no files: the cases are part of the program there.
        #[cfg(target_family = "wasm")]
        fn load(name: &str) -> Result<Case> {
            match name {
                $(
                    $name => Case::parse(
                        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/", $name, ".json")),
                        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/", $name, ".safetensors")).to_vec(),
                    ),
                )*
                _ => bail!("there is no case {name}"),
            }
        }
    };
}

golden_cases! {
    "defaults" "weight_decay" "amsgrad" "maximize" "maximize_weight_decay_amsgrad" "adamw" "decoupled_amsgrad_maximize"
    "betas_grid" "eps_grid" "param_groups" "missing_grads" "lr_schedule" "hyper_change" "add_param_group" "reload"
    "resume_high_step" "step_saturation" "magnitudes" "sparse_rows" "zero_grads" "empty_and_scalar" "long_run" "large"
    "denormal" "nonfinite" "eps_zero_division" "fused_grad_scale" "fused_grad_scale_adamw" "very_long_run"
    "many_tensors" "torch1.11/nonfinite" "torch1.11/reload" "control/clip_one_tensor" "control/clip_300_tensors"
    "control/clip_infinity" "control/clip_large_norms" "control/clip_small_norms" "control/clip_norms_of_1e20"
    "control/clip_tiny_norms"
}

#[cfg(not(target_family = "wasm"))]
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden");

#[cfg(not(target_family = "wasm"))]
fn load(name: &str) -> Result<Case> {
    Case::load(FOLDER, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::names;

    #[test]
    fn the_table_has_every_case_of_the_folder() {
        // The cases named "checkpoint" are folders in another format, and have separate bodies.
        let mut all = names(FOLDER).unwrap();
        for folder in ["torch1.11", "control"] {
            let names = names(format!("{FOLDER}/{folder}")).unwrap();
            all.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
        }
        let (folders, all): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| name.ends_with("checkpoint"));
        assert_eq!(folders, ["checkpoint", "torch1.11/checkpoint"]);
        assert_eq!(all, NAMES);
    }
}
