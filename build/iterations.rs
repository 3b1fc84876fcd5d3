//! Which entry points loop, and what the shader says of their iterations:
//! `// iterations: NAME = EXPRESSION`, where NAME is an entry point or a part of later expressions.
use crate::prelude::directives;
use naga::{Block, Function, Module, Statement};

/// What a shader says of its loops: the definitions in their order, in Rust, of `u128`.
pub struct Iterations(Vec<(String, String)>);

impl Iterations {
    /// Reads the directives of a shader's text.
    pub fn of(text: &str) -> Result<Self, String> {
        let definition = |line: &str| {
            let (name, expression) = line.split_once('=').ok_or_else(|| {
                format!("`// iterations: {line}` should read `// iterations: NAME = expression`")
            })?;
            Ok((name.trim().to_owned(), expression.trim().to_owned()))
        };
        directives(text, "iterations").map(definition).collect::<Result<_, String>>().map(Self)
    }

    /// The statements that define the iterations of an entry point; none if it has no loop.
    pub fn of_entry(&self, module: &Module, entry: usize) -> Result<Option<String>, String> {
        let point = &module.entry_points[entry];
        let said = self.0.iter().position(|(name, _)| *name == point.name);
        match (said, loops(module, &point.function)) {
            (None, false) => Ok(None),
            (Some(own), true) => {
                let is_entry =
                    |name: &str| module.entry_points.iter().any(|other| other.name == name);
                let parts = self.0[..own].iter().filter(|(name, _)| !is_entry(name));
                let parts = parts.map(|(name, expression)| format!("let {name} = {expression};\n"));
                Ok(Some(parts.collect::<String>() + &self.0[own].1))
            }
            (None, true) => Err(format!(
                "entry point `{0}` loops: say how often at most with \
                 `// iterations: {0} = expression`",
                point.name
            )),
            (Some(_), false) => {
                Err(format!("`// iterations: {} =`: that entry point has no loop", point.name))
            }
        }
    }
}

/// Whether a function, or one that it calls, has a loop.
fn loops(module: &Module, function: &Function) -> bool {
    block_loops(module, &function.body)
}

fn block_loops(module: &Module, block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Loop { .. } => true,
        Statement::Block(block) => block_loops(module, block),
        Statement::If { accept, reject, .. } => {
            block_loops(module, accept) || block_loops(module, reject)
        }
        Statement::Switch { cases, .. } => cases.iter().any(|case| block_loops(module, &case.body)),
        Statement::Call { function, .. } => loops(module, &module.functions[*function]),
        _ => false,
    })
}
