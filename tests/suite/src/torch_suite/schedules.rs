//! Learning rate schedules of torch's suite as plain functions; `set_lr` applies them.

/// The factor of the initial learning rate after `t` steps, given the loss before each of them.
pub type Schedule = fn(i32, &[f64]) -> f64;

/// The combinations in torch's suite, and no schedule.
pub const SCHEDULES: [(&str, Schedule); 8] = [
    ("no schedule", |_, _| 1.0),
    ("exponential", |t, _| exponential(t)),
    ("linear", |t, _| 1.0 / 3.0 + 2.0 / 3.0 * f64::from(t.min(5)) / 5.0),
    ("constant and exponential", |t, _| constant(t) * exponential(t)),
    ("exponential and plateau", |t, losses| exponential(t) * plateau(losses)),
    ("constant", |t, _| constant(t)),
    ("polynomial", |t, _| (1.0 - f64::from(t.min(4)) / 4.0).powf(0.9)),
    ("step and plateau", |t, losses| 0.9_f64.powi(t / 10) * plateau(losses)),
];

fn exponential(t: i32) -> f64 {
    0.9_f64.powi(t)
}

fn constant(t: i32) -> f64 {
    if t < 4 { 0.4 } else { 1.0 }
}

/// A tenth after every 11 losses without a new minimum, which must be lower by a ten thousandth.
fn plateau(losses: &[f64]) -> f64 {
    let (mut least, mut waited, mut factor) = (f64::INFINITY, 0, 1.0);
    for &loss in losses {
        if loss < least * (1.0 - 1e-4) {
            (least, waited) = (loss, 0);
        } else {
            waited += 1;
        }
        if waited > 10 {
            (waited, factor) = (0, factor * 0.1);
        }
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::SCHEDULES;

    #[test]
    fn factors_are_those_of_torch() {
        // After 0, 1, 4, 12 and 24 steps, with a rising loss: computed by hand.
        let wanted: [[f64; 5]; 8] = [
            [1.0; 5],
            [1.0, 0.9, 0.6561, 0.282_429_536_481, 0.079_766_443_076_872_5],
            [1.0 / 3.0, 7.0 / 15.0, 13.0 / 15.0, 1.0, 1.0],
            [0.4, 0.36, 0.6561, 0.282_429_536_481, 0.079_766_443_076_872_5],
            [1.0, 0.9, 0.6561, 0.028_242_953_648_1, 0.000_797_664_430_768_725],
            [0.4, 0.4, 1.0, 1.0, 1.0],
            [1.0, 0.75_f64.powf(0.9), 0.0, 0.0, 0.0],
            [1.0, 1.0, 1.0, 0.09, 0.0081],
        ];
        for ((name, schedule), wanted) in SCHEDULES.into_iter().zip(wanted) {
            for (t, want) in [0, 1, 4, 12, 24].into_iter().zip(wanted) {
                let losses: Vec<f64> = (0..t).map(f64::from).collect();
                let got = schedule(t, &losses);
                assert!((got - want).abs() <= 1e-12 * want, "{name} after {t} steps: {got} instead of {want}");
            }
        }
    }
}
