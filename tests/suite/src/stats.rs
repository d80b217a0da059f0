//! Errors of float32 results, as the README of the golden cases defines them.

/// The distance of a tensor from a reference, over the elements that are finite in both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorStats {
    /// Euclidean norm of the error divided by that of the reference.
    pub norm_rel: f64,
    pub max_abs: f64,
    /// In float32 ULPs of the reference's elements.
    pub max_ulp: f64,
}

/// None if no element is finite.
pub fn error_stats(got: &[f32], want: &[f64]) -> Option<ErrorStats> {
    let pairs = || {
        let pairs = got.iter().zip(want).map(|(&got, &want)| (f64::from(got), want));
        pairs.filter(|(got, want)| got.is_finite() && want.is_finite())
    };
    pairs().next()?;
    let errors = || pairs().map(|(got, want)| ((got - want).abs(), want));
    let max_abs = errors().map(|(error, _)| error).fold(0.0, f64::max);
    let max_ulp = errors().map(|(error, want)| error / ulp(want)).fold(0.0, f64::max);
    // Scaled, because the squares of large values overflow even float64.
    let biggest = pairs().map(|(_, want)| want.abs()).fold(0.0, f64::max);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| (x / biggest).powi(2)).sum::<f64>().sqrt();
    let norm_rel = if biggest == 0.0 {
        0.0
    } else {
        norm(&mut errors().map(|(error, _)| error)) / norm(&mut pairs().map(|(_, want)| want))
    };
    Some(ErrorStats { norm_rel, max_abs, max_ulp })
}

/// The spacing of float32 values around `x`: 2^(max(floor(log2 |x|), -126) - 23).
pub fn ulp(x: f64) -> f64 {
    let exponent = ((x.to_bits() >> 52) & 0x7FF) as i64 - 1023;
    f64::from_bits(((1023 + exponent.max(-126) - 23) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_are_those_of_float32() {
        assert_eq!(ulp(1.0), f64::from(f32::EPSILON));
        assert_eq!(ulp(-1.999), f64::from(f32::EPSILON));
        assert_eq!(ulp(2.0), 2.0 * f64::from(f32::EPSILON));
        for tiny in [0.0, 1e-300, f64::from(f32::MIN_POSITIVE)] {
            assert_eq!(ulp(tiny), f64::from(f32::from_bits(1)));
        }
    }

    #[test]
    fn statistics_leave_out_what_is_not_finite() {
        let stats = error_stats(&[3.0, f32::NAN, 4.5], &[3.0, 1.0, 4.0]).unwrap();
        assert_eq!(stats.max_abs, 0.5);
        assert_eq!(stats.norm_rel, 0.1);
        assert_eq!(stats.max_ulp, 0.5 / ulp(4.0));
        assert_eq!(error_stats(&[f32::INFINITY], &[1.0]), None);
        assert_eq!(error_stats(&[0.0], &[0.0]), Some(ErrorStats::default()));
    }
}
