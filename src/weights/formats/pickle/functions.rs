//! The functions that a pickle of tensors calls, and the storages that it names.
use super::values::{Id, Object, Storage, View};
use std::sync::Arc;

/// What a call gives.
pub(super) enum Made {
    Object(Object),
    /// It is none of the functions.
    Unknown,
    /// The function takes something else.
    Expected(&'static str),
}

/// The objects that were made so far.
#[derive(Clone, Copy)]
pub(super) struct Objects<'a>(pub &'a [Object]);

impl Objects<'_> {
    fn get(&self, id: Id) -> &Object {
        &self.0[id.0 as usize]
    }

    /// What a call gives.
    pub fn made(self, function: &str, arguments: &[Id]) -> Made {
        let made = |object: Option<Object>, expected| match object {
            Some(object) => Made::Object(object),
            None => Made::Expected(expected),
        };
        match function {
            "collections.OrderedDict" => made(self.dict(arguments), "a list of pairs"),
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => {
                let view = self.view(arguments);
                made(view.map(|view| Object::Tensor(Arc::new(view))), "a view of a storage")
            }
            "torch._utils._rebuild_parameter" => {
                let of = arguments.first().map(|&id| self.get(id));
                made(of.filter(|of| matches!(of, Object::Tensor(_))).cloned(), "a tensor")
            }
            _ => Made::Unknown,
        }
    }

    /// A dict of a list of pairs, or an empty one.
    fn dict(self, arguments: &[Id]) -> Option<Object> {
        let Some(&items) = arguments.first() else { return Some(Object::Dict(Vec::new())) };
        let Object::List(items) = self.get(items) else { return None };
        let pairs = items.iter().map(|&item| match self.get(item) {
            Object::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        });
        pairs.collect::<Option<_>>().map(Object::Dict)
    }

    /// `('storage', class, key, location, elements)`.
    pub fn storage(self, id: Id) -> Option<Storage> {
        let Object::List(parts) = self.get(id) else { return None };
        let [kind, class, key, _, elements, ..] = parts[..] else { return None };
        match (self.get(kind), self.get(class), self.get(key), self.get(elements)) {
            (
                Object::Text(kind),
                Object::Global(class),
                Object::Text(key),
                &Object::Int(elements),
            ) if &**kind == "storage" => {
                let (class, key) = (Arc::clone(class), Arc::clone(key));
                Some(Storage { class, key, elements: elements.try_into().unwrap_or(0) })
            }
            _ => None,
        }
    }

    /// `(storage, offset, extents, strides, ...)`.
    fn view(self, arguments: &[Id]) -> Option<View> {
        let [storage, offset, shape, strides, ..] = *arguments else { return None };
        let Object::Storage(storage) = self.get(storage) else { return None };
        // One below 0 reaches past every storage, which is said with the tensor's name.
        let natural = |id: Id| match *self.get(id) {
            Object::Int(number) => Some(u64::try_from(number).unwrap_or(u64::MAX)),
            _ => None,
        };
        let numbers = |id: Id| match self.get(id) {
            Object::List(items) if items.len() <= 8 => {
                items.iter().map(|&id| natural(id)).collect()
            }
            _ => None,
        };
        let (shape, strides): (Vec<u64>, Vec<u64>) = (numbers(shape)?, numbers(strides)?);
        let offset = natural(offset)?;
        (shape.len() == strides.len()).then(|| View {
            storage: Arc::clone(storage),
            offset,
            shape,
            strides,
        })
    }
}
