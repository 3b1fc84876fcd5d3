//! Pictures in tiles that overlap: diffusers' `enable_tiling` of an autoencoder.

/// Pixels `[batch, height, width, channels]`, of pictures or latents.
#[derive(Clone, Debug)]
pub(super) struct Pixels {
    /// Batch, height and width.
    pub size: [usize; 3],
    pub channels: usize,
    pub data: Vec<f32>,
}

impl Pixels {
    /// A row of pixels of an image.
    fn row(&self, image: usize, row: usize) -> &[f32] {
        let [_, height, width] = self.size;
        &self.data[(image * height + row) * width * self.channels..][..width * self.channels]
    }

    /// At most `side` rows and columns from `top` and `left` on.
    fn part(&self, [top, left]: [usize; 2], side: usize) -> Self {
        let ([batch, height, width], channels) = (self.size, self.channels);
        let size = [batch, side.min(height - top), side.min(width - left)];
        let mut data = Vec::with_capacity(size.iter().product::<usize>() * channels);
        for image in 0..batch {
            for row in top..top + size[1] {
                data.extend(&self.row(image, row)[left * channels..(left + size[2]) * channels]);
            }
        }
        Self { size, channels, data }
    }

    /// Mixes the first rows (`axis` 1) or columns (2) with the last ones of the neighbour before:
    /// the share of its own grows from 0 in steps of `1 / count`.
    fn blend(&mut self, before: &Self, axis: usize, most: usize) {
        let count = most.min(before.size[axis]).min(self.size[axis]);
        let ([batch, height, width], channels) = (self.size, self.channels);
        let [rows, columns] = if axis == 1 { [count, width] } else { [height, count] };
        let skipped = before.size[axis] - count;
        for (image, row, column) in (0..batch)
            .flat_map(|image| (0..rows).map(move |row| (image, row)))
            .flat_map(|(image, row)| (0..columns).map(move |column| (image, row, column)))
        {
            let (place, from) = match axis {
                1 => (row, (row + skipped, column)),
                _ => (column, (row, column + skipped)),
            };
            let share = place as f32 / count as f32;
            let theirs = &before.row(image, from.0)[from.1 * channels..][..channels];
            let own = ((image * height + row) * width + column) * channels;
            for (own, theirs) in self.data[own..own + channels].iter_mut().zip(theirs) {
                *own = theirs * (1.0 - share) + *own * share;
            }
        }
    }
}

/// How pictures are cut, and put together again at another resolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    /// Side of a tile.
    pub side: usize,
    /// From one to the next.
    pub stride: usize,
    /// Pixels of a result that are mixed with those of the neighbour.
    pub blend: usize,
    /// Pixels of a result that are kept.
    pub kept: usize,
}

impl Tiling {
    /// Tiles of `side`, whose results have `result` pixels along a side; a quarter overlaps.
    pub fn new(side: usize, result: usize) -> Self {
        let blend = result / 4;
        Self { side, stride: (side * 3 / 4).max(1), blend, kept: result - blend }
    }

    /// The tiles, row by row.
    pub fn cut(&self, whole: &Pixels) -> Vec<Vec<Pixels>> {
        let [_, height, width] = whole.size;
        let row = |top: usize| {
            (0..width).step_by(self.stride).map(|left| whole.part([top, left], self.side)).collect()
        };
        (0..height).step_by(self.stride).map(row).collect()
    }

    /// The picture of the tiles' results: each is mixed with the mixed ones above and to the left.
    pub fn join(&self, mut grid: Vec<Vec<Pixels>>) -> Pixels {
        for row in 0..grid.len() {
            for column in 0..grid[row].len() {
                let (above, rest) = grid.split_at_mut(row);
                let (left, own) = rest[0].split_at_mut(column);
                if let Some(above) = above.last() {
                    own[0].blend(&above[column], 1, self.blend);
                }
                if let Some(left) = left.last() {
                    own[0].blend(left, 2, self.blend);
                }
            }
        }
        let kept: Vec<Vec<Pixels>> = grid
            .iter()
            .map(|row| row.iter().map(|tile| tile.part([0, 0], self.kept)).collect())
            .collect();
        let (batch, channels) = (kept[0][0].size[0], kept[0][0].channels);
        let height = kept.iter().map(|row| row[0].size[1]).sum();
        let width = kept[0].iter().map(|tile| tile.size[2]).sum();
        let mut data = Vec::with_capacity(batch * height * width * channels);
        for image in 0..batch {
            for row in &kept {
                for line in 0..row[0].size[1] {
                    row.iter().for_each(|tile| data.extend(tile.row(image, line)));
                }
            }
        }
        Pixels { size: [batch, height, width], channels, data }
    }
}
