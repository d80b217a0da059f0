//! Pseudo-random, repeatable numbers.

/// Element `i` of list `list`: 24 bits of splitmix64 as a number from -1 to 1.
pub fn value(list: u64, i: u64) -> f32 {
    let mut x = (list << 40).wrapping_add(i).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 40) as f32 / 8_388_608.0 - 1.0
}

/// The first numbers of list `list`.
pub fn values(list: u64, length: u64) -> Vec<f32> {
    (0..length).map(|i| value(list, i)).collect()
}
