// Storage prelude, four elements a word: for runs whose parameters, gradients and moments all begin at a multiple of
// four elements and are a multiple of four long. Its twin, storage_scalar.wgsl, does the same for any run.
// All places and lengths are in elements; a quad is four elements, quad q of a run being its elements 4q to 4q + 3.

// Gradients lie in the parameters' own buffer and are read through its binding: one buffer cannot be bound for writing
// and for reading in one dispatch.
override GRAD_IN_PARAM_BUFFER: bool = false;

@group(0) @binding(0) var<storage, read_write> param: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;

fn load_param(start: u32, quad: u32, length: u32) -> vec4<f32> {
    return param[(start >> 2u) + quad];
}

fn load_grad(start: u32, quad: u32, length: u32) -> vec4<f32> {
    if (GRAD_IN_PARAM_BUFFER) {
        return param[(start >> 2u) + quad];
    }
    return grad[(start >> 2u) + quad];
}

fn load_moment(start: u32, quad: u32, length: u32) -> vec4<f32> {
    return moments[(start >> 2u) + quad];
}

fn store_param(start: u32, quad: u32, length: u32, value: vec4<f32>) {
    param[(start >> 2u) + quad] = value;
}

fn store_moment(start: u32, quad: u32, length: u32, value: vec4<f32>) {
    moments[(start >> 2u) + quad] = value;
}
