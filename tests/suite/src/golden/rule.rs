//! The values of parameters that are generated instead of stored.

use anyhow::{Context, Result, ensure};

use super::manifest::{ParamSpec, Rule};

impl Rule {
    /// The initial value (step 0) or the gradient of the parameter at this position of the manifest. Exact in float32.
    pub fn values(&self, step: u64, position: usize, elements: usize) -> Result<Vec<f32>> {
        let seed = parse_hex(&self.seed)?;
        let (log2, mask) = if step == 0 { (self.init_log2, 0) } else { (self.grad_log2, self.grad_spread_mask) };
        let stream = 1 + ((position as u64) << 32) + (step << 40);
        let value = |i: u64| {
            let x = scramble(seed.wrapping_add(stream.wrapping_add(i).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let mantissa = (x >> 40) as f64 - f64::from(1 << 23);
            let exponent = log2 - 23 - (x & mask) as i32;
            // A product with a power of two: exact in float64, and exact as a float32.
            (mantissa * power_of_two(exponent)) as f32
        };
        Ok((0..elements as u64).map(value).collect())
    }

    /// Compares the first values with their bits in the manifest.
    pub(super) fn check(&self, params: &[ParamSpec]) -> Result<()> {
        for (id, want) in &self.first_values_f32_bits {
            let position = params.iter().position(|param| param.id == *id);
            let position = position.with_context(|| format!("the rule names an unknown parameter {id}"))?;
            for (step, want) in [(0, &want.init), (1, &want.grad_1)] {
                let values = self.values(step, position, want.len())?;
                let bits: Vec<String> = values.iter().map(|value| format!("0x{:08x}", value.to_bits())).collect();
                ensure!(bits == *want, "the rule gives {bits:?} for {id} in step {step} instead of {want:?}");
            }
        }
        Ok(())
    }
}

/// The output function of SplitMix64.
fn scramble(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// 2^exponent for the exponents of normal float64 values, from its bits: `exp2` need not be exact.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

fn parse_hex(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).with_context(|| format!("'{text}' is no hexadecimal number"))
}
