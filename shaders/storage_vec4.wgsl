// Storage prelude, four elements a word: for runs whose parameters, gradients and moments all begin at a multiple of
// four elements and are a multiple of four long. Its twin, storage_scalar.wgsl, does the same for any run.
// Places are in elements; a quad is four elements, quad q of a run being its elements 4q to 4q + 3. `left` is how many
// elements a run has from a quad's first one on.

@group(0) @binding(0) var<storage, read_write> param: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;

// The word with which a quad of the run that begins at `start` begins.
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
