//! Gradient control on the command line, and its results.

use std::fmt::{Debug, LowerExp};

use anyhow::{Context, Result, bail, ensure};
use digits::model::BATCH;
use serde::Serialize;
use wgpu_adam::{GradientControl, LossScale, StepStatistics};

/// The settings, as the command line names them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gradients {
    pub clip_norm: Option<f64>,
    #[serde(serialize_with = "as_text")]
    pub loss_scale: LossScale,
    pub accumulate: u32,
}

impl Default for Gradients {
    fn default() -> Self {
        Self { clip_norm: None, loss_scale: LossScale::None, accumulate: 1 }
    }
}

impl Gradients {
    /// `--clip-norm`.
    pub fn set_clip_norm(&mut self, text: &str) -> Result<()> {
        self.clip_norm = Some(positive("--clip-norm", text)?);
        Ok(())
    }

    /// `--loss-scale`.
    pub fn set_loss_scale(&mut self, text: &str) -> Result<()> {
        const NAME: &str = "--loss-scale";
        self.loss_scale = match (text, text.strip_prefix("dynamic:")) {
            ("none", _) => LossScale::None,
            ("dynamic", _) => LossScale::dynamic(),
            (_, Some(first)) => dynamic(positive(NAME, first)?),
            (number, None) if number.parse::<f64>().is_ok() => LossScale::Fixed(positive(NAME, number)?),
            _ => bail!("{NAME}: '{text}' is not none, a number, dynamic, or dynamic:FIRST"),
        };
        Ok(())
    }

    /// `--accumulate`.
    pub fn set_accumulate(&mut self, text: &str) -> Result<()> {
        const NAME: &str = "--accumulate";
        let count: u32 = text.parse().with_context(|| format!("{NAME}: '{text}' does not fit"))?;
        ensure!(
            (1..=BATCH).contains(&(count as usize)),
            "{NAME}: a batch of {BATCH} digits can be cut in 1 to {BATCH} micro-batches, not in {count}"
        );
        self.accumulate = count;
        Ok(())
    }

    /// The same settings for the optimizer.
    pub fn control(&self) -> GradientControl {
        let Self { clip_norm, loss_scale, accumulate } = *self;
        GradientControl { max_norm: clip_norm, loss_scale, accumulate, ..GradientControl::default() }
    }

    /// Whether steps may be skipped.
    pub fn skips(&self) -> bool {
        matches!(self.loss_scale, LossScale::Dynamic { .. })
    }

    /// The settings that torch's recorded run does not have, as words.
    pub fn words(&self) -> Vec<String> {
        let clip = self.clip_norm.map(|norm| format!("clipped to {}", short(norm)));
        let scale = (self.loss_scale != LossScale::None).then(|| format!("loss scale {}", text(&self.loss_scale)));
        let parts = (self.accumulate > 1).then(|| format!("{} micro-batches", self.accumulate));
        [clip, scale, parts].into_iter().flatten().collect()
    }

    /// The device's latest statistics, for the settings in use; empty if there are none yet.
    pub fn told(&self, told: Option<StepStatistics>) -> String {
        let Some(told) = told else { return String::new() };
        let mut words = String::new();
        if self.clip_norm.is_some() {
            words += &format!("  norm {:.4}, clip factor {:.4}", told.grad_norm, told.clip_factor);
        }
        if self.skips() {
            words += &format!("  scale {}, {} skipped", short(told.loss_scale), told.steps_skipped);
        }
        words
    }
}

/// Requires a number above 0 and finite, in f32 too.
fn positive(name: &str, text: &str) -> Result<f64> {
    let number: f64 = text.parse().with_context(|| format!("{name}: '{text}' does not fit"))?;
    let rounded = number as f32;
    ensure!(rounded > 0.0 && rounded.is_finite(), "{name}: {text} must be above 0 and finite, in float32 too");
    Ok(number)
}

/// A dynamic scale with the growth of `torch.amp.GradScaler`.
fn dynamic(first: f64) -> LossScale {
    match LossScale::dynamic() {
        LossScale::Dynamic { growth_factor, backoff_factor, growth_interval, .. } => {
            LossScale::Dynamic { init_scale: first, growth_factor, backoff_factor, growth_interval }
        }
        other => other,
    }
}

fn text(scale: &LossScale) -> String {
    match scale {
        LossScale::None => "none".to_owned(),
        LossScale::Fixed(scale) => short(*scale),
        scale if *scale == LossScale::dynamic() => "dynamic".to_owned(),
        LossScale::Dynamic { init_scale, .. } => format!("dynamic:{}", short(*init_scale)),
        other => format!("{other:?}"),
    }
}

/// Formats like 65536, 0.5, 2.5e37.
fn short<N: Copy + Debug + LowerExp + Into<f64>>(number: N) -> String {
    let digits = if number.into() < 1e7 { format!("{number:?}") } else { format!("{number:e}") };
    digits.trim_end_matches(".0").to_owned()
}

fn as_text<S: serde::Serializer>(scale: &LossScale, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(scale))
}

#[cfg(test)]
mod tests {
    use super::{Gradients, LossScale, text};

    #[test]
    fn a_loss_scale_is_read_as_it_is_written() {
        for (written, want) in [
            ("none", LossScale::None),
            ("1024", LossScale::Fixed(1024.0)),
            ("0.5", LossScale::Fixed(0.5)),
            ("2.5e37", LossScale::Fixed(2.5e37)),
            ("1e-7", LossScale::Fixed(1e-7)),
            ("dynamic", LossScale::dynamic()),
        ] {
            let mut gradients = Gradients::default();
            gradients.set_loss_scale(written).unwrap();
            assert_eq!(gradients.loss_scale, want, "{written}");
            assert_eq!(text(&gradients.loss_scale), written);
        }
        let mut gradients = Gradients::default();
        gradients.set_loss_scale("dynamic:1e30").unwrap();
        let LossScale::Dynamic { init_scale: init, growth_interval, .. } = gradients.loss_scale else {
            panic!("{gradients:?}")
        };
        assert_eq!((init, growth_interval, text(&gradients.loss_scale)), (1e30, 2000, "dynamic:1e30".to_owned()));
    }

    #[test]
    fn what_is_out_of_range_is_an_error_that_names_the_option() {
        type Set = fn(&mut Gradients, &str) -> anyhow::Result<()>;
        let cases: [(&str, Set, &[&str]); 3] = [
            ("--clip-norm", Gradients::set_clip_norm, &["0", "-1", "nan", "inf", "1e-60", "1e39", "one", ""]),
            (
                "--loss-scale",
                Gradients::set_loss_scale,
                &["0", "-2", "nan", "inf", "dynamic:0", "dynamic:nan", "dynamic:", "Dynamic", "off", ""],
            ),
            ("--accumulate", Gradients::set_accumulate, &["0", "65", "-1", "1.5", "4294967297", "all", ""]),
        ];
        for (name, set, texts) in cases {
            for text in texts {
                let mut gradients = Gradients::default();
                let error = format!("{:#}", set(&mut gradients, text).expect_err(&format!("{name} {text}")));
                assert!(error.starts_with(&format!("{name}: ")), "{name} {text}: {error}");
                assert_eq!(gradients, Gradients::default(), "{name} {text}");
            }
        }
    }
}
