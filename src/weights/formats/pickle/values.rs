//! Values of a pickle. What calls and names share is shared, for a few bytes may ask for it again and again.
use std::sync::Arc;

/// Number of an object within its pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub(super) u32);

/// Where a tensor's elements are: a storage of a number of elements, known by its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Its class, such as `FloatStorage`.
    pub class: Arc<str>,
    /// Its key: the record `data/KEY`.
    pub key: Arc<str>,
    /// Elements.
    pub elements: u64,
}

/// A tensor as a view of its storage; offset, extents and strides count elements.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub storage: Arc<Storage>,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// A value of Python.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    /// A list or a tuple.
    List(Vec<Id>),
    /// Keys and values, in order.
    Dict(Vec<(Id, Id)>),
    /// A class or function that is named, `module.name`.
    Global(Arc<str>),
    Storage(Arc<Storage>),
    Tensor(Arc<View>),
}
