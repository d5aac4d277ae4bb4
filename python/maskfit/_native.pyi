from typing import Sequence

import numpy as np

__version__: str

class Model:
    def __init__(self, path: str) -> None: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def factors(self) -> dict[str, list[str]]: ...
    def predict(
        self, images: Sequence[str | np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]: ...
