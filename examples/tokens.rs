//! Prints the tokens of prompts: `tokens FOLDER` reads one JSON text from each line of standard input and
//! writes its tokens as a line of JSON. FOLDER holds a text encoder's vocabulary.
use ddim::models::clip_text::Tokenizer;
use std::{env, error::Error, io, io::Write, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("tokens FOLDER")?;
    let tokenizer = Tokenizer::read(&PathBuf::from(folder))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lines() {
        let text: String = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut out, &tokenizer.encode(&text))?;
        writeln!(out)?;
    }
    Ok(())
}
