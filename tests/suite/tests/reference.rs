//! The suite's float64 Adam compared with torch's float64 runs. No GPU.

use std::collections::BTreeSet;

use wgpu_adam_suite::{
    golden::{Case, Key, Run, Tag, names},
    plain::{Plain, run},
    reference::Reference,
    stats::error_stats,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden");

/// The worst `norm_rel` of a case against torch's float64.
fn worst(case: &Case) -> f64 {
    let mut worst: f64 = 0.0;
    for (expected, params) in case.checkpoints().zip(run::<Reference>(case).unwrap()) {
        for (id, steps) in &expected.steps {
            let ours = &params[id];
            assert_eq!(ours.step_count(), steps.unwrap_or(0), "{} {} {id}", case.name(), expected.name);
            for key in Key::ALL.into_iter().filter(|&key| case.has_result(&expected.name, id, key)) {
                let got = case.sample(id, &ours.tensor(key)).unwrap().into_owned();
                worst = worst.max(norm_rel(&got, &case.result(Run::F64, &expected.name, id, key).unwrap()));
            }
        }
    }
    worst
}

/// In float64 on both sides; elements must be finite on both sides or on neither.
fn norm_rel(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let biggest = want.iter().filter(|x| x.is_finite()).fold(0.0, |biggest: f64, x| biggest.max(x.abs()));
    let (mut error, mut size) = (0.0, 0.0);
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got.is_finite(), want.is_finite(), "{got} and {want}");
        if want.is_finite() && biggest > 0.0 {
            error += ((got - want) / biggest).powi(2);
            size += (want / biggest).powi(2);
        }
    }
    if size > 0.0 { (error / size).sqrt() } else { error }
}

#[test]
fn the_reference_is_torch_in_float64() {
    let mut replayed = BTreeSet::new();
    let mut all = names(FOLDER).unwrap();
    all.extend(names(format!("{FOLDER}/control")).unwrap().iter().map(|name| format!("control/{name}")));
    for name in all.iter().filter(|name| *name != "checkpoint") {
        let case = Case::load(FOLDER, name).unwrap();
        // torch's step count stops at 2^24; the reference's continues.
        if case.tag() == Tag::StepSaturation {
            continue;
        }
        let worst = worst(&case);
        assert!(worst < 1e-12, "{name}: {worst:e}");
        replayed.insert(name.clone());
    }
    assert!(replayed.len() >= 20, "only {replayed:?}");
}

/// The suite's statistics equal those in the manifests, which a Python program computed.
#[test]
fn errors_of_torch_come_out_as_recorded() {
    let close = |ours: f64, recorded: f64| (ours - recorded).abs() <= 6e-4 * recorded;
    let mut compared = 0;
    for name in names(FOLDER).unwrap().iter().filter(|name| *name != "checkpoint") {
        let case = Case::load(FOLDER, name).unwrap();
        for expected in case.checkpoints() {
            for spec in case.params().iter().filter(|spec| !spec.sampled && expected.steps.contains_key(&spec.id)) {
                for key in Key::ALL.into_iter().filter(|&key| case.has_result(&expected.name, &spec.id, key)) {
                    let result = |run| case.result(run, &expected.name, &spec.id, key).unwrap();
                    let torch: Vec<f32> = result(Run::F32).into_iter().map(|x| x as f32).collect();
                    let stats = error_stats(&torch, &result(Run::F64)).unwrap_or_default();
                    let recorded = expected.torch_error(&spec.id, key);
                    let fits = close(stats.norm_rel, recorded.norm_rel) && close(stats.max_abs, recorded.max_abs);
                    assert!(fits, "{name} {} {} {key}: {stats:?} and {recorded:?}", expected.name, spec.id);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1000, "only {compared} tensors");
}
