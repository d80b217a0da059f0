// Adds the counts of skipped steps to a larger buffer, which may already hold counts of its own. Zeroes each count that
// it moves, so that moving it again adds nothing. One workgroup.

override WORKGROUP_SIZE: u32 = 256u;

@group(0) @binding(0) var<storage, read_write> outgrown: array<u32>;
@group(0) @binding(1) var<storage, read_write> skipped: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn move_counts(@builtin(local_invocation_index) invocation: u32) {
    for (var tensor = invocation; tensor < arrayLength(&outgrown); tensor += WORKGROUP_SIZE) {
        skipped[tensor] += outgrown[tensor];
        outgrown[tensor] = 0u;
    }
}
