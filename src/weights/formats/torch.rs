//! PyTorch's files. Today's is a zip: a pickle of the objects, `data.pkl`, and a record `data/KEY` for each storage,
//! never compressed. The older one is five pickles in a row, then the storages. A tensor is a view of a storage.
use super::{
    named::{NamesError, named},
    pickle::{Object, Pickle, PickleError, Storage, View},
    source::Source,
    tensor::{Numbers, TensorFile, numbers},
    views::{element, gathered, reach, size_of_element},
};
use crate::error::{FileError, WeightsError};
use std::{
    collections::{BTreeMap, HashMap},
    io::{BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};
use zip::{CompressionMethod, ZipArchive};

/// Bytes of the longest pickle.
const LONGEST_PICKLE: u64 = 64 << 20;
/// The lower 64 bits of the integer that a legacy file begins with, and its protocol.
const MAGIC: i64 = 0xa86a_20f9_469c_fc6c_u64 as i64;
const PROTOCOL: i64 = 1001;

/// What is wrong with a file of PyTorch.
#[derive(Debug, thiserror::Error)]
enum TorchError {
    #[error(transparent)]
    Pickle(#[from] PickleError),
    #[error("{0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("{0}")]
    Read(#[from] std::io::Error),
    #[error("record {name}: it is compressed, which PyTorch's are never")]
    Compressed { name: String },
    #[error("record {name}: it ends after the file")]
    Outside { name: String },
    #[error("it has no record {name}")]
    NoRecord { name: String },
    #[error("its numbers are {found}-endian, expected little-endian")]
    Order { found: String },
    #[error(transparent)]
    Names(#[from] NamesError),
    #[error("{tensor}: it reaches past its storage of {elements} elements")]
    Reach { tensor: String, elements: u64 },
    #[error("{tensor}: storage {key} has {found} bytes, expected {expected}")]
    Storage { tensor: String, key: String, found: u64, expected: u64 },
    #[error("expected {0}")]
    Legacy(&'static str),
}

/// First byte and length of each storage, by key.
type Storages = HashMap<String, (u64, u64)>;

/// A file of PyTorch whose pickle was read. A tensor's bytes are read when it is asked for. Names of dicts within
/// dicts and lists are joined by `/`, as in `state_dict/conv.weight`, or `0/conv.weight` in a list.
pub(super) struct Torch<'a> {
    path: PathBuf,
    source: Source<'a>,
    tensors: BTreeMap<String, Arc<View>>,
    storages: Storages,
    format: &'static str,
}

impl<'a> Torch<'a> {
    /// Reads the directory and the pickle of a zip.
    pub fn zip(path: &Path, source: Source<'a>) -> Result<Self, WeightsError> {
        let read = || {
            let mut zip = ZipArchive::new(source.reader())?;
            let (mut records, length) = (HashMap::new(), source.length()?);
            for index in 0..zip.len() {
                let record = zip.by_index_raw(index)?;
                // One top folder, named after the file.
                let name = record.name()?.into_owned();
                let name = name.split_once('/').map_or(&name[..], |(_, name)| name).to_owned();
                let compressed = record.compression() != CompressionMethod::Stored;
                records.insert(name, (index, record.size(), compressed));
            }
            let mut storages = HashMap::new();
            for (name, &(index, size, compressed)) in &records {
                if compressed {
                    return Err(TorchError::Compressed { name: name.clone() });
                }
                if let Some(key) = name.strip_prefix("data/") {
                    let start = zip.by_index_raw(index)?.data_start();
                    let start = start.ok_or_else(|| TorchError::NoRecord { name: name.clone() })?;
                    if start.checked_add(size).is_none_or(|end| end > length) {
                        return Err(TorchError::Outside { name: name.clone() });
                    }
                    storages.insert(key.to_owned(), (start, size));
                }
            }
            if let Some(&(index, ..)) = records.get("byteorder") {
                let mut found = String::new();
                zip.by_index(index)?.take(16).read_to_string(&mut found)?;
                if found.trim() != "little" {
                    return Err(TorchError::Order { found: found.trim().to_owned() });
                }
            }
            let name = "data.pkl";
            let missing = || TorchError::NoRecord { name: name.into() };
            let &(index, ..) = records.get(name).ok_or_else(missing)?;
            let pickle = zip.by_index(index)?.take(LONGEST_PICKLE);
            let pickle = Pickle::read(&mut BufReader::new(pickle))?;
            Ok((named(&pickle)?, storages))
        };
        let read = read();
        Self::checked(path, source, "PyTorch zip", read)
    }

    /// Reads the pickles of a legacy file.
    pub fn legacy(path: &Path, source: Source<'a>) -> Result<Self, WeightsError> {
        let read = || {
            let mut reader = BufReader::new(source.reader());
            let mut next = || Pickle::read(&mut (&mut reader).take(LONGEST_PICKLE));
            if *next()?.root() != Object::Int(MAGIC) || *next()?.root() != Object::Int(PROTOCOL) {
                return Err(TorchError::Legacy("the magic number and protocol 1001"));
            }
            let system = next()?;
            let pickle = next()?;
            let (keys, tensors) = (next()?, named(&pickle)?);
            if entry(&system, "little_endian") == Some(&Object::Bool(false)) {
                return Err(TorchError::Order { found: "big".into() });
            }
            let mut classes: HashMap<&str, &Storage> = HashMap::new();
            for object in pickle.objects() {
                if let Object::Storage(storage) = object {
                    classes.insert(&storage.key, storage);
                }
            }
            let Object::List(list) = keys.root() else {
                return Err(TorchError::Legacy("a list of storages"));
            };
            let mut storages = HashMap::new();
            let length = source.length()?;
            for &key in list {
                let Object::Text(key) = keys.get(key) else {
                    return Err(TorchError::Legacy("the key of a storage"));
                };
                let mut count = [0; 8];
                reader.read_exact(&mut count)?;
                let storage =
                    classes.get(&key[..]).ok_or(TorchError::Legacy("a storage of a tensor"))?;
                let size = element(&storage.class)
                    .and_then(size_of_element)
                    .and_then(|size| size.checked_mul(u64::from_le_bytes(count)));
                let start = reader.stream_position()?;
                let size =
                    size.filter(|&size| start.checked_add(size).is_some_and(|end| end <= length));
                let size = size.ok_or(TorchError::Legacy("as many numbers as the file says"))?;
                storages.insert(key.to_string(), (start, size));
                reader.seek(SeekFrom::Start(start + size))?;
            }
            Ok((tensors, storages))
        };
        let read = read();
        Self::checked(path, source, "PyTorch legacy", read)
    }

    fn checked(
        path: &Path,
        source: Source<'a>,
        format: &'static str,
        read: Result<(BTreeMap<String, Arc<View>>, Storages), TorchError>,
    ) -> Result<Self, WeightsError> {
        let checked = read.and_then(|(tensors, storages)| {
            for (name, view) in &tensors {
                check(name, view, &storages)?;
            }
            Ok((tensors, storages))
        });
        match checked {
            Ok((tensors, storages)) => {
                Ok(Self { path: path.into(), source, tensors, storages, format })
            }
            Err(error) => Err(WeightsError::Format {
                path: path.into(),
                format: "PyTorch",
                source: error.into(),
            }),
        }
    }
}

impl TensorFile for Torch<'_> {
    fn format(&self) -> String {
        self.format.into()
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let shape = |view: &View| view.shape.iter().map(|&extent| extent as usize).collect();
        self.tensors.iter().map(|(name, view)| (name.clone(), shape(view))).collect()
    }

    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
        let path = || self.path.clone();
        let Some(view) = self.tensors.get(name) else {
            return Err(WeightsError::Missing {
                path: path(),
                tensor: name.into(),
                expected: Vec::new(),
            });
        };
        let class = &view.storage.class;
        let wrong = || WeightsError::Element {
            path: path(),
            tensor: name.into(),
            found: class.to_string(),
        };
        let of = element(class).ok_or_else(wrong)?;
        let size = size_of_element(of).ok_or_else(wrong)?;
        let (start, _) = self.storages[&*view.storage.key];
        let mut view = View::clone(view);
        if let (Some(rows), [extent, ..], [stride, ..]) =
            (rows, &mut view.shape[..], &view.strides[..])
        {
            *extent = rows.len() as u64;
            view.offset += rows.start as u64 * stride;
        }
        let from = start + view.offset * size;
        let bytes = self.source.range(from, from + reach(&view).unwrap_or(0) * size);
        let bytes = bytes.map_err(FileError::at(&self.path))?;
        numbers(of, &gathered(&view, &bytes, size as usize)).ok_or_else(wrong)
    }
}

/// The value of a key of the dict that a pickle is.
fn entry<'a>(pickle: &'a Pickle, key: &str) -> Option<&'a Object> {
    let Object::Dict(pairs) = pickle.root() else { return None };
    let found = pairs
        .iter()
        .find(|(name, _)| matches!(pickle.get(*name), Object::Text(name) if &**name == key));
    found.map(|&(_, value)| pickle.get(value))
}

/// Whether a view lies within its storage, and the storage within its record. A view has at most as many elements as its
/// storage, so reading it takes no more memory than the file.
fn check(tensor: &str, view: &View, storages: &Storages) -> Result<(), TorchError> {
    let Storage { key, elements, class } = &*view.storage;
    let tensor = || tensor.to_owned();
    let count = view.shape.iter().try_fold(1u64, |count, &extent| count.checked_mul(extent));
    let end = reach(view).and_then(|reach| reach.checked_add(view.offset));
    if end.is_none_or(|end| end > *elements) || count.is_none_or(|count| count > *elements) {
        return Err(TorchError::Reach { tensor: tensor(), elements: *elements });
    }
    let Some(&(_, found)) = storages.get(&**key) else {
        return Err(TorchError::NoRecord { name: format!("data/{key}") });
    };
    let size = element(class).and_then(size_of_element).unwrap_or(1);
    match elements.checked_mul(size) {
        Some(expected) if expected <= found => Ok(()),
        expected => Err(TorchError::Storage {
            tensor: tensor(),
            key: key.to_string(),
            found,
            expected: expected.unwrap_or(u64::MAX),
        }),
    }
}
