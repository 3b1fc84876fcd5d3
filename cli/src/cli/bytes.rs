//! Amounts of memory as arguments.

/// What may follow a number, and its bytes.
const UNITS: [(&str, u64); 8] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("b", 1),
];

/// Reads an amount such as `2GiB`, `1.5 GB` or `900MiB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "not a number of bytes, such as 2GiB or 900MB".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((lower.strip_suffix(unit)?, *bytes)));
    let (number, unit) = unit.unwrap_or((&lower[..], 1));
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let bytes = number * unit as f64;
    if (1.0..=f64::from(1 << 30) * f64::from(1 << 20)).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units() {
        for (text, expected) in [
            ("2GiB", 2 << 30),
            ("1.5 GB", 1_500_000_000),
            ("900mib", 900 << 20),
            ("7B", 7),
            ("1048576", 1 << 20),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GiB", "-1GiB", "0", "nan", "inf", "2 GiBs", "1e30", "2,5GB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
