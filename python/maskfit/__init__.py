"""Predicts images with models that the program `maskfit` has trained.

>>> import maskfit
>>> model = maskfit.open("runs/default")
>>> predictions = model.predict(["one.jpg", "two.jpg"])
>>> [model.classes[it] for it in predictions.predicted]
['worn female <30', 'not worn male 30-59']

The predictions are those of `maskfit predict`, bit for bit.
"""

import os
from collections.abc import Sequence
from os import PathLike, fspath
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from . import _native

__all__ = ["Model", "Predictions", "__version__", "open"]
__version__ = _native.__version__

Path = str | PathLike[str]
Image = Path | NDArray[np.uint8]

# The process that has opened a model: its threads compute, and a fork of it has none of them.
_process: int | None = None


class Predictions(NamedTuple):
    """What a model predicts for n images."""

    probabilities: NDArray[np.float64]
    """Of each class of `Model.classes`, float64 of shape [n, classes]; rows sum to 1."""
    predicted: NDArray[np.int64]
    """The class that is decided for, int64 of shape [n]: an index into `Model.classes`."""
    numbers: NDArray[np.float64] | None
    """The predicted number, such as an age, float64 of shape [n]; None if the model predicts none, or no
    image."""


class Model:
    """A model of a run, a fold or an ensemble. Threads may share it; they take turns.

    Processes open it each for themselves, and a pickled model is its path. One that is forked from a process with a
    model cannot: start processes with `multiprocessing.get_context("spawn")`.
    """

    def __init__(self, path: Path) -> None:
        """Opens the folder of a run, of one fold, or of a bundle.

        Raises FileNotFoundError if there is no model, ValueError if it is damaged, RuntimeError in a fork of a process
        that has opened one.
        """
        global _process
        if _process is not None:
            _refuse_forks()
        self._path = os.path.abspath(fspath(path))
        before, _process = _process, os.getpid()
        try:
            self._native = _native.Model(fspath(path))
        except FileNotFoundError:
            # No thread was started: a fork may still open one. A damaged model may have started some.
            _process = before
            raise

    @property
    def classes(self) -> list[str]:
        """The names of the joint classes."""
        return self._native.classes

    @property
    def factors(self) -> dict[str, list[str]]:
        """The names of the factors, such as mask and gender, each with those of its levels."""
        return self._native.factors

    def predict(self, images: Image | Sequence[Image]) -> Predictions:
        """Predicts images.

        images: a path, an array of RGB pixels (uint8, shape [height, width, 3]) or what NumPy makes one of, such as
        an image of Pillow, or a sequence of these, or an array of shape [n, height, width, 3]. Pixels are upright: the
        orientation in the metadata of a file counts only for a path.

        Raises ValueError naming the images that cannot be predicted, at most 20 of them, TypeError for other arrays,
        RuntimeError in a fork of the process that has opened the model. Ctrl-C interrupts it.
        """
        _refuse_forks()
        if isinstance(images, np.ndarray):
            are_several = images.ndim == 4
        else:
            are_several = isinstance(images, Sequence) and not isinstance(images, (str, bytes, bytearray))
        all_images = cast(Sequence[Image], images if are_several else [images])
        return Predictions(*self._native.predict([_image(idx, it) for idx, it in enumerate(all_images)]))

    def __reduce__(self) -> tuple[type["Model"], tuple[str]]:
        return Model, (self._path,)

    def __repr__(self) -> str:
        return f"<maskfit.Model of {len(self.classes)} classes>"


def open(path: Path) -> Model:
    """Opens the folder of a run, of one fold, or of a bundle: `Model(path)`."""
    return Model(path)


def _refuse_forks() -> None:
    if os.getpid() != _process:
        raise RuntimeError(
            "this process is a fork of one that has opened a model, without its threads: start processes with "
            '`multiprocessing.get_context("spawn")`, and open the model in each'
        )


def _image(idx: int, image: Image) -> str | NDArray[np.uint8]:
    """Returns a path or contiguous pixels."""
    if isinstance(image, (str, PathLike)):
        return fspath(image)
    try:
        pixels = np.asarray(image)
    except ValueError as err:  # Lists of unequal length.
        raise TypeError(f"image {idx}: expected a path or an array: {err}") from err
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        is_array = hasattr(image, "__array_interface__")
        found = f"{pixels.dtype} of shape {list(pixels.shape)}" if is_array else f"a {type(image).__name__}"
        raise TypeError(f"image {idx}: expected a path, or uint8 of shape [height, width, 3], not {found}")
    return np.ascontiguousarray(pixels)
