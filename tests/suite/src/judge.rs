//! The rules for accepting results, and the figures behind them.
//!
//! torch's float32 results have errors of their own, so requiring equality with torch would reject better results.
//! Finite cases are therefore judged by float64, with torch's own error as the yardstick. If float32 itself fails
//! (overflow, squares that underflow), float64 is no guide, and torch's float32 values are the reference.
//!
//! torch keeps denormals. An adapter that keeps them too is compared with torch there. WGSL allows flushing them to
//! zero. An adapter that flushes is judged like a finite case, by a float64 that also flushes: parameters and gradients
//! when they are read, second moments when they are stored. This exception is only for the case `denormal`; every other
//! case has the same rules on every adapter.

use std::{borrow::Cow, fmt};

use anyhow::{Result, bail, ensure};

use crate::{
    golden::{Case, Expected, Key, Run, Tag},
    plain::{Flushed, Plain, run},
    replay::{Checkpoint, Group, Outcome},
    stats::{error_stats, ulp},
};

/// Tensors with fewer elements are judged only element by element: their norm says little, for torch or for us.
pub(crate) const NORM_ELEMENTS: usize = 32;
/// Half an ULP of 1: an error that a float32 result may have even if torch's happens to be exact.
pub(crate) const ROUNDING: f64 = 1.0 / (1 << 24) as f64;
/// How many times torch's `norm_rel` is allowed for a parameter and for a moment.
pub(crate) const NORM_FACTOR_PARAM: f64 = 1.5;
pub(crate) const NORM_FACTOR_MOMENT: f64 = 2.0;
/// In the very long run a parameter must be this much better than torch, whose second moment drifts.
const LONG_RUN_FACTOR: f64 = 0.6;
const LONG_RUN_STEPS: u64 = 1000;
/// How many times torch's `max_abs` is allowed for an element, and how many ULPs are always allowed.
pub(crate) const ELEMENT_FACTOR: f64 = 4.0;
pub(crate) const ELEMENT_ULPS: f64 = 2.0;
/// The relative distance that an element may have from torch's float32 value when that is the reference.
const TORCH_RELATIVE: f64 = 1e-5;
/// How many failures are printed.
const SHOWN: usize = 6;

/// The outcome of one case.
#[derive(Debug, Default)]
pub struct Verdict {
    pub figures: Figures,
    /// The first failures, as text.
    pub failures: Vec<String>,
    pub failed: usize,
}

impl Verdict {
    pub fn passed(&self) -> bool {
        self.failed == 0
    }

    /// An error with the failures, if there are any.
    pub fn into_result(self) -> Result<()> {
        if !self.passed() {
            bail!("{} failures ({})\n  {}", self.failed, self.figures, self.failures.join("\n  "));
        }
        Ok(())
    }

    fn fail(&mut self, failure: impl FnOnce() -> String) {
        self.failed += 1;
        if self.failures.len() < SHOWN {
            self.failures.push(failure());
        }
    }
}

/// The worst values of a case.
#[derive(Debug, Default)]
pub struct Figures {
    /// `norm_rel` against float64, ours and torch's, where their ratio is the worst.
    pub param: Option<(f64, f64)>,
    pub moment: Option<(f64, f64)>,
    /// The largest used share of an allowed norm and of an allowed difference.
    pub norm_share: f64,
    pub element_share: f64,
    /// The element farthest from torch's float32 value: its place, the distance in ULPs, the absolute distance.
    pub from_torch: Option<(String, f64, f64)>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let norms = [("param", self.param), ("moments", self.moment)];
        for (name, (ours, torch)) in norms.iter().filter_map(|(name, norm)| norm.map(|norm| (name, norm))) {
            write!(f, "{name} off f64 by {ours:.1e} (torch {torch:.1e}), ")?;
        }
        if let Some((place, ulps, difference)) = &self.from_torch {
            write!(f, "off torch f32 by at most {ulps:.1} ULP = {difference:.1e} ({place}), ")?;
        }
        write!(f, "of the bars used: norm {:.2}, element {:.2}", self.norm_share, self.element_share)
    }
}

/// One tensor at one checkpoint.
struct Subject<'a> {
    checkpoint: &'a str,
    id: &'a str,
    key: Key,
    got: &'a [f32],
    /// The reference instead of torch's, for an adapter without denormals.
    flushed: Option<&'a [f64]>,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.checkpoint, self.id, self.key)
    }
}

