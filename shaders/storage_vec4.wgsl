// Storage prelude, four elements per word: for runs whose parameters, gradients and moments all begin at a multiple of
// four elements, and whose length is a multiple of four. Its twin, storage_scalar.wgsl, does the same for any run.
// Offsets are in elements. Quad q of a run is its elements 4q to 4q + 3. `left` is the number of elements from a quad's
// first one to the end of the run.

@group(0) @binding(0) var<storage, read_write> param: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;

// The first word of a quad, for a run that begins at `start`.
fn word(start: u32, quad: u32) -> u32 {
    return (start >> 2u) + quad;
}

fn load_param(at: u32, left: u32) -> vec4<f32> {
    return param[at];
}

fn load_grad(at: u32, left: u32) -> vec4<f32> {
    return grad[at];
}

fn load_moment(at: u32, left: u32) -> vec4<f32> {
    return moments[at];
}

fn store_param(at: u32, left: u32, value: vec4<f32>) {
    param[at] = value;
}

fn store_moment(at: u32, left: u32, value: vec4<f32>) {
    moments[at] = value;
}

// The quad itself: in this prelude no load goes past the run's end.
fn without_surplus(quad: vec4<f32>, left: u32) -> vec4<f32> {
    return quad;
}
