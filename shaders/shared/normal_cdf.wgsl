/// The distribution function of the standard normal, each lane within 1e-6 of its own value, far down the lower tail too.
/// exp(x^2) erfc(x) is t times a polynomial in t = 2 / (2 + x), fitted by us: off by less than 5e-8 of it from 0 to 8.
fn normal_cdf(z: vec4<f32>) -> vec4<f32> {
    let t = 2.0 / (2.0 + abs(z) * 0.70710678);
    let polynomial = 0.282090614 + t * (0.282309577 + t * (0.243530552 + t * (0.201180463 + t * (-0.0234501225
        + t * (0.273955565 + t * (-0.483994155 + t * (0.283194038 - t * 0.0588165759)))))));
    let tail = 0.5 * t * polynomial * exp(-0.5 * z * z);
    return select(1.0 - tail, tail, z < vec4<f32>());
}
