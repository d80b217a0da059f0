// 1 - beta^t in 64-bit fixed point, by repeated squaring. In f32 the result could be off by up to 1e-3, because near 1
// the rounding of beta itself counts. WGSL has no 64-bit integers: a pair is (low half, high half).

// The product of two u32.
fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let cross = vec2<u32>(a_low * b_high, a_high * b_low);
    let middle = (low >> 16u) + (cross.x & 0xffffu) + (cross.y & 0xffffu);
    let high = a_high * b_high + (cross.x >> 16u) + (cross.y >> 16u) + (middle >> 16u);
    return vec2<u32>((low & 0xffffu) | (middle << 16u), high);
}

fn add_wide(a: vec2<u32>, b: u32) -> vec2<u32> {
    let low = a.x + b;
    return vec2<u32>(low, a.y + select(0u, 1u, low < b));
}

// The product of two fractions of 2^64, rounded down.
fn multiply_fractions(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low_high = multiply_wide(a.x, b.y);
    let high_low = multiply_wide(a.y, b.x);
    let middle = add_wide(add_wide(vec2<u32>(multiply_wide(a.x, b.x).y, 0u), low_high.x), high_low.x);
    return add_wide(add_wide(add_wide(multiply_wide(a.y, b.y), low_high.y), high_low.y), middle.y);
}

// 1 - beta^t for `beta` as a fraction of 2^64 and t of at least 1.
fn one_minus_power(beta: vec2<u32>, t: u32) -> f32 {
    var square = beta;
    var power = vec2<u32>();
    var begun = false;
    for (var bit = 0u; bit < 32u; bit += 1u) {
        if (((t >> bit) & 1u) == 1u) {
            power = select(square, multiply_fractions(power, square), begun);
            begun = true;
        }
        square = multiply_fractions(square, square);
    }
    if (all(power == vec2<u32>())) {
        return 1.0;
    }
    // 2^64 minus the power, rounded with integers: adapters round a u32 of more than 24 bits in different ways.
    let rest = vec2<u32>(0u - power.x, 0u - power.y - select(0u, 1u, power.x != 0u));
    let far = rest.y == 0u;
    let words = select(rest, vec2<u32>(0u, rest.x), far);
    let zeros = countLeadingZeros(words.y);
    // Two shifts, because a shift by 32 would be a shift by 0.
    let high = (words.y << zeros) | ((words.x >> 1u) >> (31u - zeros));
    let exponent = 126u - zeros - select(0u, 32u, far);
    return bitcast<f32>((exponent << 23u) + ((high >> 8u) & 0x7fffffu) + ((high >> 7u) & 1u));
}
