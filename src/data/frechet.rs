//! The Frechet distance between two sets of images, over their pixels or other features, and exact.
use super::{
    Dataset,
    spectrum::{eigenvalues_of_product, product},
};
use crate::error::{DataError, Unexpected};

/// Numbers of a vector up to which Jacobi's rotations are quick: they are exact to the last digits.
const FEW: usize = 256;

/// Mean and covariance of a set of vectors: images with pixels between 0 and 1, or features.
///
/// Example: [`crate::data`].
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    mean: Vec<f64>,
    covariance: Matrix,
}

impl Moments {
    /// The moments of images with `dimensions` numbers each, from -1 to 1 (what lies outside is
    /// clipped). The covariance is the unbiased one.
    ///
    /// # Errors
    /// If there are fewer than two images, or not a whole number of them.
    pub fn of_images(images: &[f32], dimensions: usize) -> Result<Self, DataError> {
        let unit = |number: &f32| (f64::from(*number) / 2.0 + 0.5).clamp(0.0, 1.0);
        Self::of_vectors(images.iter().map(unit).collect(), dimensions)
    }

    /// The moments of vectors with `dimensions` numbers each, one after the other. The covariance
    /// is the unbiased one.
    ///
    /// # Errors
    /// If there are fewer than two vectors, or not a whole number of them.
    pub fn of_vectors(mut vectors: Vec<f64>, dimensions: usize) -> Result<Self, DataError> {
        let count = vectors.len().checked_div(dimensions).unwrap_or(0);
        let fits = count >= 2 && count * dimensions == vectors.len();
        let expected = format!("two or more of {dimensions} numbers");
        Unexpected::check(fits, "vectors for a distance", expected, vectors.len())?;
        let mut mean = vec![0.0; dimensions];
        for vector in vectors.chunks_exact(dimensions) {
            mean.iter_mut().zip(vector).for_each(|(sum, number)| *sum += number);
        }
        mean.iter_mut().for_each(|sum| *sum /= count as f64);
        for vector in vectors.chunks_exact_mut(dimensions) {
            vector.iter_mut().zip(&mean).for_each(|(number, mean)| *number -= mean);
        }
        let number = |row: usize, vector: usize| vectors[vector * dimensions + row];
        let mut elements = product(dimensions, dimensions, number, &vectors);
        elements.iter_mut().for_each(|sum| *sum /= (count - 1) as f64);
        Ok(Self { mean, covariance: Matrix { order: dimensions, elements } })
    }

    /// The moments of a whole data set.
    ///
    /// # Errors
    /// If it has fewer than two images.
    pub fn of(dataset: &Dataset) -> Result<Self, DataError> {
        Self::of_images(&dataset.images(), dataset.image_elements())
    }

    /// `|m1 - m2|^2 + tr(C1 + C2 - 2 sqrt(C1 C2))`: Frechet, *Sur la distance de deux lois de
    /// probabilite* (1957), for normal distributions with these moments. The root has the
    /// eigenvalues of the symmetric `sqrt(C1) C2 sqrt(C1)`, and of `L^T C2 L` with `L L^T = C1`,
    /// which is taken for long vectors.
    ///
    /// # Panics
    /// If the vectors have not the same length.
    pub fn distance(&self, other: &Self) -> f64 {
        assert_eq!(self.mean.len(), other.mean.len(), "vectors of one length");
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let values = match self.mean.len() {
            ..=FEW => self.covariance.exact_eigenvalues_of_product(&other.covariance),
            _ => self.covariance.eigenvalues_of_product(&other.covariance),
        };
        let shared: f64 = values.into_iter().map(|value| value.max(0.0).sqrt()).sum();
        means + self.covariance.trace() + other.covariance.trace() - 2.0 * shared
    }
}

/// A square, row-major matrix.
#[derive(Clone, Debug, PartialEq)]
struct Matrix {
    order: usize,
    elements: Vec<f64>,
}

impl Matrix {
    fn zeros(order: usize) -> Self {
        Self { order, elements: vec![0.0; order * order] }
    }

    fn trace(&self) -> f64 {
        self.elements.iter().step_by(self.order + 1).sum()
    }

    fn times(&self, other: &Self) -> Self {
        let order = self.order;
        let element = |row: usize, column: usize| self.elements[row * order + column];
        Self { order, elements: product(order, order, element, &other.elements) }
    }

    /// The eigenvalues of the product of two symmetric matrices without negative ones.
    fn exact_eigenvalues_of_product(&self, other: &Self) -> Vec<f64> {
        let root = self.root();
        root.times(other).times(&root).eigen().0
    }

    /// The same without eigenvectors, for large matrices.
    fn eigenvalues_of_product(&self, other: &Self) -> Vec<f64> {
        eigenvalues_of_product(&self.elements, &other.elements, self.order)
    }

    /// The symmetric root of a symmetric matrix without negative eigenvalues.
    fn root(&self) -> Self {
        let (values, vectors) = self.eigen();
        let mut root = Self::zeros(self.order);
        for (value, vector) in values.iter().zip(vectors.elements.chunks_exact(self.order)) {
            let scale = value.max(0.0).sqrt();
            for (row, left) in root.elements.chunks_exact_mut(self.order).zip(vector) {
                row.iter_mut().zip(vector).for_each(|(sum, right)| *sum += scale * left * right);
            }
        }
        root
    }

