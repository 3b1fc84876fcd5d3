// Weights of a unit of eight channels, from panels of a depth of 2: see panels.wgsl.

/// Rows `2 q` and `2 q + 1` of those for unit `k` of channels, of a matrix of `in_channels` rows of which the first is `first`.
fn weights_at(first: u32, k: u32, q: u32, in_channels: u32, lane: u32) -> Unit {
    let pairs = weight[(first / 2u + k * 4u + q) * LANES + lane];
    return Unit(lower(firsts(pairs), seconds(pairs)), upper(firsts(pairs), seconds(pairs)));
}