/// Judges all checkpoints of a replay, on an adapter that keeps denormals or flushes them.
pub fn judge(case: &Case, checkpoints: &[Checkpoint], keeps_denormals: bool) -> Result<Verdict> {
    ensure!(case.checkpoints().count() == checkpoints.len(), "{} has other checkpoints", case.name());
    let mut verdict = Verdict::default();
    let flushes = case.tag() == Tag::Denormal && !keeps_denormals;
    let flushed = if flushes { run::<Flushed>(case)? } else { Vec::new() };
    for (index, (expected, ours)) in case.checkpoints().zip(checkpoints).enumerate() {
        ensure!(expected.name == ours.name, "checkpoint {} instead of {}", ours.name, expected.name);
        judge_groups(&mut verdict, case, expected, &ours.groups);
        for id in expected.steps.keys() {
            match ours.params.iter().find(|outcome| outcome.id == *id) {
                Some(outcome) => {
                    let flushed = flushed.get(index).and_then(|params| params.get(id));
                    judge_param(&mut verdict, case, expected, flushed, outcome)?;
                }
                None => verdict.fail(|| format!("{}: nothing for {id}", ours.name)),
            }
        }
    }
    Ok(verdict)
}

/// The seven options, and each group's parameters, must be equal.
fn judge_groups(verdict: &mut Verdict, case: &Case, expected: &Expected, ours: &[Group]) {
    let checkpoint = &expected.name;
    if ours.len() != expected.param_groups.len() {
        verdict.fail(|| format!("{checkpoint}: {} groups, not {}", ours.len(), expected.param_groups.len()));
    }
    let names = case.packed_names();
    for (index, (group, want)) in ours.iter().zip(&expected.param_groups).enumerate() {
        // An option that an older torch lacks has its default value.
        let config = want.options.over(&wgpu_adam::AdamConfig::default());
        let params: Vec<&str> = want.params.iter().map(|&packed| names[packed]).collect();
        if group.config != config || group.params != params {
            verdict.fail(|| format!("{checkpoint}: group {index} is {group:?} instead of {config:?} with {params:?}"));
        }
    }
}

/// `flushed` is the reference for an adapter without denormals, in the case that has denormals.
fn judge_param(
    verdict: &mut Verdict,
    case: &Case,
    expected: &Expected,
    flushed: Option<&Flushed>,
    outcome: &Outcome,
) -> Result<()> {
    let id = outcome.id.as_str();
    let checkpoint = expected.name.as_str();
    let step = expected.steps[id].unwrap_or(0);
    // torch's count is a float32 that stops at 2^24; ours continues.
    let stopped = step == 1 << 24 && outcome.step > step;
    if outcome.step != step && !stopped {
        verdict.fail(|| format!("{checkpoint} {id} step: got {}, want {step}", outcome.step));
    }
    for key in Key::ALL.into_iter().filter(|&key| case.has_result(checkpoint, id, key)) {
        let Some(values) = outcome.values.get(&key) else {
            verdict.fail(|| format!("{checkpoint} {id} {key}: missing"));
            continue;
        };
        let got = case.sample(id, values)?;
        let flushed = flushed.map(|param| case.sample(id, &param.tensor(key)).map(Cow::into_owned)).transpose()?;
        let subject = Subject { checkpoint, id, key, got: &got, flushed: flushed.as_deref() };
        judge_tensor(verdict, case, expected, &subject)?;
    }
    Ok(())
}

