//! Products and eigenvalues of large matrices, row by row in slices of f64. Eigenvectors are not needed: Householder's
//! reduction to three diagonals, then QL steps with implicit shifts (Golub and Van Loan, *Matrix Computations*, sections
//! 8.3.1 and 8.3.3).
use super::parallel::in_parts;

/// Rows of a product that are summed together: these stay in the cache while the other matrix goes by.
const TOGETHER: usize = 8;

/// Products of numbers for which a thread is worth its start.
const LEAST: usize = 1 << 20;

/// The product of a matrix of `rows`, whose elements `left` gives by row and column, and `right`, of so many `columns`.
/// Each sum is in the order of the rows of `right`.
pub(super) fn product(
    rows: usize,
    columns: usize,
    left: impl Fn(usize, usize) -> f64 + Sync,
    right: &[f64],
) -> Vec<f64> {
    let mut product = vec![0.0; rows * columns];
    let together = LEAST.div_ceil(right.len().max(1)).max(TOGETHER);
    in_parts(&mut product, together * columns, |part, sums| {
        for (inner, right) in right.chunks_exact(columns).enumerate() {
            for (row, sums) in sums.chunks_exact_mut(columns).enumerate() {
                let factor = left(part * together + row, inner);
                if factor != 0.0 {
                    sums.iter_mut().zip(right).for_each(|(sum, element)| *sum += factor * element);
                }
            }
        }
    });
    product
}

/// The eigenvalues of the product of two symmetric matrices without negative ones, in no order: those of `L^T C L`,
/// where `L L^T` is the first.
pub(super) fn eigenvalues_of_product(first: &[f64], second: &[f64], order: usize) -> Vec<f64> {
    let (triangle, places) = cholesky(first.to_vec(), order);
    let second = |row: usize, column: usize| second[places[row] * order + places[column]];
    let half = product(order, order, second, &triangle);
    let whole = product(order, order, |row, inner| triangle[inner * order + row], &half);
    eigenvalues(whole, order)
}

/// The eigenvalues of a symmetric matrix, in no order.
fn eigenvalues(mut matrix: Vec<f64>, order: usize) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(&mut matrix, order);
    implicit_ql(&mut diagonal, &mut beside);
    diagonal
}

/// The diagonal, and what stands beside it (with a zero at the end), of a similar matrix of three diagonals.
fn tridiagonal(matrix: &mut [f64], order: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = Vec::with_capacity(order);
    for step in 0..order.saturating_sub(2) {
        // The reflection that leaves one number of the column below the diagonal.
        let below = step + 1..order;
        let mut vector: Vec<f64> = below.clone().map(|row| matrix[row * order + step]).collect();
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        let pivot = vector[0];
        let left = if pivot > 0.0 { -norm } else { norm };
        vector[0] -= left;
        let square: f64 = vector.iter().map(|x| x * x).sum();
        if square <= f64::MIN_POSITIVE {
            beside.push(pivot);
            continue;
        }
        beside.push(left);
        // A - v w^T - w v^T with w = p - (p^T v / v^T v) v and p = 2 A v / v^T v.
        let row = |row: usize| row * order + step + 1..(row + 1) * order;
        let mut product: Vec<f64> = below
            .clone()
            .map(|of| {
                let sum: f64 = matrix[row(of)].iter().zip(&vector).map(|(a, v)| a * v).sum();
                2.0 * sum / square
            })
            .collect();
        let along: f64 = product.iter().zip(&vector).map(|(p, v)| p * v).sum::<f64>() / square;
        product.iter_mut().zip(&vector).for_each(|(p, v)| *p -= along * v);
        for (index, of) in below.enumerate() {
            let (v, w) = (vector[index], product[index]);
            for ((a, x), y) in matrix[row(of)].iter_mut().zip(&vector).zip(&product) {
                *a -= v * y + w * x;
            }
        }
    }
    if order >= 2 {
        beside.push(matrix[(order - 1) * order + order - 2]);
    }
    beside.resize(order, 0.0);
    ((0..order).map(|index| matrix[index * order + index]).collect(), beside)
}

