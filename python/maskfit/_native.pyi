from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Model", "__version__"]
__version__: str

@final
class Model:
    def __new__(cls, path: str) -> Model: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def factors(self) -> dict[str, list[str]]: ...
    def predict(
        self, images: Sequence[str | NDArray[np.uint8]]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64] | None]: ...
