//! Words of settings.
use serde_json::Value as Json;

/// A word as Python writes it.
pub(super) fn scalar(word: &str) -> Json {
    match word {
        "True" | "true" | "yes" => return true.into(),
        "False" | "false" | "no" => return false.into(),
        "None" | "null" | "~" => return Json::Null,
        _ => {}
    }
    if let Ok(number) = word.parse::<i64>() {
        return number.into();
    }
    match word.parse::<f64>() {
        Ok(number) if number.is_finite() => number.into(),
        _ => word.into(),
    }
}
