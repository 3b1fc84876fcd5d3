//! PyTorch's orders to this crate's and back.

/// `[outer, middle, inner]` to `[outer, inner, middle]`.
pub fn swap(x: &[f32], middle: usize, inner: usize) -> Vec<f32> {
    let mut swapped = Vec::with_capacity(x.len());
    for block in x.chunks_exact(middle * inner) {
        for i in 0..inner {
            swapped.extend((0..middle).map(|m| block[m * inner + i]));
        }
    }
    swapped
}

/// A parameter of PyTorch's order, in the order of `shape`, this crate's: `[inputs, outputs]` or
/// `[kernel, kernel, inputs, outputs]`.
pub fn parameter(x: &[f32], shape: &[usize]) -> Vec<f32> {
    match *shape {
        [inputs, outputs] => swap(x, outputs, inputs),
        [height, width, inputs, outputs] => {
            let taps = height * width;
            // [outputs, inputs, taps] to [taps, outputs, inputs] to [taps, inputs, outputs]
            swap(&swap(x, outputs * inputs, taps), outputs, inputs)
        }
        _ => x.to_vec(),
    }
}

/// The shape of a parameter in PyTorch's order from this crate's.
pub fn torch_shape(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [inputs, outputs] => vec![outputs, inputs],
        [height, width, inputs, outputs] => vec![outputs, inputs, height, width],
        _ => shape.to_vec(),
    }
}
