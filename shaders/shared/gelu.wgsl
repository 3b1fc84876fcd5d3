// Gaussian error linear unit with the exact normal distribution: Hendrycks and Gimpel 2016, eq. 2.
// WGSL has no erf.  With z = |v| and t = 1 / (1 + 0.3 z) the tail is exp(-z^2 / 2) t p(t), where p is the polynomial of degree 8
// whose largest relative error from 0 to 15 is least (1e-7); past 15 the tail is below the smallest f32.

/// (the normal distribution at `v`, exp(-v^2 / 2)) of one lane each.
struct Normal {
    below: vec4<f32>,
    bell: vec4<f32>,
}

fn normal_distribution(v: vec4<f32>) -> Normal {
    let z = min(abs(v), vec4<f32>(15.0));
    let t = 1.0 / (1.0 + 0.3 * z);
    var p = 0.010565550066530704 + t * 0.005489017814397812;
    p = -0.10863249003887177 + t * p;
    p = 0.1546086221933365 + t * p;
    p = -0.020569756627082825 + t * p;
    p = 0.11556115001440048 + t * p;
    p = 0.10296455770730972 + t * p;
    p = 0.12036320567131042 + t * p;
    p = 0.11965019255876541 + t * p;
    let bell = exp(-0.5 * z * z);
    let tail = bell * t * p;
    return Normal(select(tail, 1.0 - tail, v >= vec4<f32>()), bell);
}

/// `v` times the normal distribution at `v`.
fn gelu(v: vec4<f32>) -> vec4<f32> {
    return v * normal_distribution(v).below;
}

/// The derivative of [`gelu`].
fn gelu_slope(v: vec4<f32>) -> vec4<f32> {
    let normal = normal_distribution(v);
    return normal.below + v * normal.bell * 0.3989422804014327;
}
