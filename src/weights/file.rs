//! The parameters of a model in an open file.
use super::{
    Below, Layout, Names, NonFinite, TensorFile,
    dialects::{Origin, Rows},
    of_bytes, open,
};
use crate::{
    error::{Error, WeightsError},
    nn::{ParameterSource, ParameterSpec, Weights},
    value::Shape,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Elements that are read at once.
const MOST_READ: usize = 1 << 18;

/// The weights of a model in a file that stays open: a parameter is read when it is asked for, a few rows at
/// a time, and is on the host once.
///
/// ```
/// use ddim::nn::{Initial, ParameterSource, ParameterSpec, Weights};
/// use ddim::{value::TensorType, weights::{FileWeights, NonFinite, Precision, to_bytes}};
///
/// let (name, of) = ("proj.weight".to_owned(), TensorType::f32(&[2, 3]));
/// let specs = [ParameterSpec { name, of, initial: Initial::Constant(0.5) }];
/// let path = "proj.safetensors".as_ref();
/// let bytes = to_bytes(path, &Weights::initial(&specs, 0), Precision::F16)?;
/// let file = FileWeights::from_bytes(path, bytes, &specs, NonFinite::Refuse)?;
/// assert_eq!(file.elements("proj.weight")?[..], [0.5; 6]);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct FileWeights {
    path: PathBuf,
    file: Arc<dyn TensorFile>,
    /// What the names of the tensors begin with.
    prefix: String,
    places: BTreeMap<String, Place>,
}

/// Where a parameter lies in the file.
struct Place {
    /// Its shape here.
    shape: Shape,
    layout: Layout,
    /// The tensor, by its name after the prefix.
    tensor: String,
    /// The rows that are its own.
    rows: usize,
    found_in: Rows,
}

impl fmt::Debug for FileWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parameters in {}", self.places.len(), self.path.display())
    }
}

impl FileWeights {
    /// Opens the weights of a model with these parameters.
    ///
    /// Names of 2022 (`query`, `key`, `value`, `proj_attn`) are read as today's, and a 1x1 convolution
    /// where a linear layer is expected as that layer.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, does not hold exactly the expected tensors, or, unless they
    /// are allowed, holds numbers that are not finite in f32.
    pub fn open(
        path: &Path,
        expected: &[ParameterSpec],
        non_finite: NonFinite,
    ) -> Result<Self, WeightsError> {
        Self::of(path, open(path)?.into(), "", expected, &Names::Diffusers, non_finite)
    }

    /// As [`FileWeights::open`], from the bytes of a file; `name` is for the errors alone.
    ///
    /// # Errors
    /// As [`FileWeights::open`].
    pub fn from_bytes(
        name: &Path,
        bytes: Vec<u8>,
        expected: &[ParameterSpec],
        non_finite: NonFinite,
    ) -> Result<Self, WeightsError> {
        Self::of(name, of_bytes(name, bytes)?.into(), "", expected, &Names::Diffusers, non_finite)
    }

    /// As [`FileWeights::open`], of an open file whose names are those of another project, after a prefix.
    pub(crate) fn of(
        path: &Path,
        file: Arc<dyn TensorFile>,
        prefix: &str,
        expected: &[ParameterSpec],
        names: &Names,
        non_finite: NonFinite,
    ) -> Result<Self, WeightsError> {
        let places = places(path, &Below { file: &*file, prefix }, expected, names)?;
        let prefix = prefix.to_owned();
        let weights = Self { path: path.into(), file, prefix, places };
        match non_finite {
            NonFinite::Refuse => weights.check_finite()?,
            NonFinite::Allow => {}
        }
        Ok(weights)
    }

