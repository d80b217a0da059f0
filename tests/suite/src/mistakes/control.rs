//! Gradient control out of range, and buffers that cannot hold `found_inf`.

use wgpu::BufferUsages as Usage;
use wgpu_adam::{AdamConfig, Error, GradientControl, LossScale, WgpuAdam};

use super::shown;
use super::{Row, row};

/// Values of an option that are refused, and the option's setter.
struct Refused {
    option: &'static str,
    values: &'static [f64],
    set: fn(&mut GradientControl, f64),
}

/// Values that are refused where a positive number is required; as an f32 it must be neither 0 nor infinite.
const POSITIVE: &[f64] = &[0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39, 1e-60];

/// Values that are refused for divisors: their reciprocal must not be 0, denormal or infinite; 1e-38 is a denormal.
const DIVISOR: &[f64] = &[0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39, 1e-60, 1e38, 1e-39];

/// Gradients can be divided by 64 times this: the reciprocal, 2^-126, is not denormal.
const LARGE: f64 = (1_u128 << 120) as f64;

fn dynamic(init: f64, growth_factor: f64, backoff_factor: f64, growth_interval: u32) -> LossScale {
    LossScale::Dynamic { init_scale: init, growth_factor, backoff_factor, growth_interval }
}

const TABLE: [Refused; 10] = [
    Refused { option: "max_norm", values: POSITIVE, set: |control, value| control.max_norm = Some(value) },
    Refused { option: "clip_value", values: POSITIVE, set: |control, value| control.clip_value = Some(value) },
    Refused {
        option: "loss_scale",
        values: DIVISOR,
        set: |control, value| control.loss_scale = LossScale::Fixed(value),
    },
    Refused {
        option: "loss_scale",
        values: DIVISOR,
        set: |control, value| control.loss_scale = dynamic(value, 2.0, 0.5, 2000),
    },
    Refused {
        option: "growth_factor",
        values: &[1.0, 0.5, 0.0, -2.0, f64::NAN, f64::INFINITY, 1.0 + 1e-9],
        set: |control, value| control.loss_scale = dynamic(1.0, value, 0.5, 2000),
    },
    Refused {
        option: "backoff_factor",
        values: &[0.0, 1.0, 1.5, -0.5, f64::NAN, f64::INFINITY, 1.0 - 1e-9],
        set: |control, value| control.loss_scale = dynamic(1.0, 2.0, value, 2000),
    },
    Refused {
        option: "growth_interval",
        values: &[0.0],
        set: |control, value| control.loss_scale = dynamic(1.0, 2.0, 0.5, value as u32),
    },
    Refused { option: "accumulate", values: &[0.0], set: |control, value| control.accumulate = value as u32 },
    Refused {
        option: "accumulate",
        values: &[65.0, 4e9],
        set: |control, value| {
            control.loss_scale = LossScale::Fixed(LARGE);
            control.accumulate = value as u32;
        },
    },
    Refused {
        option: "accumulate",
        values: &[65.0],
        set: |control, value| {
            control.loss_scale = dynamic(LARGE, 2.0, 0.5, 2000);
            control.accumulate = value as u32;
        },
    },
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for Refused { option, values, set } in TABLE {
        for &value in values {
            let mistake = move |case: &mut super::Case<'_>| {
                // Together with other settings that are valid.
                let mut control = GradientControl { max_norm: Some(0.1), skip_nonfinite: true, ..Default::default() };
                set(&mut control, value);
                let before = *case.subject.adam.gradient_control();
                let result = case.subject.adam.set_gradient_control(control);
                // If the control is accepted, return success, so that the row fails.
                if *case.subject.adam.gradient_control() != before { Ok(()) } else { result }
            };
            let text = format!("invalid {option}: {}; it must be ", shown(value));
            rows.push(row!(format!("{option} = {value}"), mistake, Error::InvalidOption { group: None, .. }, text));
        }
    }
    rows.extend(found_inf());
    // A browser reports it later.
    if cfg!(not(target_family = "wasm")) {
        rows.extend(of_another_device());
    }
    rows
}

fn found_inf() -> Vec<Row> {
    vec![
        row!(
            "found_inf behind the end of its buffer",
            |c| {
                let buffer = c.buffer(64);
                c.subject.adam.set_found_inf((&buffer, 64))
            },
            Error::BufferTooSmall { .. },
            "found_inf has 1 f32 elements from byte 64 and needs 68 bytes, but its buffer has 64"
        ),
        row!(
            "found_inf far behind the end of its buffer",
            |c| {
                let buffer = c.buffer(64);
                c.subject.adam.set_found_inf((&buffer, u64::MAX - 3))
            },
            Error::BufferTooSmall { .. },
            "found_inf has"
        ),
        row!(
            "found_inf at an odd offset",
            |c| {
                let buffer = c.buffer(64);
                c.subject.adam.set_found_inf((&buffer, 6))
            },
            Error::UnalignedOffset { offset: 6, .. },
            "found_inf begins at byte 6"
        ),
        row!(
            "found_inf that cannot be copied",
            |c| {
                let buffer = c.buffer_for(Usage::STORAGE | Usage::COPY_DST);
                c.subject.adam.set_found_inf((&buffer, 0))
            },
            Error::BufferUsage { missing: Usage::COPY_SRC, .. },
            "the buffer of found_inf lacks the usage BufferUsages(COPY_SRC)"
        ),
        row!(
            "a recorded control out of range",
            |c| {
                let control = GradientControl { loss_scale: dynamic(8.0, 2.0, 0.5, 0), ..Default::default() };
                c.subject.adam.record_gradient_control(c.encoder, control)
            },
            Error::InvalidOption { option: "growth_interval", .. },
            "invalid growth_interval: 0"
        ),
        row!(
            "gradients zeroed after the step that nobody can write to",
            |c| {
                let control = GradientControl { zero_grad_after_step: true, ..Default::default() };
                c.subject.adam.set_gradient_control(control)?;
                let result = c.subject.adam.record_step(c.encoder);
                c.subject.adam.set_gradient_control(GradientControl::default())?;
                result
            },
            Error::BufferUsage { missing: Usage::COPY_DST, .. },
            "gradient of \"e\""
        ),
    ]
}

fn of_another_device() -> Vec<Row> {
    vec![
        row!(
            "found_inf of another device",
            |c| c.subject.adam.set_found_inf((c.elsewhere, 0)),
            Error::Device { .. },
            "wgpu refused the copy of found_inf"
        ),
        row!(
            "found_inf of another device, where there was one",
            |c| {
                let buffer = c.buffer(64);
                let mut adam = WgpuAdam::new(&c.gpu.device, &c.gpu.queue, c.subject.params(), AdamConfig::default())?;
                adam.set_found_inf((&buffer, 4))?;
                let refused = adam.set_found_inf((c.elsewhere, 0));
                // The earlier buffer is still copied.
                let mut encoder = c.gpu.device.create_command_encoder(&Default::default());
                adam.record_step(&mut encoder)?;
                drop(encoder.finish());
                refused
            },
            Error::Device { .. },
            "wgpu refused the copy of found_inf"
        ),
    ]
}
