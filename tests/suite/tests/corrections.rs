//! Bias corrections in 64-bit fixed point at every step up to 10^7. Every adapter computes the same: `control/bias
//! corrections to 10^7 steps` checks that for some of the steps.

use wgpu_adam_suite::fixed_point::{every_one_minus_power, one_minus_power};
use wgpu_adam_suite::stats::ulp;

const BETAS: [f64; 6] = [0.0, 0.9, 0.95, 0.999, 0.9999, 0.99999];
const LAST: u32 = 10_000_000;

/// By a series where that is exact: near 0, 1 - beta^t would lose digits even in f64.
fn want(beta: f64, t: u32) -> f64 {
    -(f64::from(t) * (beta - 1.0).ln_1p()).exp_m1()
}

#[test]
fn within_half_a_ulp_at_every_step() {
    let worst = |beta: f64| {
        let (mut worst, mut at, mut count) = (0.0_f64, 0, 0_u32);
        every_one_minus_power(beta, LAST, |t, got| {
            let want = want(beta, t);
            let off = (f64::from(got) - want).abs() / ulp(want);
            count += 1;
            if off.is_nan() || off > worst {
                (worst, at) = (off, t);
            }
        });
        assert_eq!(count, LAST, "beta {beta}: steps");
        println!("beta {beta}: {worst:.3} ULP at worst, at step {at}");
        assert!(worst <= 0.501, "beta {beta}, step {at}: {worst} ULP");
    };
    std::thread::scope(|scope| {
        let threads = BETAS.map(|beta| scope.spawn(move || worst(beta)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The fast way visits the same values that the plain one returns.
#[test]
fn every_step_is_that_step() {
    for beta in BETAS {
        let mut seen = vec![0_u32; 5001];
        every_one_minus_power(beta, 5000, |t, got| {
            assert_eq!(got.to_bits(), one_minus_power(beta, t).to_bits(), "beta {beta}, step {t}");
            seen[t as usize] += 1;
        });
        assert!(seen[0] == 0 && seen[1..].iter().all(|&times| times == 1), "beta {beta}");
    }
    // Known results: 1 - 2^-3, and powers that underflow to 0.
    assert_eq!([one_minus_power(0.5, 3), one_minus_power(0.5, 64), one_minus_power(0.5, 65)], [0.875, 1.0, 1.0]);
}
