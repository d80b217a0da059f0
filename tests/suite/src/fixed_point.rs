//! bias_correction.wgsl on the host: the same steps in u128, with the same bits.

/// A beta from 0 to below 1 as a fraction of 2^64.
pub fn fraction(beta: f64) -> u64 {
    // A product with a power of two is exact.
    (beta * 2.0_f64.powi(64)) as u64
}

/// The product of two fractions, rounded down.
fn multiply(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// beta^(2^n) for n from 0 on.
fn squares(beta: f64) -> [u64; 32] {
    let mut square = fraction(beta);
    std::array::from_fn(|_| {
        let this = square;
        square = multiply(this, this);
        this
    })
}

/// 2^64 minus a power, as f32.
fn one_minus(power: u64) -> f32 {
    if power == 0 {
        return 1.0;
    }
    let rest = power.wrapping_neg();
    let zeros = rest.leading_zeros();
    // The 32 bits that the shader has, starting with the highest set bit.
    let high = ((rest << zeros) >> 32) as u32;
    f32::from_bits(((126 - zeros) << 23) + (high >> 8 & 0x7f_ffff) + (high >> 7 & 1))
}

/// 1 - beta^t for t from 1 on.
pub fn one_minus_power(beta: f64, t: u32) -> f32 {
    let set = squares(beta).into_iter().enumerate().filter(|(bit, _)| t >> bit & 1 == 1);
    one_minus(set.map(|(_, square)| square).reduce(multiply).unwrap_or_default())
}

/// The same for every t from 1 to `last`, in no particular order, with one product each: adding a bit to t adds one
/// factor.
pub fn every_one_minus_power(beta: f64, last: u32, mut visit: impl FnMut(u32, f32)) {
    let squares = squares(beta);
    let mut open: Vec<(u32, u64)> = (0..32).map(|bit| (1 << bit, squares[bit as usize])).collect();
    while let Some((t, power)) = open.pop() {
        if t > last {
            continue;
        }
        visit(t, one_minus(power));
        let above = 32 - t.leading_zeros();
        let with = |bit: u32| (t | 1 << bit, multiply(power, squares[bit as usize]));
        open.extend((above..32).map(with).take_while(|(t, _)| *t <= last));
    }
}
