from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

__version__: str

@final
class Model:
    def __init__(self, path: str) -> None: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def factors(self) -> dict[str, list[str]]: ...
    def predict(
        self, images: Sequence[str | NDArray[np.uint8]]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64] | None]: ...