fn judge_tensor(verdict: &mut Verdict, case: &Case, expected: &Expected, subject: &Subject) -> Result<()> {
    let &Subject { checkpoint, id, key, got, flushed } = subject;
    let reference = match flushed {
        Some(flushed) => flushed.to_vec(),
        None => case.result(Run::F64, checkpoint, id, key)?,
    };
    let torch_values = case.result(Run::F32, checkpoint, id, key)?;
    ensure!(reference.len() == got.len() && torch_values.len() == got.len(), "{subject}: another length");
    let torch = expected.torch_error(id, key);
    let initial = case.initial(id)?;
    let initial = case.sample(id, &initial)?;
    // A parameter near zero still has the rounding errors of its earlier, larger values.
    let size = |i: usize, want: f64| if key == Key::Param { want.abs().max(f64::from(initial[i].abs())) } else { want };
    let norm = note(&mut verdict.figures, subject, &reference, &torch_values, torch.norm_rel);

    let tag = if flushed.is_some() { Tag::Finite } else { case.tag() };
    match tag {
        Tag::Finite | Tag::StepSaturation | Tag::GradScale => {
            let long_run = case.name() == "very_long_run"
                && key == Key::Param
                && expected.steps[id].is_some_and(|step| step >= LONG_RUN_STEPS);
            if got.len() >= NORM_ELEMENTS {
                let factor = if key == Key::Param { NORM_FACTOR_PARAM } else { NORM_FACTOR_MOMENT };
                let bar = factor * torch.norm_rel.max(ROUNDING);
                let bar = if long_run { bar.min(LONG_RUN_FACTOR * torch.norm_rel) } else { bar };
                judge_norm(verdict, subject, norm, bar);
            }
            judge_elements(verdict, subject, &reference, |i, want| {
                ELEMENT_FACTOR * torch.max_abs + ELEMENT_ULPS * ulp(size(i, want))
            });
        }
        // torch 2.x and 1.x disagree about the moments after an infinity.
        Tag::Nonfinite if key != Key::Param => {}
        Tag::WideRange | Tag::Nonfinite => {
            let steps = expected.steps[id].unwrap_or(0) as f64;
            let lost = if key == Key::Param { 0.0 } else { steps * f64::from(f32::MIN_POSITIVE) };
            judge_elements(verdict, subject, &torch_values, |i, want| {
                let rule = ELEMENT_FACTOR * torch.max_abs + TORCH_RELATIVE * want.abs();
                // One max_abs for all sizes would excuse any error in small elements. So torch's own error at each
                // element is a limit too, plus the rounding errors of another order of operations.
                let error = Some((want - reference[i]).abs()).filter(|error| error.is_finite()).unwrap_or(0.0);
                let rounding = (ELEMENT_ULPS + steps) * ulp(size(i, want));
                rule.min(ELEMENT_FACTOR * error + TORCH_RELATIVE * want.abs() + rounding + lost)
            });
        }
        Tag::Denormal => judge_elements(verdict, subject, &torch_values, |_, want| {
            ELEMENT_FACTOR * torch.max_abs + TORCH_RELATIVE * want.abs()
        }),
        Tag::Checkpoint => bail!("{} is not judged here", case.name()),
    }
    Ok(())
}

fn judge_norm(verdict: &mut Verdict, subject: &Subject, norm: f64, bar: f64) {
    verdict.figures.norm_share = verdict.figures.norm_share.max(norm / bar);
    if norm > bar {
        verdict.fail(|| format!("{subject}: norm_rel {norm:.3e} against float64, allowed {bar:.3e}"));
    }
}

/// Each element must be within its allowance. If `want` is not finite, our value must not be finite either.
fn judge_elements(verdict: &mut Verdict, subject: &Subject, want: &[f64], allowed: impl Fn(usize, f64) -> f64) {
    for (i, (&got, &want)) in subject.got.iter().zip(want).enumerate() {
        let difference = (f64::from(got) - want).abs();
        let allowed = allowed(i, want);
        let passed = if want.is_finite() { difference <= allowed } else { !got.is_finite() };
        if passed {
            let share = if want.is_finite() && difference > 0.0 { difference / allowed } else { 0.0 };
            verdict.figures.element_share = verdict.figures.element_share.max(share);
        } else {
            let ulps = difference / ulp(want);
            verdict.fail(|| {
                format!("{subject} [{i}]: got {got:e}, want {want:e}: {ulps:.1} ULP, {difference:.2e} > {allowed:.2e}")
            });
        }
    }
}

/// Updates the figures and returns our `norm_rel`.
fn note(figures: &mut Figures, subject: &Subject, reference: &[f64], torch_values: &[f64], torch_norm: f64) -> f64 {
    let norm = error_stats(subject.got, reference).unwrap_or_default().norm_rel;
    let ratio = |(ours, torch): (f64, f64)| ours / torch.max(ROUNDING);
    let worst = if subject.key == Key::Param { &mut figures.param } else { &mut figures.moment };
    if worst.is_none_or(|worst| ratio((norm, torch_norm)) > ratio(worst)) {
        *worst = Some((norm, torch_norm));
    }
    for (i, (&got, &want)) in subject.got.iter().zip(torch_values).enumerate() {
        let difference = (f64::from(got) - want).abs();
        let ulps = difference / ulp(want);
        // A NaN on either side compares false, so those elements are not measured.
        if ulps.is_finite() && figures.from_torch.as_ref().is_none_or(|&(_, worst, _)| ulps > worst) {
            figures.from_torch = Some((format!("{subject} [{i}]"), ulps, difference));
        }
    }
    norm
}
