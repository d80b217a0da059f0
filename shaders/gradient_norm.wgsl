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

// Squares of elements below 2^-40 and from 2^50 on are summed apart, of elements scaled by 2^80 and 2^-80: so that no
// square overflows nor vanishes (after Blue, "A portable Fortran program to find the Euclidean norm", 1978; here for a
// quad by its largest element, beside which what is lost is nothing).
const SMALL: u32 = 0x2b800000u;                // 2^-40
const LARGE: u32 = 0x58800000u;                // 2^50
const UP: f32 = 0x1p80f;
const DOWN: f32 = 0x1p-80f;

struct Sums {
    squares: vec3<f32>,
    largest: u32,
}

fn add_quad(sums: Sums, start: u32, length: u32, quad: u32) -> Sums {
    if (4u * quad >= length) {
        return sums;
    }
    let left = length - 4u * quad;
    // What the scalar prelude loads past the end is no element.
    let elements = select(vec4<f32>(), load_grad(word(start, quad), left), vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(left));
    let magnitudes = bitcast<vec4<u32>>(elements) & vec4<u32>(0x7fffffffu);
    let largest = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
    let is_small = largest < SMALL;
    let is_large = largest >= LARGE;
    let scaled = elements * select(select(1.0, UP, is_small), DOWN, is_large);
    let square = dot(scaled, scaled);
    let squares = select(vec3<f32>(), vec3<f32>(square), vec3<bool>(is_small, !is_small && !is_large, is_large));
    return Sums(sums.squares + squares, max(sums.largest, largest));
}

fn sum_quads(start: u32, length: u32, first: u32, apart: u32) -> vec4<u32> {
    var sums = Sums();
    for (var k = 0u; k < QUADS; k += 1u) {
        sums = add_quad(sums, start, length, first + k * apart);
    }
    return vec4<u32>(bitcast<vec3<u32>>(sums.squares), sums.largest);
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
        ledger[partial_at] = sum_quads(tile.grad, tile.length_hyper & 0xffffu, number & 3u, 4u);
    } else {
        let first = workgroup * (QUADS * WORKGROUP_SIZE);
        // A folded grid has workgroups past the last.
        if (4u * first >= frame.length) {
            return;
        }
        ledger[partial_at] = sum_quads(frame.grad, frame.length, first + invocation, WORKGROUP_SIZE);
    }
}
