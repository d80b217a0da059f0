//! The page without wasm: one step of the project's shaders from plain JavaScript.

use anyhow::{Result, ensure};
use serde::Deserialize;
use wgpu_adam_browser::Look;

use crate::{PATIENCE, Site};

/// A few roundings to f32.
const BOUND: f64 = 4e-7;

#[derive(Deserialize)]
struct Step {
    param: Vec<f64>,
    grad: Vec<f64>,
    new_param: Vec<f64>,
    exp_avg: Vec<f64>,
    exp_avg_sq: Vec<f64>,
}

pub fn step(site: &Site) -> Result<()> {
    let tab = site.browser.open(&site.server.url("/js/"), Look::WIDE)?;
    tab.wait_for("document.body.dataset.state !== 'loading'", PATIENCE)?;
    let step: Step = tab.eval(
        "({ param: [...step.before.param], grad: [...step.before.grad], new_param: [...step.after.param],
            exp_avg: [...step.after.expAvg], exp_avg_sq: [...step.after.expAvgSq] })",
    )?;
    ensure!(step.param.len() == 1000 && step.new_param.len() == 1000, "{} parameters", step.new_param.len());
    // The page's options, with torch's defaults.
    let (lr, beta1, beta2, eps, weight_decay) = (0.01, 0.9, 0.999, 1e-8, 0.1);
    for (i, (param, grad)) in step.param.iter().zip(&step.grad).enumerate() {
        let decayed = grad + weight_decay * param;
        let (exp_avg, exp_avg_sq) = ((1.0 - beta1) * decayed, (1.0 - beta2) * decayed * decayed);
        let denom = (exp_avg_sq / (1.0 - beta2)).sqrt() + eps;
        let new_param = param - lr / (1.0 - beta1) * exp_avg / denom;
        // The scale includes the rounding errors that remain where the two terms nearly cancel.
        let scale = grad.abs() + weight_decay * param.abs();
        let rows = [
            ("param", step.new_param[i], new_param, 1.0),
            ("exp_avg", step.exp_avg[i], exp_avg, (1.0 - beta1) * scale),
            ("exp_avg_sq", step.exp_avg_sq[i], exp_avg_sq, (1.0 - beta2) * scale * scale),
        ];
        for (what, got, want, scale) in rows {
            ensure!((got - want).abs() <= BOUND * scale, "{what}[{i}] {got}, not {want}");
        }
    }
    tab.check_clean()
}
