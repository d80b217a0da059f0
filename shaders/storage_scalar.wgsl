// Storage prelude, one element a word: for runs that begin or end inside a group of four elements, for buffers under
// 16 bytes, and for parameters and gradients that lie differently modulo four. Same functions as storage_vec4.wgsl.
// Loads past the end of a run are clamped to its last element, stores past it are left out.

// Gradients lie in the parameters' own buffer and are read through its binding: one buffer cannot be bound for writing
// and for reading in one dispatch.
override GRAD_IN_PARAM_BUFFER: bool = false;

@group(0) @binding(0) var<storage, read_write> param: array<f32>;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> moments: array<f32>;

// Where the four elements of a quad are; those past the end are the last one again.
fn quad_places(start: u32, quad: u32, length: u32) -> vec4<u32> {
    return start + min(4u * quad + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(length - 1u));
}

fn load_param(start: u32, quad: u32, length: u32) -> vec4<f32> {
    let at = quad_places(start, quad, length);
    return vec4<f32>(param[at.x], param[at.y], param[at.z], param[at.w]);
}

fn load_grad(start: u32, quad: u32, length: u32) -> vec4<f32> {
    let at = quad_places(start, quad, length);
    if (GRAD_IN_PARAM_BUFFER) {
        return vec4<f32>(param[at.x], param[at.y], param[at.z], param[at.w]);
    }
    return vec4<f32>(grad[at.x], grad[at.y], grad[at.z], grad[at.w]);
}

fn load_moment(start: u32, quad: u32, length: u32) -> vec4<f32> {
    let at = quad_places(start, quad, length);
    return vec4<f32>(moments[at.x], moments[at.y], moments[at.z], moments[at.w]);
}

fn store_param(start: u32, quad: u32, length: u32, value: vec4<f32>) {
    let first = 4u * quad;
    let at = start + first;
    param[at] = value.x;
    if (first + 1u < length) {
        param[at + 1u] = value.y;
    }
    if (first + 2u < length) {
        param[at + 2u] = value.z;
    }
    if (first + 3u < length) {
        param[at + 3u] = value.w;
    }
}

fn store_moment(start: u32, quad: u32, length: u32, value: vec4<f32>) {
    let first = 4u * quad;
    let at = start + first;
    moments[at] = value.x;
    if (first + 1u < length) {
        moments[at + 1u] = value.y;
    }
    if (first + 2u < length) {
        moments[at + 2u] = value.z;
    }
    if (first + 3u < length) {
        moments[at + 3u] = value.w;
    }
}
