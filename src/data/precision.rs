//! Precision and recall of generated images: Kynkäänniemi et al. 2019, *Improved Precision and Recall Metric for Assessing
//! Generative Models*.
use crate::error::{DataError, Unexpected};
use std::thread;

/// The neighbour whose distance is the radius of a point: that of the paper.
pub const NEIGHBOUR: usize = 3;

/// How much of the generated images looks real, and how much of the real ones is generated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// The part of the generated vectors within the radius of a real one.
    pub precision: f64,
    /// The part of the real vectors within the radius of a generated one.
    pub recall: f64,
}

impl PrecisionRecall {
    /// Of vectors with `dimensions` numbers each, one after the other; the radius of a vector is the distance of its
    /// third neighbour among its own.
    ///
    /// # Errors
    /// If there are fewer than four of either, or not a whole number of them.
    pub fn of_vectors(
        real: &[f32],
        generated: &[f32],
        dimensions: usize,
    ) -> Result<Self, DataError> {
        for vectors in [real, generated] {
            let count = vectors.len().checked_div(dimensions).unwrap_or(0);
            let fits = count > NEIGHBOUR && count * dimensions == vectors.len();
            let expected = format!("{} or more of {dimensions} numbers", NEIGHBOUR + 1);
            Unexpected::check(fits, "vectors for precision and recall", expected, vectors.len())?;
        }
        let covered = |set: &[f32], of: &[f32]| {
            let radii = each(set, dimensions, |vector| {
                let mut all: Vec<f64> =
                    set.chunks_exact(dimensions).map(|other| apart(vector, other)).collect();
                // The nearest is the vector itself.
                *all.select_nth_unstable_by(NEIGHBOUR, f64::total_cmp).1
            });
            let inside = each(of, dimensions, |vector| {
                let mut near = set.chunks_exact(dimensions).zip(&radii);
                let is_near = near.any(|(other, radius)| apart(vector, other) <= *radius);
                f64::from(u8::from(is_near))
            });
            inside.iter().sum::<f64>() / inside.len() as f64
        };
        Ok(Self { precision: covered(real, generated), recall: covered(generated, real) })
    }
}

/// The square of the distance of two vectors.
fn apart(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// A number of each vector, by all cores.
fn each(vectors: &[f32], dimensions: usize, number: impl Fn(&[f32]) -> f64 + Sync) -> Vec<f64> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let count = vectors.len() / dimensions;
    let part = count.div_ceil(cores).max(1) * dimensions;
    thread::scope(|scope| {
        let number = &number;
        let parts = vectors.chunks(part).map(|part| {
            scope.spawn(move || part.chunks_exact(dimensions).map(number).collect::<Vec<_>>())
        });
        let parts: Vec<_> = parts.collect();
        let joined = parts.into_iter().map(|part| part.join());
        joined
            .flat_map(|part| part.unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_are_within_their_radii() {
        // Eight points, one apart: the radius of an inner one is 2, that of an outer one 3.
        let real: Vec<f32> = (0..8).map(|x| x as f32).collect();
        let of = |generated: &[f32]| {
            PrecisionRecall::of_vectors(&real, generated, 1).expect("enough points")
        };
        let same = of(&real);
        assert_eq!((same.precision, same.recall), (1.0, 1.0));
        // One point four times: it is real, and its radius is nothing.
        let one = of(&[3.5; 4]);
        assert_eq!((one.precision, one.recall), (1.0, 0.0));
        // Half of these are too far away; theirs reach all of the real ones.
        let far = of(&[-2.0, 9.5, 40.0, 60.0]);
        assert_eq!((far.precision, far.recall), (0.5, 1.0));
        assert!(PrecisionRecall::of_vectors(&real, &[1.0; 3], 1).is_err());
        assert!(PrecisionRecall::of_vectors(&real, &[1.0; 9], 2).is_err());
    }
}
