//! Names under which criterion keeps times. It cuts a folder's name after 64 bytes, so names are
//! short: a family, a model, and what tells a case from the others of its op.
use ddim::bench_cases::BenchCase;

/// `winograd cifar10-b8 32x32 128>128 3x3`: the family, where there are several, and the case.
///
/// - A convolution is its image, channels, kernel and stride unless 1. Another op is its attributes,
///   then its operands, each shape once, without the batch that the model's name has.
/// - An attribute is its initial: `g32` for `groups=32`, `S` for `silu`. What is false is left out.
pub fn short(case: &BenchCase, family: Option<&str>) -> String {
    let words = if case.group == "fusion" { case.name.clone() } else { described(case) };
    family.map_or(words.clone(), |family| format!("{family} {words}"))
}

/// From `cifar10-b8 {stride=1 padding=1,1,1,1} 8x32x32x128 3x3x128x128`.
fn described(case: &BenchCase) -> String {
    let (whose, rest) = case.name.split_once(' ').unwrap_or((&case.name, ""));
    let (attributes, operands) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
    {
        Some((attributes, operands)) => (attributes, operands),
        None => ("", rest),
    };
    let attributes: Vec<&str> = attributes.split_whitespace().collect();
    let operands: Vec<&str> = operands.split_whitespace().collect();
    let what = if case.group.contains("conv2d") {
        convolution(&attributes, &operands)
    } else {
        let batch = whose.split_once("-b").map_or("1", |(_, batch)| batch);
        let attributes = attributes.into_iter().filter_map(initial);
        attributes.chain(shapes(&operands, batch)).collect()
    };
    [vec![whose.to_owned()], what].concat().join(" ")
}

/// `32x32 128+128>256 3x3 s2 CAS f512`
fn convolution(attributes: &[&str], operands: &[&str]) -> Vec<String> {
    let value = |key: &str| {
        attributes.iter().find_map(|attribute| attribute.strip_prefix(key)?.strip_prefix('='))
    };
    // Of an affine map there are three rows for each image, and biases have one extent.
    let four = operands.iter().map(|shape| shape.split('x').collect::<Vec<_>>());
    let four: Vec<_> = four.filter(|extents| extents.len() == 4).collect();
    let inputs = if attributes.contains(&"concat") { 2 } else { 1 };
    // The weight, or in its gradient what arrives.
    let other = &four[inputs];
    let channels: Vec<&str> = four[..inputs].iter().map(|extents| extents[3]).collect();
    let (from, kernel) = match value("kernel") {
        Some(kernel) => (channels.join("+"), kernel.replace(',', "x")),
        // The input's gradient is given that of the output.
        None if value("height").is_some() => (other[2].to_owned(), other[..2].join("x")),
        None => (channels.join("+"), other[..2].join("x")),
    };
    let mut words = vec![four[0][1..3].join("x"), format!("{from}>{}", other[3]), kernel];
    words
        .extend(value("stride").filter(|stride| *stride != "1").map(|stride| format!("s{stride}")));
    let flags: String =
        attributes.iter().filter(|a| !a.contains('=')).filter_map(|a| initial(a)).collect();
    words.extend(Some(flags).filter(|flags| !flags.is_empty()));
    // The only operand of two extents is an embedding: a part of the projections of all layers.
    let joint = |shape: &&str| shape.split_once('x').is_some_and(|(_, width)| width != other[3]);
    let two = |shape: &&&str| shape.matches('x').count() == 1;
    if operands.iter().filter(two).any(joint) {
        words.push(format!("f{}", value("from").unwrap_or("0")));
    }
    words
}

/// `g32` of `groups=32`, `S` of `silu` and `silu=true`, `mean` of `reduction=mean`.
fn initial(attribute: &str) -> Option<String> {
    let (key, value) = attribute.split_once('=').unwrap_or((attribute, "true"));
    let first = &key[..key.len().min(1)];
    match value {
        "true" => Some(first.to_uppercase()),
        "false" => None,
        word if word.starts_with(char::is_alphabetic) => Some(word.to_owned()),
        number => Some(format!("{first}{number}")),
    }
}

/// Shapes, each once, without the batch.
fn shapes(operands: &[&str], batch: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for shape in operands {
        let rest = shape.strip_prefix(batch).and_then(|rest| rest.strip_prefix('x'));
        // With two extents the first may be anything.
        let shape = rest.filter(|rest| rest.contains('x')).unwrap_or(shape);
        if !found.iter().any(|known| known == shape) {
            found.push(shape.to_owned());
        }
    }
    found
}
