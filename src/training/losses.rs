//! The losses of a run, as `training/loss.csv` holds them.
use super::Metrics;
use crate::{error::TrainingError, files::excerpt};
use std::path::Path;

/// The first line of the file.
const HEADER: &str = "step,loss,gradient_norm,held_out_loss";

/// The losses of a run.
///
/// ```
/// use ddim::training::{Losses, Metrics};
///
/// let steps = vec![Metrics { step: 1, loss: 0.5, gradient_norm: 2.0, loss_scale: None }];
/// let losses = Losses { steps, held_out: vec![(1, 0.75)] };
/// let text = losses.to_csv();
/// assert_eq!(text, "step,loss,gradient_norm,held_out_loss\n1,0.5,2,0.75\n");
/// assert_eq!(Losses::parse("loss.csv".as_ref(), &text, 1)?, losses);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses {
    /// Of every step that was not skipped, without loss scales.
    pub steps: Vec<Metrics>,
    /// On held-out images, after a step.
    pub held_out: Vec<(u64, f32)>,
}

impl Losses {
    /// Reads the text of a `loss.csv` as far as `step`: the rows beyond are those of steps that are
    /// done again. `path` is for the error alone.
    ///
    /// # Errors
    /// If a row holds a number that is not finite, or a step that does not follow those before; the
    /// error names the line.
    pub fn parse(path: &Path, text: &str, step: u64) -> Result<Self, TrainingError> {
        // Counted first: a vector that grows takes up to three times what it holds.
        let (mut steps, mut held_out) = (0, 0);
        for row in rows(path, text)? {
            let (_, measured) = row?;
            steps += 1;
            held_out += usize::from(measured.is_some());
        }
        let (steps, held_out) = (Vec::with_capacity(steps), Vec::with_capacity(held_out));
        let mut losses = Self { steps, held_out };
        for row in rows(path, text)? {
            let (metrics, measured) = row?;
            if metrics.step > step {
                break;
            }
            losses.steps.push(metrics);
            losses.held_out.extend(measured.map(|loss| (metrics.step, loss)));
        }
        Ok(losses)
    }

    /// The text that [`Losses::parse`] reads.
    pub fn to_csv(&self) -> String {
        let mut held_out = self.held_out.iter().peekable();
        let next = self.steps.iter().skip(1).map(|of| of.step).chain([u64::MAX]);
        let rows = self.steps.iter().zip(next).map(|(of, next)| {
            let Metrics { step, loss, gradient_norm, .. } = of;
            // A skipped step has no row: what was measured after it stands with the step before.
            let measured = held_out.next_if(|(at, _)| *at < next);
            let measured = measured.map_or(String::new(), |(_, loss)| loss.to_string());
            format!("{step},{loss},{gradient_norm},{measured}\n")
        });
        format!("{HEADER}\n{}", rows.collect::<String>())
    }
}

type Row = (Metrics, Option<f32>);

/// The rows below the header; their steps ascend.
fn rows<'a>(
    path: &'a Path,
    text: &'a str,
) -> Result<impl Iterator<Item = Result<Row, TrainingError>> + 'a, TrainingError> {
    let refuse = move |line: usize, expected: String, found: &str| {
        let message = format!("line {line}: expected {expected}, found {}", excerpt(found));
        TrainingError::Checkpoint { path: path.into(), message }
    };
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if header != HEADER {
        return Err(refuse(1, format!("{HEADER:?}"), header));
    }
    let mut last = 0;
    Ok(lines.zip(2..).map(move |(line, number)| {
        let found = row(line).filter(|(metrics, _)| metrics.step > last);
        let expected = || format!("{HEADER} with a step after {last}");
        let found = found.ok_or_else(|| refuse(number, expected(), line))?;
        last = found.0.step;
        Ok(found)
    }))
}

/// A row: step, loss, norm of the gradient, and perhaps the held-out loss.
fn row(line: &str) -> Option<Row> {
    let mut columns = line.split(',');
    let step = columns.next()?.parse().ok()?;
    let finite = |text: &str| text.parse().ok().filter(|number: &f32| number.is_finite());
    let (loss, gradient_norm) = (finite(columns.next()?)?, finite(columns.next()?)?);
    let held_out = match columns.next()? {
        "" => None,
        text => Some(finite(text)?),
    };
    let metrics = Metrics { step, loss, gradient_norm, loss_scale: None };
    columns.next().is_none().then_some((metrics, held_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses() -> Losses {
        let metrics = |step| {
            let loss = 0.1 * step as f32;
            Metrics { step, loss, gradient_norm: 1e-9, loss_scale: None }
        };
        Losses { steps: vec![metrics(1), metrics(2), metrics(4)], held_out: vec![(2, 0.3)] }
    }

    #[test]
    fn what_is_written_is_read_as_far_as_a_step() {
        let (path, text) = (Path::new("loss.csv"), losses().to_csv());
        assert_eq!(Losses::parse(path, &text, 4).expect("own text"), losses());
        let mut short = losses();
        short.steps.pop();
        assert_eq!(Losses::parse(path, &text, 3).expect("own text"), short);
        short.steps.truncate(1);
        short.held_out.clear();
        assert_eq!(Losses::parse(path, &text, 1).expect("own text"), short);
    }

    #[test]
    fn what_was_measured_after_a_skipped_step_stands_with_the_one_before() {
        // Step 3 was skipped.
        let held_out = vec![(1, 0.4), (3, 0.25), (4, 0.2)];
        let text = Losses { held_out, ..losses() }.to_csv();
        let found = Losses::parse(Path::new("loss.csv"), &text, 4).expect("own text");
        assert_eq!(found.held_out, [(1, 0.4), (2, 0.25), (4, 0.2)]);
        assert_eq!(found.to_csv(), text);
    }

    #[test]
    fn rows_that_no_run_writes_are_named_with_their_line() {
        for row in ["2,1,1,NaN", "2,1,1,inf", "2,-inf,1,", "2,1,1", "2,1,1,1,", "1,1,1,", "0,1,1,"]
        {
            let text = format!("{HEADER}\n1,1,1,\n{row}\n9,1,1,\n");
            // Beyond the step too.
            let error = Losses::parse(Path::new("loss.csv"), &text, 1).expect_err(row).to_string();
            let expected = format!("line 3: expected {HEADER} with a step after 1, found {row:?}");
            assert_eq!(error, format!("loss.csv: {expected}"));
        }
    }
}
