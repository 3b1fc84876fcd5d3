//! Precision and recall of generated images: Kynkäänniemi et al. 2019, *Improved Precision and Recall Metric for
//! Assessing Generative Models*.
use super::parallel::in_parts;
use crate::error::{DataError, Unexpected};

/// The neighbour whose distance is the radius of a vector, as in the paper.
const NEIGHBOUR: usize = 3;

/// Vectors that are held against each other one at once: they stay in the cache.
const TOGETHER: usize = 8;

/// Numbers that are summed up side by side, as wide registers do.
const LANES: usize = 8;

/// How much of generated images looks real, and how much of real ones is generated.
///
/// ```
/// use ddim::data::PrecisionRecall;
///
/// let real = [0.0, 1.0, 2.0, 3.0];
/// // Half of these are far from all real ones; within their reach lie all of those.
/// let generated = [0.5, 2.5, 40.0, 60.0];
/// let found = PrecisionRecall::of_vectors(&real, &generated, 1)?;
/// assert_eq!(found, PrecisionRecall { precision: 0.5, recall: 1.0 });
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// The part of the generated vectors within the radius of a real one.
    pub precision: f64,
    /// The part of the real vectors within the radius of a generated one.
    pub recall: f64,
}

impl PrecisionRecall {
    /// Of vectors with `dimensions` numbers each, one after the other, such as features. The radius of a vector is the
    /// distance of its third neighbour among its own.
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
        let [real, generated] = [real, generated].map(|numbers| Vectors { numbers, dimensions });
        Ok(Self { precision: real.covers(generated), recall: generated.covers(real) })
    }
}

/// Vectors of one length.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    numbers: &'a [f32],
    dimensions: usize,
}

impl<'a> Vectors<'a> {
    fn each(self) -> impl Iterator<Item = &'a [f32]> {
        self.numbers.chunks_exact(self.dimensions)
    }

    /// Those with these numbers.
    fn some(self, first: usize, count: usize) -> Self {
        let numbers = &self.numbers[first * self.dimensions..][..count * self.dimensions];
        Self { numbers, ..self }
    }

    fn count(self) -> usize {
        self.numbers.len() / self.dimensions
    }

    /// The square of the distance of each from its third neighbour.
    fn radii(self) -> Vec<f32> {
        let mut radii = vec![0.0; self.count()];
        in_parts(&mut radii, TOGETHER, |part, radii| {
            let own = self.some(part * TOGETHER, radii.len());
            let mut distances = vec![Vec::new(); radii.len()];
            for other in self.each() {
                for (vector, distances) in own.each().zip(&mut distances) {
                    distances.push(apart(vector, other));
                }
            }
            for (radius, distances) in radii.iter_mut().zip(&mut distances) {
                // The nearest is the vector itself.
                *radius = *distances.select_nth_unstable_by(NEIGHBOUR, f32::total_cmp).1;
            }
        });
        radii
    }

    /// The part of the others that lies within the radius of one of these.
    fn covers(self, others: Self) -> f64 {
        let radii = self.radii();
        let mut covered = vec![false; others.count()];
        in_parts(&mut covered, TOGETHER, |part, covered| {
            let some = others.some(part * TOGETHER, covered.len());
            for (vector, radius) in self.each().zip(&radii) {
                for (other, covered) in some.each().zip(&mut *covered) {
                    *covered = *covered || apart(vector, other) <= *radius;
                }
            }
        });
        covered.iter().filter(|covered| **covered).count() as f64 / covered.len() as f64
    }
}

/// The square of the distance of two vectors.
fn apart(one: &[f32], other: &[f32]) -> f32 {
    let ((one, rest), (other, other_rest)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in one.iter().zip(other) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (a - b) * (a - b);
        }
    }
    let rest = rest.iter().zip(other_rest).map(|(a, b)| (a - b) * (a - b));
    sums.into_iter().chain(rest).sum()
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
        assert_eq!(of(&real), PrecisionRecall { precision: 1.0, recall: 1.0 });
        // One point four times: it is real, and its radius is nothing.
        assert_eq!(of(&[3.5; 4]), PrecisionRecall { precision: 1.0, recall: 0.0 });
        // Half of these are too far away; theirs reach all of the real ones.
        let far = of(&[-2.0, 9.5, 40.0, 60.0]);
        assert_eq!(far, PrecisionRecall { precision: 0.5, recall: 1.0 });
        assert!(PrecisionRecall::of_vectors(&real, &[1.0; 3], 1).is_err());
        assert!(PrecisionRecall::of_vectors(&real, &[1.0; 9], 2).is_err());
        assert!(PrecisionRecall::of_vectors(&[], &[], 0).is_err());
    }

    #[test]
    fn distances_are_of_all_numbers() {
        for count in [1, 7, 8, 9, 29] {
            let one: Vec<f32> = (0..count).map(|x| x as f32).collect();
            let other: Vec<f32> = one.iter().map(|x| x + 2.0).collect();
            assert_eq!(apart(&one, &other), 4.0 * count as f32);
        }
    }
}
