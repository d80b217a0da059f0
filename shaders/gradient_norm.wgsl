// The size of the gradients: partial results for control.wgsl. Follows a storage prelude, of which only `grad` is read.
// Gradients in the parameters' buffer are bound as `grad` too, since this shader does not write to that buffer.
//
// An invocation sums the squares of 16 quads. There is no barrier: a tree reduction costs software adapters more than
// everything else here.

override WORKGROUP_SIZE: u32 = 256u;           // a multiple of 4
override GRID_WIDTH: u32 = 16384u;             // workgroups in a row of a grid that is folded
override TILED: bool = false;                  // one tile record per 4 invocations; else one run per dispatch
override LARGEST: bool = false;                // the largest magnitude instead of the sum of squares

const QUADS: u32 = 16u;                        // quads of an invocation; four invocations share a tile

// As in adam.wgsl.
struct Frame {
    param: u32,
    grad: u32,
    moment: u32,
    length: u32,
    first_tile: u32,
    plane: u32,
    first_partial: u32,         // index of the run's first partial result
}

struct Tile {
    param: u32,
    grad: u32,
    moment: u32,
    length_hyper: u32,
}

@group(1) @binding(0) var<storage, read> tiles: array<Tile>;
@group(1) @binding(1) var<uniform> frame: Frame;
// x, y, z: a sum of squares, as small, middling or large. w: the bits of the largest magnitude; without LARGEST only if
// it is not finite.
@group(2) @binding(0) var<storage, read_write> ledger: array<vec4<u32>>;

// A sum of squares is middling from 2^-90 to 2^100. Outside that range squares may have underflowed or overflowed. Then
// the elements are scaled by 2^80 or 2^-80, and their squares are summed again and separately (after Blue, "A portable
// Fortran program to find the Euclidean norm", 1978).
const LEAST: u32 = 0x12800000u;                // the bits of 2^-90
const RANGE: u32 = 0x5f000000u;                // added to LEAST: the bits of 2^100
const ONE: u32 = 0x3f800000u;
const INFINITY: u32 = 0x7f800000u;
const UP: f32 = 0x1p80f;
const DOWN: f32 = 0x1p-80f;

// QUADS quads of a run: `first` and those that follow at a distance of `apart`.
struct Quads {
    start: u32,
    length: u32,
    first: u32,
    apart: u32,
}

// The k-th of them, with zeros past the run's end. A mask discards what was read there: branches and clamping cost
// software adapters more.
fn load(quads: Quads, k: u32) -> vec4<f32> {
    let quad = quads.first + k * quads.apart;
    let left = quads.length - 4u * quad;
    let loaded = bitcast<vec4<u32>>(without_surplus(load_grad(word(quads.start, quad), left), left));
    return bitcast<vec4<f32>>(loaded & vec4<u32>(select(0u, 0xffffffffu, 4u * quad < quads.length)));
}

fn magnitude(quads: Quads, k: u32) -> vec4<u32> {
    return bitcast<vec4<u32>>(load(quads, k)) & vec4<u32>(0x7fffffffu);
}

fn square(quads: Quads, k: u32) -> vec4<f32> {
    let elements = load(quads, k);
    return elements * elements;
}

fn sum_elements(quad: vec4<f32>) -> f32 {
    return (quad.x + quad.y) + (quad.z + quad.w);
}

// Unrolled: a loop costs software adapters as much as its body.
fn sum_of_squares(quads: Quads) -> f32 {
    var sum = square(quads, 0u);
    sum += square(quads, 1u);
    sum += square(quads, 2u);
    sum += square(quads, 3u);
    sum += square(quads, 4u);
    sum += square(quads, 5u);
    sum += square(quads, 6u);
    sum += square(quads, 7u);
    sum += square(quads, 8u);
    sum += square(quads, 9u);
    sum += square(quads, 10u);
    sum += square(quads, 11u);
    sum += square(quads, 12u);
    sum += square(quads, 13u);
    sum += square(quads, 14u);
    sum += square(quads, 15u);
    return sum_elements(sum);
}

fn sum_of_scaled_squares(quads: Quads, scale: f32) -> f32 {
    var sum = vec4<f32>();
    for (var k = 0u; k < QUADS; k += 1u) {
        let scaled = load(quads, k) * scale;
        sum += scaled * scaled;
    }
    return sum_elements(sum);
}

fn sum_quads(quads: Quads) -> vec4<u32> {
    let middling = bitcast<u32>(sum_of_squares(quads)) & 0x7fffffffu;
    var partial = vec4<u32>(0u, middling, 0u, 0u);
    // Rare. A `while`, because software adapters compute the inside of an `if` for all invocations, and Mesa's GL makes
    // zeros of a loop with a break.
    var is_outside = middling - LEAST >= RANGE;
    while (is_outside) {
        is_outside = false;
        let is_small = middling <= ONE;
        let sum = bitcast<u32>(sum_of_scaled_squares(quads, select(DOWN, UP, is_small)));
        // From the elements' own bits: compilers may assume that sums are finite.
        let most = largest(quads).w;
        partial = vec4<u32>(select(0u, sum, is_small), 0u, select(sum, 0u, is_small), select(0u, most, most >= INFINITY));
    }
    return partial;
}

fn largest(quads: Quads) -> vec4<u32> {
    var most = vec4<u32>();
    for (var k = 0u; k < QUADS; k += 1u) {
        most = max(most, magnitude(quads, k));
    }
    return vec4<u32>(0u, 0u, 0u, max(max(most.x, most.y), max(most.z, most.w)));
}

fn measure(quads: Quads) -> vec4<u32> {
    if (LARGEST) {
        return largest(quads);
    }
    return sum_quads(quads);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn gradient_norm(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) local_index: u32) {
    let workgroup = workgroup_id.y * GRID_WIDTH + workgroup_id.x;
    let invocation = workgroup * WORKGROUP_SIZE + local_index;
    let partial_at = frame.first_partial + invocation;
    if (TILED) {
        let record = invocation >> 2u;
        if (record < frame.length) {
            let tile = tiles[frame.first_tile + record];
            ledger[partial_at] = measure(Quads(tile.grad, tile.length_hyper & 0xffffu, invocation & 3u, 4u));
        }
    } else {
        let quads = Quads(frame.grad, frame.length, workgroup * (QUADS * WORKGROUP_SIZE) + local_index, WORKGROUP_SIZE);
        // A folded grid has workgroups past the last one.
        if (4u * workgroup * (QUADS * WORKGROUP_SIZE) < frame.length) {
            ledger[partial_at] = measure(quads);
        }
    }
}
