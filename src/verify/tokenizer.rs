//! Cases of tokenizers. Of the traditions that a case has a column for, this crate follows
//! [`FOLLOWED`]; of the others the rows count in which all agree.
use super::{Outcome, case_files::Case};
use crate::{error::Error, models::clip_text::Tokenizer};

/// The columns that have to agree in every row: the `tokenizers` crate, and transformers 5.
const FOLLOWED: [&str; 2] = ["ids_fast", "ids_5"];
/// The rows in which all columns agree.
const AGREE: &str = "all_agree";

pub(super) fn run(case: &Case) -> Result<Outcome, Error> {
    let strings: Vec<String> = case.setting("strings")?;
    let tokenizer = Tokenizer::read(&case.model()?)?;
    let agree = case.indices(AGREE, 2)?;
    if agree.len() != strings.len() {
        return Err(case.refuse(format!("{AGREE} has {} rows, not those of strings", agree.len())));
    }
    let mut differences = Vec::new();
    for column in case.outputs().filter(|column| *column != AGREE) {
        let wanted = case.tensor(column)?.numbers.to_f64();
        let tokenizer = match column.ends_with("_pad_0") {
            true => tokenizer.clone().padded_with(0),
            false => tokenizer.clone(),
        };
        let length = wanted.len() / strings.len();
        for (row, (text, wanted)) in strings.iter().zip(wanted.chunks(length)).enumerate() {
            let ids = tokenizer.encode(text);
            let counts = agree[row] == 1 || FOLLOWED.contains(&column);
            let same = ids.iter().map(|&id| f64::from(id)).eq(wanted.iter().copied());
            if counts && !same {
                differences.push(Some(format!("{column} of {text:?}: {ids:?}")));
            }
        }
    }
    Ok(Outcome::of(differences))
}
