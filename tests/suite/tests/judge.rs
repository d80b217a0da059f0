//! Tests the judge itself: it accepts torch's float32 results, and rejects each kind of wrong result. No GPU.

use std::collections::BTreeMap;

use wgpu_adam::AdamConfig;
use wgpu_adam_suite::{
    golden::{Case, Key, Run, names},
    judge::{Verdict, judge},
    plain::{Flushed, Plain, run},
    replay::{Checkpoint, Group, Outcome},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden");

fn load(name: &str) -> Case {
    Case::load(FOLDER, name).unwrap()
}

/// torch's results as a replay would return them.
fn torch_results(case: &Case, run: Run) -> Vec<Checkpoint> {
    let names = case.packed_names();
    let checkpoint = |expected: &wgpu_adam_suite::golden::Expected| {
        let values = |id: &str, key| {
            let spec = case.param(id).unwrap();
            let stored = case.result(run, &expected.name, id, key).unwrap().into_iter().map(|x| x as f32);
            let indices = case.sample_indices(id).unwrap();
            let indices = indices.unwrap_or_else(|| (0..spec.elements()).collect());
            let mut full = vec![0.0; spec.elements()];
            indices.into_iter().zip(stored).for_each(|(i, value)| full[i] = value);
            full
        };
        let outcome = |(id, step): (&String, &Option<u64>)| {
            let keys = Key::ALL.into_iter().filter(|&key| case.has_result(&expected.name, id, key));
            let values: BTreeMap<Key, Vec<f32>> = keys.map(|key| (key, values(id, key))).collect();
            Outcome { id: id.clone(), step: step.unwrap_or(0), values }
        };
        let groups = expected.param_groups.iter().map(|group| Group {
            config: group.options.over(&AdamConfig::default()),
            params: group.params.iter().map(|&packed| names[packed].to_owned()).collect(),
        });
        Checkpoint {
            name: expected.name.clone(),
            groups: groups.collect(),
            params: expected.steps.iter().map(outcome).collect(),
        }
    };
    case.checkpoints().map(checkpoint).collect()
}

fn judged(case: &Case, change: impl FnOnce(&mut Vec<Checkpoint>)) -> Verdict {
    let mut results = torch_results(case, Run::F32);
    change(&mut results);
    judge(case, &results, true).unwrap()
}

/// torch itself fails the limit of the very long run; the float64 reference rounded to float32 passes.
#[test]
fn torch_passes_its_own_cases() {
    let mut all = names(FOLDER).unwrap();
    all.extend(names(format!("{FOLDER}/control")).unwrap().iter().map(|name| format!("control/{name}")));
    for name in all.iter().filter(|name| *name != "checkpoint") {
        let case = load(name);
        let run = if name == "very_long_run" { Run::F64 } else { Run::F32 };
        let verdict = judge(&case, &torch_results(&case, run), true).unwrap();
        assert!(verdict.passed(), "{name}: {:?}", verdict.failures);
    }
    assert!(!judged(&load("very_long_run"), |_| ()).passed());
}

/// The tensor of one key at the last checkpoint.
fn tensor<'a>(results: &'a mut [Checkpoint], id: &str, key: Key) -> &'a mut Vec<f32> {
    let params = &mut results.last_mut().unwrap().params;
    params.iter_mut().find(|outcome| outcome.id == id).unwrap().values.get_mut(&key).unwrap()
}

#[test]
fn wrong_values_are_rejected() {
    for key in [Key::Param, Key::ExpAvg, Key::ExpAvgSq] {
        let case = load("defaults");
        let large = case.params().iter().find(|spec| spec.elements() >= 32).unwrap().id.clone();
        let change_one = |new: fn(f32) -> f32| {
            judged(&case, |results| {
                let value = &mut tensor(results, &large, key)[5];
                *value = new(*value);
            })
        };
        assert_eq!(change_one(|_| f32::NAN).failed, 1);
        // One wrong element barely changes the norm, but exceeds its own limit.
        let verdict = change_one(|x| x * 1.001);
        assert!(!verdict.passed());
        assert!(verdict.failures[0].contains("[5]") || verdict.failures.len() > 1, "{:?}", verdict.failures);
        // The norm catches errors in all elements that are below each element's limit.
        let all = judged(&case, |results| tensor(results, &large, key).iter_mut().for_each(|x| *x *= 1.0 + 3e-7));
        assert!(!all.passed());
    }
}

