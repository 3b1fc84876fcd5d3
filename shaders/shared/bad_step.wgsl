// What a sampling step met that is not finite, kept in `key`: the first such step counted from 1, or else 0, and what was bad in it.

// What was bad, as the host reads it.
const BAD_SAMPLE: u32 = 1u;
const BAD_OUTPUT: u32 = 2u;
const BAD_MEMORY: u32 = 4u;
const BAD_RESULT: u32 = 8u;
const BAD_GRADIENT: u32 = 16u;

/// All who report in a step store the same step, whoever comes first.
fn report(bad: u32) {
    let step = atomicLoad(&key[2]) + 1u;
    let first = atomicLoad(&key[4]);
    if first == 0u || first == step {
        atomicStore(&key[4], step);
        atomicOr(&key[5], bad);
    }
}
