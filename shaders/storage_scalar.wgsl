// Storage prelude, one element per word: for runs that begin or end inside a group of four elements, for buffers under
// 16 bytes, and for parameters and gradients whose offsets differ modulo four. Same functions as storage_vec4.wgsl.
// Loads past the end of a run read its last element; stores past the end are left out.

@group(0) @binding(0) var<storage, read_write> param: array<f32>;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> moments: array<f32>;

// The first word of a quad, for a run that begins at `start`.
fn word(start: u32, quad: u32) -> u32 {
    return start + 4u * quad;
}

// The words of a quad's four elements; past the end, the last element again.
fn quad_words(at: u32, left: u32) -> vec4<u32> {
    return at + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(left - 1u));
}

fn load_param(at: u32, left: u32) -> vec4<f32> {
    let words = quad_words(at, left);
    return vec4<f32>(param[words.x], param[words.y], param[words.z], param[words.w]);
}

fn load_grad(at: u32, left: u32) -> vec4<f32> {
    let words = quad_words(at, left);
    return vec4<f32>(grad[words.x], grad[words.y], grad[words.z], grad[words.w]);
}

fn load_moment(at: u32, left: u32) -> vec4<f32> {
    let words = quad_words(at, left);
    return vec4<f32>(moments[words.x], moments[words.y], moments[words.z], moments[words.w]);
}

fn store_param(at: u32, left: u32, value: vec4<f32>) {
    param[at] = value.x;
    if (left > 1u) {
        param[at + 1u] = value.y;
    }
    if (left > 2u) {
        param[at + 2u] = value.z;
    }
    if (left > 3u) {
        param[at + 3u] = value.w;
    }
}

fn store_moment(at: u32, left: u32, value: vec4<f32>) {
    moments[at] = value.x;
    if (left > 1u) {
        moments[at + 1u] = value.y;
    }
    if (left > 2u) {
        moments[at + 2u] = value.z;
    }
    if (left > 3u) {
        moments[at + 3u] = value.w;
    }
}

// The quad with zeros in place of elements loaded past the run's end.
fn without_surplus(quad: vec4<f32>, left: u32) -> vec4<f32> {
    return select(vec4<f32>(), quad, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(left));
}