/// Makes what stands beside the diagonal vanish.
fn implicit_ql(diagonal: &mut [f64], beside: &mut [f64]) {
    /// Two or three steps an eigenvalue are usual.
    const MOST: usize = 60;
    for first in 0..diagonal.len() {
        for _ in 0..MOST {
            let small = |index: &usize| {
                let scale = diagonal[*index].abs() + diagonal[index + 1].abs();
                beside[*index].abs() <= f64::EPSILON * scale
            };
            let last = (first..diagonal.len() - 1).find(small).unwrap_or(diagonal.len() - 1);
            if last == first {
                break;
            }
            let shift = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
            let root = shift.hypot(1.0);
            let mut g =
                diagonal[last] - diagonal[first] + beside[first] / (shift + root.copysign(shift));
            let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
            let mut split = false;
            for index in (first..last).rev() {
                let (f, b) = (sine * beside[index], cosine * beside[index]);
                let root = f.hypot(g);
                beside[index + 1] = root;
                if root == 0.0 {
                    diagonal[index + 1] -= p;
                    beside[last] = 0.0;
                    split = true;
                    break;
                }
                (sine, cosine) = (f / root, g / root);
                let before = diagonal[index + 1] - p;
                let turned = (diagonal[index] - before) * sine + 2.0 * cosine * b;
                p = sine * turned;
                diagonal[index + 1] = before + p;
                g = cosine * turned - b;
            }
            if !split {
                diagonal[first] -= p;
                beside[first] = g;
                beside[last] = 0.0;
            }
        }
    }
}

/// A lower triangle `L`, row by row, and the order of its rows, with `L L^T` the symmetric matrix without negative
/// eigenvalues whose rows and columns are in that order: Cholesky's, with the largest pivot first. What is left of a
/// matrix of lower rank is zero.
fn cholesky(mut matrix: Vec<f64>, order: usize) -> (Vec<f64>, Vec<usize>) {
    let mut permutation: Vec<usize> = (0..order).collect();
    let trace: f64 = (0..order).map(|index| matrix[index * order + index]).sum();
    let least = trace.abs() * f64::EPSILON;
    for step in 0..order {
        let size = |index: &usize| matrix[index * order + index];
        let largest = (step..order).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(step);
        permutation.swap(step, largest);
        for index in 0..order {
            matrix.swap(step * order + index, largest * order + index);
        }
        for index in 0..order {
            matrix.swap(index * order + step, index * order + largest);
        }
        let pivot = matrix[step * order + step];
        if pivot <= least {
            for row in step..order {
                matrix[row * order + step..(row + 1) * order].fill(0.0);
            }
            break;
        }
        let root = pivot.sqrt();
        matrix[step * order + step] = root;
        let column: Vec<f64> =
            (step + 1..order).map(|row| matrix[row * order + step] / root).collect();
        for (index, row) in (step + 1..order).enumerate() {
            matrix[row * order + step] = column[index];
            let own = &mut matrix[row * order + step + 1..(row + 1) * order];
            let factor = column[index];
            own.iter_mut().zip(&column).for_each(|(a, other)| *a -= factor * other);
        }
    }
    for row in 0..order {
        matrix[row * order + row + 1..(row + 1) * order].fill(0.0);
    }
    (matrix, permutation)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A A^T` with `rank` columns of `A`.
    fn matrix(order: usize, rank: usize) -> Vec<f64> {
        let number = |row: usize, column: usize| {
            ((1 + row * 31 + column * 17 + row * column * 7) as f64).sin()
        };
        let element = |row: usize, column: usize| -> f64 {
            (0..rank).map(|inner| number(row, inner) * number(column, inner)).sum()
        };
        (0..order * order).map(|index| element(index / order, index % order)).collect()
    }

    #[test]
    fn eigenvalues_have_the_sums_of_their_powers() {
        for (order, rank) in [(1, 1), (2, 2), (3, 3), (40, 40), (40, 7), (25, 60)] {
            let matrix = matrix(order, rank);
            let values = eigenvalues(matrix.clone(), order);
            let trace: f64 = matrix.iter().step_by(order + 1).sum();
            let squares: f64 = matrix.iter().map(|x| x * x).sum();
            let sum: f64 = values.iter().sum();
            assert!((sum - trace).abs() < 1e-10 * trace, "{order}: {sum}, {trace}");
            let sum: f64 = values.iter().map(|value| value * value).sum();
            assert!((sum - squares).abs() < 1e-10 * squares, "{order}: {sum}, {squares}");
            let zeros = values.iter().filter(|value| value.abs() < 1e-9 * trace).count();
            assert_eq!(zeros, order.saturating_sub(rank), "{order}, {rank}");
        }
        let mut values = eigenvalues(vec![2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0], 3);
        values.sort_by(f64::total_cmp);
        for (found, expected) in values.iter().zip([2.0 - 2f64.sqrt(), 2.0, 2.0 + 2f64.sqrt()]) {
            assert!((found - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn a_triangle_gives_the_matrix_back_in_its_order() {
        for (order, rank) in [(1, 1), (12, 12), (12, 5)] {
            let matrix = matrix(order, rank);
            let (triangle, permutation) = cholesky(matrix.clone(), order);
            for row in 0..order {
                for column in 0..order {
                    let sum: f64 = (0..order)
                        .map(|k| triangle[row * order + k] * triangle[column * order + k])
                        .sum();
                    let expected = matrix[permutation[row] * order + permutation[column]];
                    assert!((sum - expected).abs() < 1e-10, "{order}, {rank}: {sum}, {expected}");
                }
            }
        }
    }
}
