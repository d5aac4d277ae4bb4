//! `maskfit._native`: the model behind the Python module, which opens a bundle and predicts files and arrays.
//!
//! `maskfit/__init__.py` checks and documents what it takes. Files are predicted as by `maskfit predict`, bit for bit;
//! threads of Python go on meanwhile.

use std::{fs, io, path::PathBuf, slice};

use maskfit::{Classifier, ClassifierError, Image, Prediction};
use numpy::{PyArray1, PyArray2, PyReadonlyArray3, PyUntypedArrayMethods as _, ndarray::Array2};
use pyo3::{
    exceptions::{PyFileNotFoundError, PyRuntimeError, PyTypeError, PyValueError},
    prelude::*,
    types::PyDict,
};

/// The most files that are in memory at once.
const EACH: usize = 64;

/// The most images that an error names.
const NAMED: usize = 20;

/// Probabilities, classes and numbers, as NumPy arrays.
type Arrays<'py> =
    (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<i64>>, Option<Bound<'py, PyArray1<f64>>>);

/// An image of a call.
enum Source {
    /// A file, by its path.
    File(PathBuf),
    /// Upright RGB pixels.
    Pixels(Image),
}

/// A model.
#[pyclass(frozen, module = "maskfit._native")]
struct Model {
    classifier: Classifier,
}

#[pymethods]
impl Model {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Model> {
        // The folder of a run has its bundle in `best`.
        let best = path.join("best");
        let dir = if best.is_dir() { best } else { path };
        if !dir.join("bundle.toml").is_file() {
            let why = match dir.join("fold-0").is_dir() {
                true => {
                    "this is a cross-validation: make one bundle of its folds with `maskfit ensemble`, or open one, \
                     such as `fold-0`"
                }
                false if !dir.exists() => {
                    "there is no such folder: name that of a run, of one fold, or of a bundle"
                }
                false => "there is no model: name the folder of a run, of one fold, or of a bundle",
            };
            return Err(PyFileNotFoundError::new_err(format!("{}: {why}", dir.display())));
        }
        let classifier = py.detach(|| Classifier::open(&dir)).map_err(failed)?;
        Ok(Model { classifier })
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        self.classifier.class_names()
    }

    #[getter]
    fn factors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let factors = PyDict::new(py);
        for it in &self.classifier.task().factors {
            factors.set_item(&it.name, &it.levels)?;
        }
        Ok(factors)
    }

    /// Predicts images: each a path, or contiguous pixels.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        images: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Arrays<'py>> {
        let sources = images.iter().map(source).collect::<PyResult<Vec<Source>>>()?;
        let predicted = self.predict_all(py, &sources)?;
        let n_classes = self.classifier.task().n_classes();
        let all = predicted.iter().flat_map(|it| it.probabilities.iter().copied()).collect();
        let shape = (predicted.len(), n_classes);
        let probabilities = Array2::from_shape_vec(shape, all)
            .map_err(|err| PyRuntimeError::new_err(err.to_string()))?;
        let classes = predicted.iter().map(|it| it.predicted as i64);
        let numbers: Option<Vec<f64>> = predicted.iter().map(|it| it.number).collect();
        // No image has no number.
        let numbers = numbers.filter(|it| !it.is_empty());
        Ok((
            PyArray2::from_owned_array(py, probabilities),
            PyArray1::from_iter(py, classes),
            numbers.map(|it| PyArray1::from_vec(py, it)),
        ))
    }
}

impl Model {
    /// Predicts images, in their order. Other threads go on meanwhile, and Ctrl-C is heeded after a few images.
    ///
    /// # Errors
    /// A line for each image that cannot be predicted; of many, the first, and the number of the others.
    fn predict_all(&self, py: Python<'_>, sources: &[Source]) -> PyResult<Vec<Prediction>> {
        let mut predictions = Vec::with_capacity(sources.len());
        let mut problems = Vec::new();
        for (nth, some) in sources.chunks(EACH).enumerate() {
            py.check_signals()?;
            match py.detach(|| self.predict_some(some)) {
                Ok(it) => predictions.extend(it),
                Err(_) => problems.extend(py.detach(|| self.problems(nth * EACH, some))),
            }
        }
        match problems.is_empty() {
            true => Ok(predictions),
            false => Err(PyValueError::new_err(first(problems))),
        }
    }

    /// Returns which of a few images cannot be predicted: each is tried alone, so that all are named.
    ///
    /// - `first`: the position of the first.
    fn problems(&self, first: usize, sources: &[Source]) -> Vec<String> {
        let each = sources.iter().enumerate().filter_map(|(idx, one)| {
            let err = self.predict_some(slice::from_ref(one)).err()?;
            Some(match one {
                Source::File(path) if path.is_dir() => {
                    format!("{}: this is a folder: name the files in it", path.display())
                }
                Source::File(path) => format!("{}: {}", path.display(), reason(&err)),
                Source::Pixels(_) => format!("image {}: {}", first + idx, reason(&err)),
            })
        });
        each.collect()
    }

    /// Predicts a few images.
    fn predict_some(&self, sources: &[Source]) -> Result<Vec<Prediction>, Failure> {
        let is_file = |it: &Source| matches!(it, Source::File(_));
        let mut predictions = Vec::with_capacity(sources.len());
        for alike in sources.chunk_by(|a, b| is_file(a) == is_file(b)) {
            let (mut files, mut images) = (Vec::new(), Vec::new());
            for it in alike {
                match it {
                    Source::File(path) => files.push(fs::read(path).map_err(Failure::Read)?),
                    Source::Pixels(image) => images.push(image.clone()),
                }
            }
            let of_files = self.classifier.predict_encoded(&files);
            predictions.extend(of_files.map_err(Failure::Predict)?);
            let of_images = self.classifier.predict(&images);
            predictions.extend(of_images.map_err(Failure::Predict)?);
        }
        Ok(predictions)
    }
}

/// Joins the first lines, and counts the others.
fn first(mut lines: Vec<String>) -> String {
    let n_more = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    lines.extend((n_more > 0).then(|| format!("and {n_more} more")));
    lines.join("\n")
}

/// Why an image has no prediction.
enum Failure {
    Read(io::Error),
    Predict(ClassifierError),
}

/// The reason, without the position of the image.
fn reason(err: &Failure) -> String {
    match err {
        Failure::Read(err) => err.to_string(),
        Failure::Predict(ClassifierError::Image { source, .. }) => source.to_string(),
        Failure::Predict(err) => err.to_string(),
    }
}

/// Reads an argument of Python.
fn source(image: &Bound<'_, PyAny>) -> PyResult<Source> {
    if let Ok(pixels) = image.extract::<PyReadonlyArray3<'_, u8>>() {
        let [height, width, _] = <[usize; 3]>::try_from(pixels.shape())
            .map_err(|_| PyTypeError::new_err("pixels need three dimensions"))?;
        let side =
            |it: usize| u32::try_from(it).map_err(|err| PyTypeError::new_err(err.to_string()));
        let bytes = pixels.as_slice()?.to_vec();
        let image = Image::from_raw(side(width)?, side(height)?, bytes);
        return image.map(Source::Pixels).ok_or_else(|| PyTypeError::new_err("pixels need RGB"));
    }
    Ok(Source::File(image.extract()?))
}

/// Converts an error of opening.
fn failed(err: ClassifierError) -> PyErr {
    PyValueError::new_err(err.to_string())
}

/// The module.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Model>()
}
