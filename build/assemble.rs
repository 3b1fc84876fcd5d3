//! Puts a shader together: the kernel's text, then the shared modules that it imports.
use crate::prelude::directives;
use std::{fs, path::Path};

/// A shader's complete text, without prelude.
pub struct Assembled {
    /// The file's name without extension: the Rust module.
    pub name: String,
    /// The file's path, as messages print it.
    pub path: String,
    /// Kernel and imports. They come after it, so that the kernel's line numbers hold.
    pub text: String,
    /// The `// tile:` constants.
    pub tiles: Vec<Tile>,
    /// Each imported file and the number of its first line in `text`, in order.
    imports: Vec<(String, usize)>,
}

/// A constant of the prelude, from `// tile: NAME = 2` and perhaps some words about it.
pub struct Tile {
    pub name: String,
    pub value: u32,
    pub doc: String,
}

impl Assembled {
    /// Reads the shader at `path` and, once each, the modules that it and they import.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let shown = path.display().to_string();
        let mut text = read(path)?;
        let mut imports: Vec<(String, usize)> = Vec::new();
        let mut importers = vec![(shown.clone(), imported(&text))];
        while let Some((importer, names)) = importers.pop() {
            for name in names {
                let module = path.with_file_name("shared").join(format!("{name}.wgsl"));
                let shown = module.display().to_string();
                if imports.iter().any(|(known, _)| *known == shown) {
                    continue;
                }
                let body = read(&module).map_err(|error| format!("{importer}: import: {error}"))?;
                imports.push((shown.clone(), text.lines().count() + 1));
                text += &body;
                importers.push((shown, imported(&body)));
            }
        }
        let tiles = directives(&text, "tile").map(|line| tile(&shown, line));
        let tiles = tiles.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { name, path: shown, text, tiles, imports })
    }

    /// The file and line that a line of `text` came from.
    pub fn origin(&self, line: usize) -> (&str, usize) {
        let import = self.imports.iter().rev().find(|(_, first)| *first <= line);
        import.map_or((&self.path, line), |(path, first)| (path, line - first + 1))
    }

    /// The shared module that declares a struct, if the kernel's own file does not.
    pub fn declares(&self, name: &str) -> Option<String> {
        let declaration = format!("struct {name} {{");
        let line = self.text.lines().position(|line| line == declaration)? + 1;
        let (path, _) = self.origin(line);
        let module = Path::new(path).file_stem()?.to_string_lossy().into_owned();
        (path != self.path).then_some(module)
    }

    /// The comment at the head of the kernel, without its directives.
    pub fn head(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix("//"));
        let is_directive = |line: &&str| {
            ["import:", "enable:", "tile:", "iterations:"]
                .iter()
                .any(|key| line.trim_start().starts_with(key))
        };
        let lines = comment.filter(|line| !is_directive(line));
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }
}

/// A file's text, ending with a line break.
fn read(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

fn imported(text: &str) -> Vec<String> {
    let names = directives(text, "import").flat_map(|names| names.split(','));
    names.map(|name| name.trim().to_owned()).collect()
}

fn tile(path: &str, line: &str) -> Result<Tile, String> {
    let wrong = || format!("{path}: `// tile: {line}` should read `// tile: NAME = number`");
    let (name, value) = line.split_once('=').ok_or_else(wrong)?;
    let (value, doc) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    let value = value.parse().map_err(|_| wrong())?;
    Ok(Tile { name: name.trim().to_owned(), value, doc: doc.trim().to_owned() })
}
