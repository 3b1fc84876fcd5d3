// One step of a sampler: a row of its table.
//   x0 = clamp(image_x x + image_output output, -clip, clip)
//   x' = next_x0 x0 + next_output output + next_x x + memory memory + sigma noise
//   memory' = kept_x0 x0 + kept_output output + kept_x x

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
    /// Weight in the next sample of what an earlier step kept.
    memory: f32,
    /// With learned variances: the least logarithm of a factor of the deviation.
    least_log_deviation: f32,
    /// And the largest.
    largest_log_deviation: f32,
    /// 1 if the output's weight is multiplied by each image's size, and the deviation by its root; else 0.
    adaptive: f32,
    /// Zero: a row is four vec4s.
    zero: f32,
}
