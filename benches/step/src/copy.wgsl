// The yardstick: reads and writes exactly the bytes of a step, and computes nothing. Planes change places, so that
// every read is needed; u32, so that no bits have a special meaning. Indexed like adam.wgsl, with as many quads per
// invocation.

override WORKGROUP_SIZE: u32 = 256u;
override QUADS_LOG2: u32 = 0u;  // 1, 2 or 4 quads, next to each other
override AMSGRAD: bool = false; // one more plane, read and written

struct Frame {
    quads: u32,
    plane: u32,                 // quads from one plane of moments to the next
}

@group(0) @binding(0) var<storage, read_write> param: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> grad: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<u32>>;
@group(0) @binding(3) var<uniform> frame: Frame;

fn copy_quad(quad: u32) {
    if (quad < frame.quads) {
        let exp_avg_sq_at = quad + frame.plane;
        let max_exp_avg_sq_at = exp_avg_sq_at + frame.plane;
        let exp_avg = moments[quad];
        let exp_avg_sq = moments[exp_avg_sq_at];
        var last = param[quad] ^ grad[quad];
        if (AMSGRAD) {
            let max_exp_avg_sq = moments[max_exp_avg_sq_at];
            moments[max_exp_avg_sq_at] = last;
            last = max_exp_avg_sq;
        }
        param[quad] = exp_avg;
        moments[quad] = exp_avg_sq;
        moments[exp_avg_sq_at] = last;
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn copy(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let first = (workgroup_id.x * WORKGROUP_SIZE + invocation) << QUADS_LOG2;
    copy_quad(first);
    if (QUADS_LOG2 > 0u) {
        copy_quad(first + 1u);
    }
    if (QUADS_LOG2 > 1u) {
        copy_quad(first + 2u);
        copy_quad(first + 3u);
    }
}
