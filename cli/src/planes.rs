//! Images in PyTorch's order of axes, as files hold them.

/// `[count, height, width, channels]` as `[count, channels, height, width]`.
pub fn channels_first(dense: &[f32], [count, height, width, channels]: [usize; 4]) -> Vec<f32> {
    let mut planes = Vec::with_capacity(dense.len());
    for image in dense.chunks_exact(height * width * channels).take(count) {
        for channel in 0..channels {
            planes.extend(image.iter().skip(channel).step_by(channels));
        }
    }
    planes
}

/// `[count, channels, height, width]`, of which the extents are told in that order, as
/// `[count, height, width, channels]`: the same with the roles of pixels and channels exchanged.
pub fn channels_last(planes: &[f32], [count, channels, height, width]: [usize; 4]) -> Vec<f32> {
    channels_first(planes, [count, channels, 1, height * width])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_undoes_the_other() {
        let dense: Vec<f32> = (0..2 * 3 * 5 * 4).map(|x| x as f32).collect();
        let planes = channels_first(&dense, [2, 3, 5, 4]);
        assert_eq!(planes[..4], [0.0, 4.0, 8.0, 12.0]);
        assert_eq!(channels_last(&planes, [2, 4, 3, 5]), dense);
    }
}
