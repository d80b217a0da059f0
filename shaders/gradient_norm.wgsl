// The size of the gradients: partial results for control.wgsl. Follows a storage prelude, of which it reads `grad` alone.
// Where gradients lie in the parameters' buffer, that is bound as `grad`: nothing is written to it here.
//
// An invocation sums the squares of 16 quads. No barrier: a tree of them costs software adapters more than all else.

override WORKGROUP_SIZE: u32 = 256u;           // a multiple of 4
override GRID_WIDTH: u32 = 16384u;             // workgroups in a row of a grid that is folded
override TILED: bool = false;                  // a tile record for every 4 invocations, or one run for the dispatch
override NEIGHBOURS: bool = false;             // an invocation's quads are next to each other, else far apart
override LARGEST: bool = false;                // the largest magnitude instead of the sum of squares

const QUADS: u32 = 16u;                        // of an invocation; four invocations take a tile

// As in adam.wgsl.
struct Frame {
    param: u32,
    grad: u32,
    moment: u32,
    length: u32,
    first_tile: u32,
    plane: u32,
    first_partial: u32,         // where the run's partial results begin
}

struct Tile {
    param: u32,
    grad: u32,
    moment: u32,
    length_hyper: u32,
}

@group(1) @binding(0) var<storage, read> tiles: array<Tile>;
@group(1) @binding(1) var<uniform> frame: Frame;
// A sum of squares, as small, middling or large; or, with LARGEST, the bits of the largest magnitude. Whether they are of
// finite numbers is told where they are read: of what it computes itself a compiler may assume that it is.
@group(2) @binding(0) var<storage, read_write> ledger: array<vec4<u32>>;

// A sum of squares is middling from 2^-90 to 2^100. Outside, squares may have vanished or overflowed: then those of elements
// scaled by 2^80 or 2^-80 are summed anew, and apart (after Blue, "A portable Fortran program to find the Euclidean norm",
// 1978).
const LEAST: u32 = 0x12800000u;                // the bits of 2^-90
const RANGE: u32 = 0x5f000000u;                // from there to those of 2^100
const ONE: u32 = 0x3f800000u;
const UP: f32 = 0x1p80f;
const DOWN: f32 = 0x1p-80f;

// QUADS quads of a run from `first` on, `apart` from each other.
struct Quads {
    start: u32,
    length: u32,
    first: u32,
    apart: u32,
}

// The k-th of them; zeros in place of what is past the run's end. Clamped, for software adapters pay more for a branch.
fn load(quads: Quads, k: u32) -> vec4<f32> {
    let quad = quads.first + k * quads.apart;
    let clamped = min(quad, (quads.length - 1u) >> 2u);
    let left = quads.length - 4u * clamped;
    let elements = without_surplus(load_grad(word(quads.start, clamped), left), left);
    return select(vec4<f32>(), elements, quad == clamped);
}

fn square(quads: Quads, k: u32, scale: f32) -> vec4<f32> {
    let scaled = load(quads, k) * scale;
    return scaled * scaled;
}

fn magnitude(quads: Quads, k: u32) -> vec4<u32> {
    return bitcast<vec4<u32>>(load(quads, k)) & vec4<u32>(0x7fffffffu);
}

// Written out: a loop costs software adapters as much as what is in it.
fn sum_of_squares(quads: Quads, scale: f32) -> f32 {
    var sum = square(quads, 0u, scale);
    sum += square(quads, 1u, scale);
    sum += square(quads, 2u, scale);
    sum += square(quads, 3u, scale);
    sum += square(quads, 4u, scale);
    sum += square(quads, 5u, scale);
    sum += square(quads, 6u, scale);
    sum += square(quads, 7u, scale);
    sum += square(quads, 8u, scale);
    sum += square(quads, 9u, scale);
    sum += square(quads, 10u, scale);
    sum += square(quads, 11u, scale);
    sum += square(quads, 12u, scale);
    sum += square(quads, 13u, scale);
    sum += square(quads, 14u, scale);
    sum += square(quads, 15u, scale);
    return (sum.x + sum.y) + (sum.z + sum.w);
}

fn sum_quads(quads: Quads) -> vec4<u32> {
    var scale = 1.0;
    var bits = 0u;
    // Once, or twice: what is not finite may be so for its squares alone. Not by a loop with a break, of which Mesa's GL
    // makes zeros.
    var wanted = true;
    while (wanted) {
        bits = bitcast<u32>(sum_of_squares(quads, scale)) & 0x7fffffffu;
        wanted = scale == 1.0 && bits - LEAST >= RANGE;
        scale = select(scale, select(UP, DOWN, bits > ONE), wanted);
    }
    let sums = select(vec3<u32>(), vec3<u32>(bits), vec3<bool>(scale > 1.0, scale == 1.0, scale < 1.0));
    return vec4<u32>(sums, 0u);
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
            var quads = Quads(tile.grad, tile.length_hyper & 0xffffu, invocation & 3u, 4u);
            if (NEIGHBOURS) {
                quads = Quads(quads.start, quads.length, QUADS * quads.first, 1u);
            }
            ledger[partial_at] = measure(quads);
        }
    } else {
        var quads = Quads(frame.grad, frame.length, workgroup * (QUADS * WORKGROUP_SIZE) + local_index, WORKGROUP_SIZE);
        if (NEIGHBOURS) {
            quads = Quads(quads.start, quads.length, QUADS * invocation, 1u);
        }
        // A folded grid has workgroups past the last.
        if (4u * workgroup * (QUADS * WORKGROUP_SIZE) < frame.length) {
            ledger[partial_at] = measure(quads);
        }
    }
}
