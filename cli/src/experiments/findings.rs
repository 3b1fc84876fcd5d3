//! What must come out, of any trained model, and whether it did.
use super::{
    classifier::{ACCURACY, CLASSIFIER},
    jobs::{DISTANCE, ENCODED, JUDGEMENT, Noise, RECONSTRUCTION, SURE, Sizes, class},
    record::Record,
    timing,
};
use std::fmt;

const LEAST_ACCURACY: f64 = 0.985;
const LEAST_SURE: f64 = 0.6;
const SHARES: [f64; 2] = [0.03, 0.25];
const LEAST_R_SQUARED: f64 = 0.99;

/// A claim and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What must be.
    pub claim: String,
    /// What is; `None` if it was not measured.
    pub found: Option<(bool, String)>,
}

impl Finding {
    /// `yes`, `no`, or neither.
    pub fn verdict(&self) -> &'static str {
        match self.found {
            Some((true, _)) => "yes",
            Some((false, _)) => "no",
            None => "not measured",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}  {}", self.verdict(), self.claim)?;
        match &self.found {
            Some((_, found)) => write!(f, ": {found}"),
            None => Ok(()),
        }
    }
}

/// All claims.
pub fn all(record: &Record, sizes: &Sizes, classes: usize) -> Vec<Finding> {
    let mut all = of_samples(record, sizes.judged.0, classes).to_vec();
    all.extend(of_distances(record, &sizes.distances));
    let errors: Vec<f64> = sizes
        .reconstructions
        .iter()
        .filter_map(|steps| record.value(RECONSTRUCTION, ENCODED, *steps))
        .collect();
    let falls = (errors.len() > 1).then(|| {
        let falls = errors.windows(2).all(|pair| pair[1] < pair[0]);
        (falls, errors.iter().map(|error| format!("{error:.6}")).collect::<Vec<_>>().join(", "))
    });
    let straight = timing::fit(&timing::points(record)).map(|line| {
        let slope = 1e6 * line.slope / timing::IMAGES as f64;
        let found = format!("R^2 {:.5}, {slope:.0} us a step and image", line.r_squared);
        (line.r_squared >= LEAST_R_SQUARED, found)
    });
    all.push(finding("the error of reconstruction falls with every S", falls));
    all.push(finding("sampling time is a straight line in S", straight));
    all
}

fn finding(claim: impl Into<String>, found: Option<(bool, String)>) -> Finding {
    Finding { claim: claim.into(), found }
}

/// What the classifier says of itself and of samples in so many steps.
fn of_samples(record: &Record, steps: usize, classes: usize) -> [Finding; 3] {
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let at_least =
        |least: f64, share: Option<f64>| share.map(|share| (share >= least, percent(share)));
    let shares: Option<Vec<f64>> =
        (0..classes).map(|number| record.value(JUDGEMENT, &class(number), steps)).collect();
    let shares = shares.map(|shares| {
        let (low, high) = ends(&shares);
        let fits = SHARES[0] <= low && high <= SHARES[1];
        (fits, format!("{} to {}", percent(low), percent(high)))
    });
    [
        finding(
            format!("the classifier is right on at least {}", percent(LEAST_ACCURACY)),
            at_least(LEAST_ACCURACY, record.value(CLASSIFIER, ACCURACY, 0)),
        ),
        finding(
            format!("it is over 0.9 sure of at least {} of the samples", percent(LEAST_SURE)),
            at_least(LEAST_SURE, record.value(JUDGEMENT, SURE, steps)),
        ),
        finding("each class is 3% to 25% of the samples", shares),
    ]
}

/// What table 1 says, whose columns are steps and images.
fn of_distances(record: &Record, columns: &[(usize, usize)]) -> [Finding; 2] {
    let distance = |noise: Noise, steps| record.value(DISTANCE, &noise.to_string(), steps);
    let few = columns.first().map_or(0, |column| column.0);
    // Among columns of as many images: a distance of fewer is larger.
    let alike = columns.iter().filter(|column| column.1 == columns[0].1);
    let many = alike.map(|column| column.0).max().unwrap_or(0);
    let others: Option<Vec<f64>> =
        Noise::ALL[..4].iter().map(|noise| distance(*noise, few)).collect();
    let noisiest = distance(Noise::SigmaHat, few).zip(others).map(|(noisy, others)| {
        let most = ends(&others).1;
        (noisy > most, format!("{noisy:.2}, the others at most {most:.2}"))
    });
    let still = |steps| distance(Noise::Eta(0.0), steps);
    let better = still(few)
        .zip(still(many))
        .map(|(short, long)| (long < short, format!("{long:.2} against {short:.2}")));
    [
        finding(format!("sigma-hat is the worst at S = {few}"), noisiest),
        finding(format!("eta 0 is better at S = {many} than at S = {few}"), better),
    ]
}

/// The least and the largest.
fn ends(numbers: &[f64]) -> (f64, f64) {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    (least, numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}
