// Products of the tiles that attention and its gradients share on GPUs. A workgroup of 64 lanes, LANES of them along a head,
// owns TILE_ROWS tokens of one head, its rows, while tokens of the other side pass by BLOCK at a time. A lane multiplies
// ROWS of its rows with four tokens, then owns ROWS x COLUMNS vec4s of sums. 16 channels of rows and of tokens, then all
// channels of 4 * STEPS tokens, stand in workgroup memory.
// The importer says what `operand_at(which, place)` reads, in vec4s; which operand is a constant wherever it is called.

const QUERIES = 0u;
const KEYS = 1u;
const VALUES = 2u;
// Of y.
const GRADIENTS = 3u;

const BLOCK = 4u * LANES;
const GROUPS = 64u / LANES;
const TILE_ROWS = GROUPS * ROWS;
// One more than the vec4s of a row, so that rows begin in different banks.
const PITCH = LANES + 1u;
// vec4s of channels of a product at a time.
const DEPTH = 4u;
// Quadruples of tokens whose channels stand in workgroup memory together.
const STEPS = max(1u, 4u / COLUMNS);
const WIDTH4 = COLUMNS * LANES;
const STAGED = 4u * STEPS * WIDTH4;

// Of the workgroup's own tokens, then their weights.
var<workgroup> rows: array<vec4<f32>, TILE_ROWS * max(DEPTH, PITCH)>;
// Of the tokens that pass by.
var<workgroup> tile: array<vec4<f32>, max(DEPTH * BLOCK, STAGED)>;

/// Tokens of one head of an image: the first one's vec4 in its tensor, those to the next, and how many there are.
struct Side {
    first: u32,
    pitch4: u32,
    tokens: u32,
}

fn place_of(side: Side, token: u32, channel4: u32) -> u32 {
    return side.first + min(token, side.tokens - 1u) * side.pitch4 + min(channel4, params.head4 - 1u);
}

/// Row `r` of a lane, among the workgroup's: a lane's rows are GROUPS apart, its tokens LANES, so that neighbours read
/// neighbouring vec4s.
fn own_row(r: u32, lane: u32) -> u32 {
    return r * GROUPS + lane / LANES;
}

/// A lane's four tokens of the block that begins at `block`.
fn own_tokens(block: u32, lane: u32) -> vec4<u32> {
    return vec4<u32>(block + lane % LANES) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
}

/// A slot of the tokens that pass by, and the first of a workgroup's rows.
struct Slot { index: u32, first_row: u32 }

/// The grid's x axis has all tiles of rows for each slot.
fn slot_of(x: u32, tokens: u32) -> Slot {
    let tiles = (tokens + TILE_ROWS - 1u) / TILE_ROWS;
    let index = x / tiles;
    return Slot(index, (x - index * tiles) * TILE_ROWS);
}

/// The products of a lane's rows with its tokens, summed over the channels of a head.
fn products(
    product: ptr<function, array<vec4<f32>, ROWS>>,
    which: vec2<u32>,
    own: Side,
    other: Side,
    first: u32,
    block: u32,
    lane: u32,
) {
    for (var r = 0u; r < ROWS; r++) {
        (*product)[r] = vec4<f32>();
    }
    for (var c = 0u; c < params.head4; c += DEPTH) {
        // The tiles of the step before are still being read.
        workgroupBarrier();
        // Four lanes fetch a token's channels.
        let channel4 = c + lane % DEPTH;
        let inside = channel4 < params.head4;
        for (var i = 0u; i * 16u < TILE_ROWS; i++) {
            let row = i * 16u + lane / DEPTH;
            let fetched = operand_at(which.x, place_of(own, first + row, channel4));
            if row < TILE_ROWS {
                rows[lane % DEPTH * TILE_ROWS + row] = select(vec4<f32>(), fetched, inside);
            }
        }
        for (var i = 0u; i < BLOCK / 16u; i++) {
            let token = i * 16u + lane / DEPTH;
            let fetched = operand_at(which.y, place_of(other, block + token, channel4));
            tile[lane % DEPTH * BLOCK + token] = select(vec4<f32>(), fetched, inside);
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let near = d * BLOCK + lane % LANES;
            let b = transpose(
                mat4x4<f32>(tile[near], tile[near + LANES], tile[near + 2u * LANES], tile[near + 3u * LANES]),
            );
            for (var r = 0u; r < ROWS; r++) {
                let a = rows[d * TILE_ROWS + own_row(r, lane)];
                (*product)[r] = fma(vec4<f32>(a.x), b[0], (*product)[r]);
                (*product)[r] = fma(vec4<f32>(a.y), b[1], (*product)[r]);
                (*product)[r] = fma(vec4<f32>(a.z), b[2], (*product)[r]);
                (*product)[r] = fma(vec4<f32>(a.w), b[3], (*product)[r]);
            }
        }
    }
}

/// Keeps the lane's weights of its tokens, for `add_tokens`. Barriers stand around it.
fn keep(r: u32, lane: u32, weights: vec4<f32>) {
    rows[own_row(r, lane) * PITCH + lane % LANES] = weights;
}

/// Adds the channels of a block's tokens, each times the weight that was kept for it, to a lane's sums.
fn add_tokens(sum: ptr<function, array<vec4<f32>, ROWS * COLUMNS>>, which: u32, other: Side, block: u32, lane: u32) {
    for (var first = 0u; first < LANES; first += STEPS) {
        // The tile of the step before is still being read.
        workgroupBarrier();
        for (var i = 0u; i * 64u < STAGED; i++) {
            let place = i * 64u + lane;
            let number = place / WIDTH4;
            let token = block + first + number / 4u + number % 4u * LANES;
            let fetched = operand_at(which, place_of(other, token, place % WIDTH4));
            if place < STAGED {
                tile[place] = fetched;
            }
        }
        workgroupBarrier();
        for (var step = 0u; step < STEPS; step++) {
            var a: array<vec4<f32>, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                a[r] = rows[own_row(r, lane) * PITCH + first + step];
            }
            for (var c = 0u; c < 4u; c++) {
                for (var j = 0u; j < COLUMNS; j++) {
                    let b = tile[(step * 4u + c) * WIDTH4 + j * LANES + lane % LANES];
                    for (var r = 0u; r < ROWS; r++) {
                        (*sum)[r * COLUMNS + j] = fma(vec4<f32>(a[r][c]), b, (*sum)[r * COLUMNS + j]);
                    }
                }
            }
        }
    }
}
