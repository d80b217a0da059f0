//! The integer rules that fix initial weights and batch order, so that any language can repeat the run.

/// The splitmix64 hash of `x`.
pub fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The first `count` initial values of tensor number `tensor`: uniform in `[-bound, bound)`, from 24 bits of each hash.
pub fn uniform(tensor: u64, count: usize, bound: f64) -> Vec<f32> {
    let value = |i: u64| {
        let u = (splitmix64((tensor << 32) + i) >> 40) as f64 / f64::from(1 << 24);
        (bound * (2.0 * u - 1.0)) as f32
    };
    (0..count as u64).map(value).collect()
}

/// The positions `0..train_rows` in the order in which epoch `epoch` visits them: sorted by the hash of both numbers.
pub fn epoch_order(epoch: u64, train_rows: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..train_rows).collect();
    order.sort_by_cached_key(|&row| splitmix64(((epoch + 1) << 40) + u64::from(row)));
    order
}
