//! Command lines that run when they are pasted into a shell.
use std::{
    env,
    env::consts::EXE_SUFFIX,
    path::{Path, absolute},
};

/// A word of a command line, quoted where a shell would take it apart.
pub fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or(word.to_owned(), Into::into)
}

/// A path as a word.
pub fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// This program as a word: by its name where the shell finds it under that, else by its place.
pub fn program() -> String {
    let name = format!("ddim{EXE_SUFFIX}");
    let Ok(here) = env::current_exe().and_then(|file| file.canonicalize()) else {
        return "ddim".to_owned();
    };
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join(&name)).find(|of| of.is_file());
    match found.and_then(|file| file.canonicalize().ok()) {
        Some(file) if file == here => "ddim".to_owned(),
        _ => path(&here),
    }
}

/// What one may want after a model of so many steps: what it does, and its command line.
pub type Next = [(&'static str, String); 3];

/// The commands after a demo, for a shell in the folder from which `pipeline` is named.
pub fn next(pipeline: &Path, steps: u64) -> Next {
    let (ddim, model) = (program(), path(pipeline));
    [
        ("More digits", format!("{ddim} sample --model {model} --count 100 --out more.png")),
        (
            "Better ones, by training as long again",
            format!("{ddim} train --resume --out {model} --steps {0} --decay-steps {0}", 2 * steps),
        ),
        (
            "A model of your own pictures, in a folder photos",
            format!("{ddim} train --data photos --size 32 --out run"),
        ),
    ]
}

/// As [`next`], for a shell in any folder.
pub fn next_from_anywhere(pipeline: &Path, steps: u64) -> Next {
    next(&absolute(pipeline).unwrap_or_else(|_| pipeline.to_owned()), steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(path(Path::new("out/pipeline")), "out/pipeline");
        for name in ["my run", "it's", "a$b", "tab\there", "\"x\"", "a;b", "~x", "*"] {
            let words = shlex::split(&format!("--out {}", path(Path::new(name))));
            assert_eq!(words, Some(vec!["--out".to_owned(), name.to_owned()]));
        }
    }

    #[test]
    fn a_page_names_the_model_by_a_place_that_holds_from_anywhere() {
        let here = env::current_dir().expect("a folder").join("my out/pipeline");
        for (_, line) in &next_from_anywhere(Path::new("my out/pipeline"), 8)[..2] {
            let words = shlex::split(line).expect("words");
            assert!(words.contains(&here.display().to_string()), "{line}");
        }
    }
}
