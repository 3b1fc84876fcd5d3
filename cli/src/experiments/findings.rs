//! What must come out, of any trained model, and whether it did.
use super::{
    cells::{DISTANCE, ENCODED, JUDGEMENT, Noise, RECONSTRUCTION, SURE, Sizes, class},
    judge::{ACCURACY, CLASSIFIER},
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
    let value = |experiment, setting: &str, steps| {
        record.find(experiment, setting, steps).map(|row| row.value)
    };
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let finding = |claim: String, found| Finding { claim, found };

    let accuracy = value(CLASSIFIER, ACCURACY, 0);
    let judged = sizes.judged.0;
    let sure = value(JUDGEMENT, SURE, judged);
    let shares: Option<Vec<f64>> =
        (0..classes).map(|number| value(JUDGEMENT, &class(number), judged)).collect();
    let shares = shares.map(|shares| {
        let (low, high) = ends(&shares);
        let fits = SHARES[0] <= low && high <= SHARES[1];
        (fits, format!("{} to {}", percent(low), percent(high)))
    });

    let distance = |noise: Noise, steps| value(DISTANCE, &noise.to_string(), steps);
    let columns = &sizes.distances;
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

    let errors: Vec<f64> = sizes
        .reconstructions
        .iter()
        .filter_map(|steps| value(RECONSTRUCTION, ENCODED, *steps))
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

    vec![
        finding(
            format!("the classifier is right on at least {}", percent(LEAST_ACCURACY)),
            accuracy.map(|share| (share >= LEAST_ACCURACY, percent(share))),
        ),
        finding(
            format!("it is over 0.9 sure of at least {} of the samples", percent(LEAST_SURE)),
            sure.map(|share| (share >= LEAST_SURE, percent(share))),
        ),
        finding("each class is 3% to 25% of the samples".into(), shares),
        finding(format!("sigma-hat is the worst at S = {few}"), noisiest),
        finding(format!("eta 0 is better at S = {many} than at S = {few}"), better),
        finding("the error of reconstruction falls with every S".into(), falls),
        finding("sampling time is a straight line in S".into(), straight),
    ]
}

/// The least and the largest.
fn ends(numbers: &[f64]) -> (f64, f64) {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    (least, numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}
