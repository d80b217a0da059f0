//! The recorded run of torch's AdamW, compared with the float64 reference. No GPU.

use wgpu_adam_suite::decay::Recorded;

/// Parameters and gradients made in Rust equal those made in Python, or the errors would differ.
#[test]
fn the_errors_of_torch_come_out_as_recorded() {
    let recorded = Recorded::load().unwrap();
    assert_eq!((recorded.steps, recorded.cases.len()), (3000, 8));
    for case in &recorded.cases {
        let got = recorded.rms(&case.torch_param, &recorded.reference(case));
        let place = format!("lr {}, weight_decay {}", case.lr, case.weight_decay);
        for (part, got, want) in [
            ("with gradients", got.moving, case.torch_rms.moving),
            ("with zero gradients", got.resting, case.torch_rms.resting),
        ] {
            // The errors are recorded with four digits.
            assert!((got - want).abs() <= 1e-3 * want, "{place}, {part}: got {got:e}, want {want:e}");
        }
    }
}
