// One step of a sampler: a row of its table. m_k are the memories of earlier steps, of which a step may write one.
//   x0 = clamp(image_x x + image_output output, -clip, clip)
//   x' = next_x0 x0 + next_output output + next_x x + sum_k recalled_k m_k + sigma noise
//   m_slot' = kept_x0 x0 + kept_output output + kept_x x + sum_k carried_k m_k
//   x'' = x' + gradient g   with a classifier's gradient g

struct Coefficients {
    /// What the network is told.
    timestep: f32,
    /// Weight of the sample in the predicted image.
    image_x: f32,
    /// Weight of the network's output in the predicted image.
    image_output: f32,
    /// Largest magnitude of the predicted image.
    clip: f32,
    /// Weight of the predicted image in the next sample.
    next_x0: f32,
    /// Weight of the network's output in the next sample.
    next_output: f32,
    /// Weight of the sample in the next sample.
    next_x: f32,
    /// Deviation of the new noise.
    sigma: f32,
    /// Weight of the predicted image in what this step keeps.
    kept_x0: f32,
    /// Weight of the network's output in what this step keeps.
    kept_output: f32,
    /// Weight of the sample in what this step keeps.
    kept_x: f32,
    /// The memory in which that is kept, counted from 0; below 0 for none.
    slot: f32,
    /// With learned variances: the least logarithm of a factor of the deviation.
    least_log_deviation: f32,
    /// And the largest.
    largest_log_deviation: f32,
    /// 1 if the output's weight is multiplied by each image's size, and the deviation by its root; else 0.
    adaptive: f32,
    /// Weight in the next sample of the gradient of a classifier: see `classifier_shift`.
    gradient: f32,
    /// Weight of the first memory in the next sample.
    recalled_0: f32,
    /// Of the second.
    recalled_1: f32,
    /// Of the third.
    recalled_2: f32,
    /// Of the fourth.
    recalled_3: f32,
    /// Weight of the first memory in what this step keeps.
    carried_0: f32,
    /// Of the second.
    carried_1: f32,
    /// Of the third.
    carried_2: f32,
    /// Of the fourth.
    carried_3: f32,
}
