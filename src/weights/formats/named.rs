//! Names of the tensors in a pickle: keys of dicts and numbers in lists, joined by `/`.
use super::pickle::{Object, Pickle, View};
use std::{collections::BTreeMap, sync::Arc};

/// Containers within containers that names are taken from.
const DEEPEST: usize = 8;
/// Bytes of all names together.
const LONGEST_NAMES: usize = 4 << 20;

/// Why the tensors of a pickle have no names.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamesError {
    #[error("it holds no tensors")]
    Empty,
    #[error("more names of tensors than objects, or longer ones than a model has")]
    Many,
}

/// The tensors of a pickle by name.
pub(super) fn named(pickle: &Pickle) -> Result<BTreeMap<String, Arc<View>>, NamesError> {
    let mut names = Names { pickle, found: BTreeMap::new(), seen: 0, letters: 0 };
    names.walk("", pickle.root(), 0)?;
    if names.found.is_empty() { Err(NamesError::Empty) } else { Ok(names.found) }
}

/// A walk through the containers of a pickle. One may stand in many others, or in itself, and a long name before
/// many.
struct Names<'a> {
    pickle: &'a Pickle,
    found: BTreeMap<String, Arc<View>>,
    /// Items, and letters of names, that were met.
    seen: usize,
    letters: usize,
}

impl Names<'_> {
    fn walk(&mut self, name: &str, object: &Object, depth: usize) -> Result<(), NamesError> {
        self.seen += 1;
        self.letters += name.len();
        if self.seen > 2 * self.pickle.objects().len() || self.letters > LONGEST_NAMES {
            return Err(NamesError::Many);
        }
        let inner =
            |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}/{key}") };
        match object {
            Object::Tensor(view) => {
                self.found.insert(name.to_owned(), Arc::clone(view));
            }
            Object::List(items) if depth < DEEPEST => {
                for (number, &item) in items.iter().enumerate() {
                    self.walk(&inner(&number.to_string()), self.pickle.get(item), depth + 1)?;
                }
            }
            Object::Dict(pairs) if depth < DEEPEST => {
                for &(key, value) in pairs {
                    let key = match self.pickle.get(key) {
                        Object::Text(key) => inner(key),
                        Object::Int(key) => inner(&key.to_string()),
                        _ => continue,
                    };
                    self.walk(&key, self.pickle.get(value), depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
