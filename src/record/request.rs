//! The request to control.wgsl for one recorded step.

use super::bound_control::BoundControl;
use crate::control::Control;
use crate::layout::{ClassRequest, Hyper, Request, flags};
use crate::options::adam::AdamConfig;
use crate::options::gradient_control::{LossScale, NormType};

/// A class of the plan: its options, the step to take, and one of its tensors.
pub(crate) struct ClassStep<'a> {
    pub config: &'a AdamConfig,
    pub t: u64,
    pub tensor: u32,
}

/// The size of a request for this many classes, in bytes.
pub(crate) fn size(classes: usize) -> usize {
    size_of::<Request>() + classes * size_of::<ClassRequest>()
}

/// Replaces the previous step's request by a new one.
pub(crate) fn write<'a>(
    bytes: &mut Vec<u8>,
    control: &Control,
    bound: &BoundControl,
    hyper_stride: usize,
    classes: impl ExactSizeIterator<Item = ClassStep<'a>>,
) {
    bytes.clear();
    bytes.extend_from_slice(bytemuck::bytes_of(&header(control, bound, classes.len())));
    for (number, class) in classes.enumerate() {
        let &AdamConfig { lr, betas: (beta1, beta2), eps, .. } = class.config;
        let hyper = Hyper::for_step(class.config, class.t);
        let class = ClassRequest {
            hyper: Hyper { clip_value: control.clip_value(), ..hyper },
            beta1: fraction(beta1),
            beta2: fraction(beta2),
            // Bias corrections are 1 long before that.
            t: u32::try_from(class.t).unwrap_or(u32::MAX),
            tensor: class.tensor,
            block: (number * hyper_stride) as u32,
            lr: lr as f32,
            eps: eps as f32,
            least_eps: if eps > 0.0 { f32::MIN_POSITIVE } else { 0.0 },
        };
        bytes.extend_from_slice(bytemuck::bytes_of(&class));
    }
}

fn header(control: &Control, bound: &BoundControl, classes: usize) -> Request {
    let options = &control.options;
    let flag = |flag, on: bool| if on { flag } else { 0 };
    let step = control.recorded + 1;
    let mut request = Request {
        flags: flag(flags::SKIP_NONFINITE, options.skips())
            | flag(flags::CLIP_NORM, options.max_norm.is_some())
            | flag(flags::INFINITY_NORM, options.norm_type == NormType::Infinity)
            | flag(flags::DEVICE_STEPS, control.may_skip())
            | flag(flags::FOUND_INF, control.found_inf.is_some()),
        classes: classes as u32,
        stepping: bound.stepping,
        partials: if control.measures() { bound.partials } else { 0 },
        first_partial: bound.first_partial,
        first_block: bound.first_block,
        max_norm: options.max_norm.unwrap_or_default() as f32,
        grad_scale: control.host_scale() as f32,
        step_low: step as u32,
        step_high: (step >> 32) as u32,
        ..Request::default()
    };
    if let LossScale::Dynamic { growth_factor, backoff_factor, growth_interval, .. } = options.loss_scale {
        request.flags |= flags::DYNAMIC_SCALE;
        request.growth_factor = growth_factor as f32;
        request.backoff_factor = backoff_factor as f32;
        request.growth_interval = growth_interval;
    }
    request
}

/// A number from 0 to below 1 as a fraction of 2^64, low half first. Exact for f64 numbers from 2^-11 on.
fn fraction(beta: f64) -> [u32; 2] {
    let scaled = (beta * 18_446_744_073_709_551_616.0) as u64;
    [scaled as u32, (scaled >> 32) as u32]
}

#[cfg(test)]
mod tests {
    #[test]
    fn fractions() {
        assert_eq!(super::fraction(0.0), [0, 0]);
        assert_eq!(super::fraction(0.5), [0, 1 << 31]);
        assert_eq!(super::fraction(1.0 - f64::EPSILON / 2.0), [0xffff_f800, u32::MAX]);
    }
}
