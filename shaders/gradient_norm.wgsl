// The size of the gradients: partial results for control.wgsl. Follows a storage prelude, of which it reads `grad` alone.
// Where gradients lie in the parameters' buffer, that is bound as `grad`: nothing is written to it here.
//
// An invocation sums the squares of 16 quads. No barrier: a tree of them costs software adapters more than all else.

override WORKGROUP_SIZE: u32 = 256u;           // a multiple of TILE_INVOCATIONS
override TILED: bool = false;                  // a tile record for every 4 invocations, or one run for the dispatch

const QUADS: u32 = 16u;                        // of an invocation; four invocations take a tile

// As in adam.wgsl.
struct Frame {
    param: u32,
    grad: u32,
    moment: u32,
    length: u32,
    first_tile: u32,
    plane: u32,
    workgroups_x: u32,
    first_partial: u32,         // where the run's partial results begin
    norm_workgroups_x: u32,     // width of this grid, folded where one dimension does not hold it
}

struct Tile {
    param: u32,
    grad: u32,
    moment: u32,
    length_hyper: u32,
}

@group(1) @binding(0) var<storage, read> tiles: array<Tile>;
@group(1) @binding(1) var<uniform> frame: Frame;
// Sums of squares of small, middling and large elements as f32, and the largest magnitude's bits.
@group(2) @binding(0) var<storage, read_write> ledger: array<vec4<u32>>;

// Where the largest element of an invocation is below 2^-40, or from 2^50 on, squares are summed anew of elements scaled
// by 2^80 or 2^-80, and apart: so that no square overflows nor vanishes that counts (after Blue, "A portable Fortran
// program to find the Euclidean norm", 1978).
const SMALL: u32 = 0x2b800000u;                // 2^-40
const LARGE: u32 = 0x58800000u;                // 2^50
const UP: f32 = 0x1p80f;
const DOWN: f32 = 0x1p-80f;

// QUADS quads of a run from `first` on, `apart` from each other.
struct Quads {
    start: u32,
    length: u32,
    first: u32,
    apart: u32,
}

struct Sum {
    squares: vec4<f32>,
    largest: vec4<u32>,
}

fn sum_scaled(quads: Quads, scale: f32) -> Sum {
    var sum = Sum();
    for (var k = 0u; k < QUADS; k += 1u) {
        let quad = quads.first + k * quads.apart;
        if (4u * quad < quads.length) {
            let left = quads.length - 4u * quad;
            let elements = without_surplus(load_grad(word(quads.start, quad), left), left);
            let scaled = elements * scale;
            sum.squares += scaled * scaled;
            sum.largest = max(sum.largest, bitcast<vec4<u32>>(elements) & vec4<u32>(0x7fffffffu));
        }
    }
    return sum;
}

fn add(sums: vec4<f32>) -> f32 {
    return (sums.x + sums.y) + (sums.z + sums.w);
}

fn sum_quads(quads: Quads) -> vec4<u32> {
    let sum = sum_scaled(quads, 1.0);
    let largest = max(max(sum.largest.x, sum.largest.y), max(sum.largest.z, sum.largest.w));
    var squares = vec3<f32>(0.0, add(sum.squares), 0.0);
    if (largest >= LARGE) {
        squares = vec3<f32>(0.0, 0.0, add(sum_scaled(quads, DOWN).squares));
    } else if (largest < SMALL && largest > 0u) {
        squares = vec3<f32>(add(sum_scaled(quads, UP).squares), 0.0, 0.0);
    }
    return vec4<u32>(bitcast<vec3<u32>>(squares), largest);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn gradient_norm(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let workgroup = workgroup_id.y * frame.norm_workgroups_x + workgroup_id.x;
    let number = workgroup * WORKGROUP_SIZE + invocation;
    let partial_at = frame.first_partial + number;
    if (TILED) {
        let record = number >> 2u;
        if (record >= frame.length) {
            return;
        }
        let tile = tiles[frame.first_tile + record];
        ledger[partial_at] = sum_quads(Quads(tile.grad, tile.length_hyper & 0xffffu, number & 3u, 4u));
    } else {
        let first = workgroup * (QUADS * WORKGROUP_SIZE);
        // A folded grid has workgroups past the last.
        if (4u * first >= frame.length) {
            return;
        }
        ledger[partial_at] = sum_quads(Quads(frame.grad, frame.length, first + invocation, WORKGROUP_SIZE));
    }
}
