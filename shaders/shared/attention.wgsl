// What the kernels of attention and of its gradients are told, and which head of which image a workgroup computes.
struct Params {
    /// Images.
    batch: u32,
    /// Queries of an image.
    queries: u32,
    /// Keys of an image.
    keys: u32,
    /// vec4s of a token of y.
    channels4: u32,
    /// vec4s from a token of q, k or v to the next: q, k and v may be parts of one tensor.
    pitch4: u32,
    /// vec4s before the first token's part of k.
    k_first4: u32,
    /// And of v.
    v_first4: u32,
    /// vec4s of a head; the COLUMNS of all lanes cover them.
    head4: u32,
    /// Heads of a token.
    heads: u32,
    /// Multiplies the products q k^T.
    scale: f32,
    /// Keys that a workgroup goes over whose tile is split; queries, of the gradients of keys and values.
    slot_tokens: u32,
    /// 1 if a query sees the keys up to its own position alone, 0 if it sees all. A number rather than a constant: it is read
    /// once for a block of tokens, and a constant would double the kernels.
    causal: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

/// The head of an image that a workgroup computes.
struct Head {
    // Number among the heads of all images.
    index: u32,
    image: u32,
    // Its first vec4 in a token.
    first4: u32,
}

/// Workgroups: (tiles of tokens, heads, batch), or all heads of the batch folded into y and z. Past the last head of the
/// last image the last one is computed again.
fn head_of(group: vec3<u32>, groups: vec3<u32>) -> Head {
    let index = min(group.z * groups.y + group.y, params.batch * params.heads - 1u);
    let image = index / params.heads;
    return Head(index, image, (index - image * params.heads) * params.head4);
}

fn is_causal() -> bool {
    return params.causal != 0u;
}

/// The number of keys that the queries before `end` see.
fn keys_before(end: u32) -> u32 {
    return select(params.keys, min(params.keys, end), is_causal());
}

/// The first query that sees keys from `key` on, rounded down to a block of so many.
fn first_query_of(key: u32, block: u32) -> u32 {
    return select(0u, key / block * block, is_causal());
}

/// Of each of four keys, how many of the queries from `first` on come before those that see it; past the last key, more than
/// there are.
fn queries_before(first: u32, keys: vec4<u32>) -> vec4<u32> {
    let before = select(vec4<u32>(), keys - min(keys, vec4<u32>(first)), is_causal());
    return select(vec4<u32>(0xffffffffu), before, keys < vec4<u32>(params.keys));
}

/// Of each of four queries, how many of the keys from `first` on it sees, whether there are as many or not; past the last
/// query, none.
fn keys_seen(first: u32, queries: vec4<u32>) -> vec4<u32> {
    let ends = queries + 1u;
    let seen = select(vec4<u32>(0xffffffffu), ends - min(ends, vec4<u32>(first)), is_causal());
    return select(vec4<u32>(), seen, queries < vec4<u32>(params.queries));
}

/// The logarithm of a sum of at least 1, with a step of Newton's method. WGSL lets a driver be off by 2^-21, and the
/// backward pass multiplies every weight of the row by exp of that.
fn log_of_sum(sum: f32) -> f32 {
    let rough = log(sum);
    return rough + (sum * exp(-rough) - 1.0);
}

/// Numbers of a head's rows in log_sum_exp and delta.
fn row_pitch() -> u32 {
    return (params.queries + 3u) / 4u * 4u;
}
