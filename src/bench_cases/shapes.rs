//! Shapes by hand: products of matrices, and the U-Net of Stable Diffusion (Rombach et al. 2022)
//! on latents of 64x64.
use super::BenchCase;
use crate::{
    error::Error,
    graph::Graph,
    ops::{Attention, Case, Conv2d, GroupNorm, Linear, Op},
    passes,
    value::TensorType,
};

/// Tokens of a prompt, and channels of each.
const PROMPT: [usize; 2] = [77, 768];

/// Square products of these extents, and the gradients.
///
/// # Errors
/// None of shapes like these.
///
/// Example: [`crate::bench_cases`].
pub fn products(extents: &[usize], cases: &[Case]) -> Result<Vec<BenchCase>, Error> {
    let mut bench_cases = Vec::new();
    for &n in extents {
        let of = TensorType::f32(&[n, n]);
        bench_cases.extend(differentiated("product", Linear, &[of, of], cases)?);
    }
    Ok(bench_cases)
}

/// Convolutions, linear layers, attention and norms of Stable Diffusion's U-Net, and their
/// gradients: an image of 64x64x4, 320 to 1280 channels, eight heads of 40 to 160 channels
/// (version 1) or heads of 64 (version 2), cross attention to 77 tokens.
///
/// # Errors
/// None of shapes like these.
///
/// Example: [`crate::bench_cases::distinct()`].
pub fn stable_diffusion(cases: &[Case]) -> Result<Vec<BenchCase>, Error> {
    const WHOSE: &str = "sd";
    let mut bench_cases = Vec::new();
    let mut add = |op: Op, shapes: &[&[usize]]| -> Result<(), Error> {
        let types: Vec<TensorType> = shapes.iter().map(|shape| TensorType::f32(shape)).collect();
        bench_cases.extend(differentiated(WHOSE, op, &types, cases)?);
        Ok(())
    };
    // Side of the image, channels in and out: blocks on the way down, then those on the way up,
    // which read a concatenation.
    let convolutions = [
        (64, &[(4, 320), (320, 320), (640, 320), (960, 320), (320, 4)][..]),
        (32, &[(320, 640), (640, 640), (960, 640), (1280, 640), (1920, 640)]),
        (16, &[(640, 1280), (1280, 1280), (1920, 1280), (2560, 1280)]),
        (8, &[(1280, 1280), (2560, 1280)]),
    ];
    let same = Conv2d { stride: 1, padding: [1; 4] };
    for (side, channels) in convolutions {
        for &(from, to) in channels {
            add(same.into(), &[&[1, side, side, from], &[3, 3, from, to], &[to]])?;
        }
        for &(from, to) in channels.iter().filter(|(from, to)| from != to && from.min(to) > &4) {
            let shortcut = Conv2d { stride: 1, padding: [0; 4] };
            add(shortcut.into(), &[&[1, side, side, from], &[1, 1, from, to], &[to]])?;
        }
    }
    for (side, channels) in [(64, 320), (32, 640), (16, 1280)] {
        let halving = Conv2d { stride: 2, padding: [1; 4] };
        let weight = [3, 3, channels, channels];
        add(halving.into(), &[&[1, side, side, channels], &weight, &[channels]])?;
    }
    transformers(&mut add)?;
    let norms = [
        (64, &[320, 640, 960][..]),
        (32, &[320, 640, 960, 1280, 1920]),
        (16, &[640, 1280, 1920, 2560]),
        (8, &[1280, 2560]),
    ];
    for (side, widths) in norms {
        for &channels in widths {
            let norm = GroupNorm { groups: 32, eps: 1e-5.into() };
            add(norm.into(), &[&[1, side, side, channels], &[channels], &[channels]])?;
        }
    }
    Ok(bench_cases)
}

/// Projections and attention of a level's pixels, to themselves and to the prompt.
fn transformers(add: &mut impl FnMut(Op, &[&[usize]]) -> Result<(), Error>) -> Result<(), Error> {
    for (tokens, channels) in [(4096, 320), (1024, 640), (256, 1280), (64, 1280)] {
        let [words, wide] = PROMPT;
        let inner = 4 * channels;
        for (rows, from, to) in [
            (tokens, channels, channels),
            (tokens, channels, 2 * inner),
            (tokens, inner, channels),
            (words, wide, channels),
        ] {
            add(Linear.into(), &[&[1, rows, from], &[from, to], &[to]])?;
        }
        for heads in [8, channels / 64] {
            for keys in [tokens, words] {
                let (q, k) = ([1, tokens, channels], [1, keys, channels]);
                add(Attention::to_all(heads).into(), &[&q, &k, &k])?;
            }
        }
    }
    Ok(())
}

/// An op and all that its gradient computes.
fn differentiated(
    whose: &str,
    op: impl Into<Op>,
    types: &[TensorType],
    cases: &[Case],
) -> Result<Vec<BenchCase>, Error> {
    let mut graph = Graph::new();
    let inputs: Vec<_> = types.iter().map(|of| graph.input(*of)).collect();
    let y = graph.push(op.into(), &inputs)?;
    let dy = graph.input(graph.type_of(y));
    passes::gradient(&mut graph, y, dy, &inputs)?;
    super::equations(whose, &graph, cases)
}