    /// Eigenvalues and, row by row, eigenvectors of a symmetric matrix: Jacobi's rotations, in
    /// cyclic order until the rest off the diagonal is rounding noise.
    fn eigen(&self) -> (Vec<f64>, Self) {
        /// Sweeps converge quadratically: some ten suffice for any size that is feasible at all.
        const MAX_SWEEPS: usize = 60;
        let order = self.order;
        let mut matrix = self.clone();
        let mut vectors = Self::zeros(order);
        vectors.elements.iter_mut().step_by(order + 1).for_each(|element| *element = 1.0);
        let scale: f64 = self.elements.iter().map(|element| element * element).sum();
        for _ in 0..MAX_SWEEPS {
            let mut rest = 0.0;
            for p in 0..order {
                for q in p + 1..order {
                    let off = matrix.elements[p * order + q];
                    rest += off * off;
                    if off != 0.0 {
                        let (cosine, sine) = matrix.rotation(p, q);
                        matrix.rotate_rows(p, q, cosine, sine);
                        matrix.rotate_columns(p, q, cosine, sine);
                        vectors.rotate_rows(p, q, cosine, sine);
                    }
                }
            }
            if rest <= scale * 1e-30 {
                break;
            }
        }
        (matrix.elements.into_iter().step_by(order + 1).collect(), vectors)
    }

    /// Cosine and sine of the rotation that makes element (p, q) zero.
    fn rotation(&self, p: usize, q: usize) -> (f64, f64) {
        let at = |row: usize, column: usize| self.elements[row * self.order + column];
        let theta = (at(q, q) - at(p, p)) / (2.0 * at(p, q));
        let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
        let cosine = 1.0 / tangent.hypot(1.0);
        (cosine, tangent * cosine)
    }

    fn rotate_rows(&mut self, p: usize, q: usize, cosine: f64, sine: f64) {
        let (above, below) = self.elements.split_at_mut(q * self.order);
        let first = &mut above[p * self.order..][..self.order];
        for (a, b) in first.iter_mut().zip(&mut below[..self.order]) {
            (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
        }
    }

    fn rotate_columns(&mut self, p: usize, q: usize, cosine: f64, sine: f64) {
        for row in self.elements.chunks_exact_mut(self.order) {
            (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_give_the_matrix_back() {
        let order = 7;
        let mut matrix = Matrix::zeros(order);
        for row in 0..order {
            for column in 0..order {
                let (low, high) = (row.min(column), row.max(column));
                matrix.elements[row * order + column] = ((low * 3 + high * 5) as f64).sin();
            }
        }
        let (values, vectors) = matrix.eigen();
        let mut again = Matrix::zeros(order);
        for (value, vector) in values.iter().zip(vectors.elements.chunks_exact(order)) {
            for row in 0..order {
                for column in 0..order {
                    again.elements[row * order + column] += value * vector[row] * vector[column];
                }
            }
        }
        for (again, element) in again.elements.iter().zip(&matrix.elements) {
            assert!((again - element).abs() < 1e-13);
        }
    }

    /// Moments of vectors that depend on each other, moved by `shift`.
    fn moments(order: usize, count: usize, factor: f64, shift: f64) -> Moments {
        let number = |index: usize| ((index * index) as f64 * factor).sin() + shift;
        Moments::of_vectors((0..order * count).map(number).collect(), order).expect("enough")
    }

    #[test]
    fn both_ways_to_eigenvalues_agree() {
        // Of full rank, and of less.
        for count in [60, 10] {
            let (one, other) = (moments(24, count, 0.7, 0.0), moments(24, count, 1.3, 0.0));
            let (one, other) = (one.covariance, other.covariance);
            let sum = |values: Vec<f64>| values.into_iter().map(|x| x.max(0.0).sqrt()).sum::<f64>();
            let exact = sum(one.exact_eigenvalues_of_product(&other));
            let quick = sum(one.eigenvalues_of_product(&other));
            // The root of a zero's rounding is half as exact.
            assert!((exact - quick).abs() < 1e-6 * exact, "{exact}, {quick}");
        }
    }

    #[test]
    fn a_shift_is_all_that_long_vectors_differ_in() {
        let order = FEW + 4;
        let (one, other) = (moments(order, 40, 0.7, 0.0), moments(order, 40, 0.7, 0.5));
        let (found, expected) = (one.distance(&other), 0.25 * order as f64);
        assert!((found - expected).abs() < 1e-6 * expected, "{found}");
    }

    #[test]
    fn the_distance_of_independent_pixels_is_the_sum_of_theirs() {
        // Two pixels of two values each: mean m, deviation d; the distance is (m - m')^2 + (d - d')^2.
        let set = |a: [f32; 2], b: [f32; 2]| {
            let images = [[a[0], b[0]], [a[0], b[1]], [a[1], b[0]], [a[1], b[1]]];
            Moments::of_images(&images.concat(), 2).expect("four images")
        };
        let deviation = |values: [f64; 2]| ((values[0] - values[1]) / 2.0).powi(2) * 4.0 / 3.0;
        let distance = set([-1.0, 1.0], [0.0, 1.0]).distance(&set([0.0, 1.0], [0.0, 1.0]));
        let deviations = deviation([0.0, 1.0]).sqrt() - deviation([0.5, 1.0]).sqrt();
        assert!((distance - (0.25f64.powi(2) + deviations.powi(2))).abs() < 1e-12, "{distance}");
    }
}