#[test]
fn missing_and_miscounted_results_are_rejected() {
    let case = load("amsgrad");
    assert!(judged(&case, |_| ()).passed());
    assert!(!judged(&case, |results| results[0].params[1].step += 1).passed());
    assert!(!judged(&case, |results| drop(results[0].params.pop())).passed());
    assert!(!judged(&case, |results| drop(results[0].params[0].values.remove(&Key::MaxExpAvgSq))).passed());
    assert!(!judged(&case, |results| results[1].groups[0].config.eps *= 1.0 + f64::EPSILON).passed());
    assert!(!judged(&case, |results| results[1].groups[0].params.swap(0, 1)).passed());
    assert!(!judged(&case, |results| drop(results[1].groups.pop())).passed());
    let mut fewer = torch_results(&case, Run::F32);
    fewer.pop();
    assert!(judge(&case, &fewer, true).is_err());
}

#[test]
fn the_pattern_of_finite_parameters_counts() {
    let case = load("nonfinite");
    assert!(judged(&case, |_| ()).passed());
    let last = case.checkpoints().last().unwrap();
    let values = case.result(Run::F32, &last.name, "p0", Key::Param).unwrap();
    let finite = values.iter().position(|x| x.is_finite()).unwrap();
    let not = values.iter().position(|x| !x.is_finite()).unwrap();
    assert_eq!(judged(&case, |results| tensor(results, "p0", Key::Param)[finite] = f32::INFINITY).failed, 1);
    assert_eq!(judged(&case, |results| tensor(results, "p0", Key::Param)[not] = 1.0).failed, 1);
    // Versions of torch differ in these moments.
    assert!(judged(&case, |results| tensor(results, "p0", Key::ExpAvg)[finite] = f32::NAN).passed());
}

#[test]
fn wide_range_is_judged_by_torch() {
    let case = load("magnitudes");
    let off =
        |factor: f32| judged(&case, |results| tensor(results, "p1", Key::ExpAvg).iter_mut().for_each(|x| *x *= factor));
    assert!(off(1.0 + 5e-6).passed());
    assert!(!off(1.0 + 5e-5).passed());
}

#[test]
fn small_elements_have_bars_of_their_own() {
    let case = load("magnitudes");
    let last = case.checkpoints().last().unwrap();
    let values = case.result(Run::F32, &last.name, "p0", Key::Param).unwrap();
    let initial = case.initial("p0").unwrap();
    // A value as small as the learning rate, in a tensor with values a million times larger.
    let small = (0..values.len()).find(|&i| values[i].abs() < 1.0 && initial[i].abs() < 1.0).unwrap();
    assert!(values.iter().any(|x| x.abs() > 1e4));
    assert_eq!(judged(&case, |results| tensor(results, "p0", Key::Param)[small] += 1e-3).failed, 1);
}

#[test]
fn denormals_are_flushed_by_adapters_that_do_and_by_no_others() {
    let case = load("denormal");
    let flushed = run::<Flushed>(&case).unwrap();
    let kept = torch_results(&case, Run::F32);
    let replaced = |factor: f64| {
        let mut results = kept.clone();
        for (checkpoint, flushed) in results.iter_mut().zip(&flushed) {
            for outcome in &mut checkpoint.params {
                for (&key, values) in &mut outcome.values {
                    *values = flushed[&outcome.id].tensor(key).iter().map(|x| (x * factor) as f32).collect();
                }
            }
        }
        results
    };
    let passes = |results: &[Checkpoint], keeps| judge(&case, results, keeps).unwrap().passed();
    assert!(passes(&kept, true) && !passes(&kept, false));
    assert!(passes(&replaced(1.0), false) && !passes(&replaced(1.0), true));
    assert!(!passes(&replaced(1.0 + 1e-5), false));
}