    /// All parameters on the host.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self) -> Result<Weights, WeightsError> {
        let mut weights = Weights::default();
        for (name, place) in &self.places {
            weights.insert(name, place.shape, self.elements_at(place)?);
        }
        Ok(weights)
    }

    /// Checks that a file holds the expected tensors and no others, but for those that the names leave out.
    ///
    /// # Errors
    /// If it does not; the error names the tensor.
    pub(crate) fn check(
        path: &Path,
        file: &dyn TensorFile,
        expected: &[ParameterSpec],
        names: &Names,
    ) -> Result<(), WeightsError> {
        places(path, file, expected, names).map(drop)
    }

    fn check_finite(&self) -> Result<(), WeightsError> {
        let mut bad = Vec::new();
        for (name, place) in &self.places {
            let mut finite = true;
            self.each(place, |_, rows| finite &= rows.iter().all(|number| number.is_finite()))?;
            if !finite {
                bad.push(name);
            }
        }
        let Some(tensor) = bad.first() else { return Ok(()) };
        let (path, tensor, tensors) = (self.path.clone(), tensor.to_string(), bad.len());
        Err(WeightsError::NotFinite { path, tensor, tensors })
    }

    fn elements_at(&self, place: &Place) -> Result<Vec<f32>, WeightsError> {
        let mut elements = vec![0.0; place.shape.elements()];
        self.each(place, |row, rows| place.layout.put(&place.shape, row, rows, &mut elements))?;
        Ok(elements)
    }

    /// Reads the rows of a parameter in the file's order; `hear` is given the number of the first and some
    /// that follow it.
    fn each(&self, place: &Place, mut hear: impl FnMut(usize, &[f32])) -> Result<(), WeightsError> {
        let file = Below { file: &*self.file, prefix: &self.prefix };
        let most = (MOST_READ * place.rows / place.shape.elements()).max(1);
        let stored = |row| place.found_in.row(row, place.rows);
        let mut row = 0;
        while row < place.rows {
            let first = stored(row);
            let follows = |count: &usize| stored(row + count) == first + count;
            let count = 1 + (1..most.min(place.rows - row)).take_while(follows).count();
            let rows = file.read_rows(&place.tensor, Some(first..first + count))?;
            hear(row, &rows.into_f32());
            row += count;
        }
        Ok(())
    }
}

impl ParameterSource for FileWeights {
    fn names(&self) -> Vec<&str> {
        self.places.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        Some(self.places.get(name)?.shape)
    }

    fn elements(&self, name: &str) -> Result<Cow<'_, [f32]>, Error> {
        let missing = || Error::MissingParameter { name: name.into() };
        let place = self.places.get(name).ok_or_else(missing)?;
        Ok(self.elements_at(place)?.into())
    }
}

/// Where the expected parameters lie, if the file holds these and no other tensors.
fn places(
    path: &Path,
    file: &dyn TensorFile,
    expected: &[ParameterSpec],
    names: &Names,
) -> Result<BTreeMap<String, Place>, WeightsError> {
    let mut found = BTreeMap::new();
    for (stored, shape) in file.tensors().into_iter().filter(|(name, _)| !names.ignores(name)) {
        let name = names.key(&stored);
        if found.insert(name.clone(), (stored, shape)).is_some() {
            return Err(WeightsError::Twice { path: path.into(), tensor: name });
        }
    }
    let (mut places, mut used) = (BTreeMap::new(), BTreeSet::new());
    for ParameterSpec { name, of, .. } in expected {
        let shape = of.shape;
        let (table, part) = match ParameterSpec::part(name) {
            Some((table, part)) => (table, Some(Rows::Part(part))),
            None => (&name[..], None),
        };
        let Origin { tensor, rows: found_in, turned } = names.origin(table, shape.last());
        let found_in = part.unwrap_or(found_in);
        let layout = if turned { Layout::Same } else { Layout::of(name, &shape) };
        let (path, mut expected) = (path.into(), layout.stored_shape(&shape));
        let rows = expected[0];
        expected[0] = found_in.of(rows);
        let Some((stored, found)) = found.get(&tensor) else {
            return Err(WeightsError::Missing { path, tensor, expected });
        };
        let mut own = found.clone();
        let whole = own.first() == Some(&expected[0]);
        own.iter_mut().take(1).for_each(|extent| *extent = rows);
        if !whole || !layout.accepts(&shape, &own) {
            let (tensor, found) = (stored.clone(), found.clone());
            return Err(WeightsError::Shape { path, tensor, expected, found });
        }
        let place = Place { shape, layout, tensor: stored.clone(), rows, found_in };
        places.insert(name.clone(), place);
        used.insert(tensor);
    }
    if let Some((_, (tensor, found))) = found.into_iter().find(|(name, _)| !used.contains(name)) {
        return Err(WeightsError::Unknown { path: path.into(), tensor, found });
    }
    Ok(places)
}
