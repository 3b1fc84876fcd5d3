//! How torch-fidelity and pytorch-fid make images as large as InceptionV3's.

/// Whose interpolation is used, and whose numbers stand for bytes.
///
/// Example: [`InceptionFeatures`](super::InceptionFeatures).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resizing {
    /// torch-fidelity's: TensorFlow 1's bilinear interpolation, whose pixels lie at their corners; a byte `b` is
    /// `(b - 128) / 128`.
    #[default]
    TorchFidelity,
    /// pytorch-fid's: PyTorch's bilinear interpolation, whose pixels lie at their middles; a byte `b` is
    /// `2 b / 255 - 1`.
    PytorchFid,
}

/// A line between two others.
#[derive(Clone, Copy)]
struct Line {
    first: usize,
    second: usize,
    /// 0 at the first, 1 at the second.
    share: f64,
}

impl Line {
    fn between(self, number: impl Fn(usize) -> f64) -> f64 {
        let first = number(self.first);
        first + (number(self.second) - first) * self.share
    }
}

impl Resizing {
    /// An image `[height, width, channels]`, -1 to 1 (what lies outside is clipped), as a network sees it that takes
    /// `side` by `side` pixels of three channels. It is rounded to bytes first, as in a picture.
    pub(super) fn seen(
        self,
        image: &[f32],
        [height, width, channels]: [usize; 3],
        side: usize,
    ) -> Vec<f32> {
        let byte = |number: &f32| f64::from(((number.clamp(-1.0, 1.0) + 1.0) * 127.5).round());
        let bytes: Vec<f64> = image.iter().map(byte).collect();
        let [rows, columns] = [height, width].map(|pixels| self.lines(pixels, side));
        let mut seen = Vec::with_capacity(side * side * 3);
        for row in rows {
            for column in &columns {
                for channel in 0..3 {
                    let channel = channel.min(channels - 1);
                    let number = row.between(|row| {
                        column.between(|column| bytes[(row * width + column) * channels + channel])
                    });
                    seen.push(self.number(number) as f32);
                }
            }
        }
        seen
    }

    /// What stands for a byte.
    fn number(self, byte: f64) -> f64 {
        match self {
            Self::TorchFidelity => (byte - 128.0) / 128.0,
            Self::PytorchFid => 2.0 * byte / 255.0 - 1.0,
        }
    }

    /// Where each of `side` lines lies among `pixels` of them.
    fn lines(self, pixels: usize, side: usize) -> Vec<Line> {
        let scale = pixels as f64 / side as f64;
        let line = |index: usize| {
            let place = match self {
                Self::TorchFidelity => index as f64 * scale,
                Self::PytorchFid => ((index as f64 + 0.5) * scale - 0.5).max(0.0),
            };
            let first = (place as usize).min(pixels - 1);
            Line { first, second: (first + 1).min(pixels - 1), share: place - first as f64 }
        };
        (0..side).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a grey column of two pixels, made four pixels high.
    fn four(resizing: Resizing, bytes: [f32; 2]) -> Vec<f32> {
        let image = bytes.map(|byte| byte / 127.5 - 1.0);
        let seen = resizing.seen(&image, [2, 1, 1], 4);
        seen.chunks_exact(4 * 3).map(|row| row[0]).collect()
    }

    #[test]
    fn lines_lie_where_both_projects_have_them() {
        let fidelity = four(Resizing::TorchFidelity, [0.0, 128.0]);
        assert_eq!(fidelity, [-1.0, -0.5, 0.0, 0.0]);
        let pytorch = four(Resizing::PytorchFid, [0.0, 255.0]);
        assert_eq!(pytorch, [-1.0, -0.5, 0.5, 1.0]);
        // Fewer lines: no line in between is averaged.
        let bytes: Vec<f32> = (0..4).map(|byte| byte as f32 * 80.0 / 127.5 - 1.0).collect();
        let first = |resizing: Resizing| resizing.seen(&bytes, [4, 1, 1], 2)[2 * 3];
        assert_eq!(first(Resizing::TorchFidelity), (160.0 - 128.0) / 128.0);
        assert_eq!(first(Resizing::PytorchFid), (2.0 * 200.0 / 255.0 - 1.0_f64) as f32);
    }

    #[test]
    fn colours_stay_and_what_is_too_bright_is_clipped() {
        let seen = Resizing::PytorchFid.seen(&[-3.0, 0.999, 7.0], [1, 1, 3], 2);
        assert_eq!(seen, [-1.0, 1.0, 1.0].repeat(4));
    }
}
