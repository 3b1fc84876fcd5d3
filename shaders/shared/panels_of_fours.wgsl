// Weights of a unit of four channels, from panels of a depth of 1: see panels.wgsl.

/// Row `q` of those for unit `k` of channels, of a matrix of `in_channels` rows of which the first is `first`.
fn weights_at(first: u32, k: u32, q: u32, in_channels: u32, lane: u32) -> Unit {
    // The pad lanes of x are zero; any weight will do for them.
    return widen_weight(weight[(first + min(k * 4u + q, in_channels - 1u)) * LANES + lane]);
}
