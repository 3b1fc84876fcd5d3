//! The meaning of a sampling step, in f64.
use super::step::{Parts, SamplingStep};
use crate::{ops::prelude::*, reference::clamp, shaders::shared::coefficients::Coefficients};

/// The weights of the memories in the next sample, and in what a step keeps.
fn weights(row: &Coefficients<f64>) -> [[f64; SamplingStep::MOST_MEMORIES]; 2] {
    [
        [row.recalled_0, row.recalled_1, row.recalled_2, row.recalled_3],
        [row.carried_0, row.carried_1, row.carried_2, row.carried_3],
    ]
}

/// What the memories of one element add to the next sample and to what a step keeps; `check` sees
/// those that count.
fn recall(
    row: &Coefficients<f64>,
    memories: impl Iterator<Item = f64>,
    mut check: impl FnMut(f64),
) -> [f64; 2] {
    let [recalled, carried] = weights(row);
    let mut sums = [0.0; 2];
    for ((before, recalled), carried) in memories.zip(recalled).zip(carried) {
        if recalled != 0.0 || carried != 0.0 {
            check(before);
            sums[0] += recalled * before;
            sums[1] += carried * before;
        }
    }
    sums
}

/// The next sample, the key and the memories.
pub(super) fn reference(
    step: &SamplingStep,
    inputs: &[&Tensor],
    parts: Parts<&Tensor>,
) -> Vec<Tensor> {
    let (x, output) = (inputs[0], inputs[1]);
    let row = Coefficients::read(&inputs[2].data);
    let (channels, width) = (x.shape.last(), output.shape.last());
    let mut key = Counter::read(inputs[3]);
    let drawn = || key.normals(x.shape, step.stream);
    let noise = parts.noise.cloned().unwrap_or_else(drawn);
    let mut bad_parts = 0;
    let mut check = |part: u32, number: f64| {
        bad_parts |= if number.is_finite() { 0 } else { part };
    };
    let (all, image) = (x.data.len(), x.data.len() / x.shape[0]);
    let slot = (0..step.memories).find(|slot| *slot as f64 == row.slot);
    let (mut next, mut kept) = (x.clone(), parts.memory.cloned());
    for (i, &current) in x.data.iter().enumerate() {
        let place = i / channels * width + i % channels;
        let predicted = output.data[place];
        check(SamplingStep::BAD_SAMPLE, current);
        check(SamplingStep::BAD_OUTPUT, predicted);
        let mut deviation = row.sigma;
        if width > channels {
            let second = output.data[place + channels];
            check(SamplingStep::BAD_OUTPUT, second);
            let range = row.largest_log_deviation - row.least_log_deviation;
            deviation *= (row.least_log_deviation + (0.5 * second + 0.5) * range).exp();
        }
        let mut x0 = row.image_x * current + row.image_output * predicted;
        if let Some(bound) = parts.bound {
            let limit = bound.data[i / image];
            x0 = clamp(x0, limit) / limit;
        }
        x0 = clamp(x0, row.clip);
        let size = parts.size.filter(|_| row.adaptive != 0.0).map_or(1.0, |s| s.data[i / image]);
        let memories = parts.memory.iter().flat_map(|of| of.data.iter().skip(i).step_by(all));
        let [recalled, carried] =
            recall(&row, memories.copied(), |before| check(SamplingStep::BAD_MEMORY, before));
        let drawn = if row.sigma == 0.0 { 0.0 } else { deviation * size.sqrt() * noise.data[i] };
        next.data[i] = row.next_x0 * x0
            + row.next_output * size * predicted
            + row.next_x * current
            + recalled
            + drawn;
        check(SamplingStep::BAD_RESULT, next.data[i]);
        if let (Some(kept), Some(slot)) = (&mut kept, slot) {
            let own = row.kept_x0 * x0 + row.kept_output * predicted + row.kept_x * current;
            kept.data[slot * all + i] = own + carried;
            check(SamplingStep::BAD_RESULT, own + carried);
        }
    }
    if bad_parts != 0 && key.bad_step.is_none_or(|step| step == key.step) {
        key.bad_step = Some(key.step);
        key.bad_parts |= bad_parts;
    }
    [next, key.tensor()].into_iter().chain(kept).collect()
}
