"""Named points of the face mesh."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import yaml

N_POINTS = 468


@dataclass(frozen=True)
class MeshPoints:
    """Indices of mesh points as int arrays; see `mesh_points.yaml`."""

    lips_upper: np.ndarray  # (4, 11), from the inner to the outer edge
    lips_lower: np.ndarray
    right_eye_upper: np.ndarray  # (9,)
    right_eye_lower: np.ndarray
    left_eye_upper: np.ndarray
    left_eye_lower: np.ndarray
    right_brow: np.ndarray  # ()
    left_brow: np.ndarray
    cheeks: np.ndarray
    oval: np.ndarray  # (36,) around the face
    bony: np.ndarray
    keypoints: np.ndarray  # (21,)

    @property
    def inner_upper_lip(self) -> int:
        """Middle of the upper lip's inner edge."""
        return int(self.lips_upper[0, 5])

    @property
    def inner_lower_lip(self) -> int:
        """Middle of the lower lip's inner edge."""
        return int(self.lips_lower[0, 5])

    @property
    def eyes(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Upper and lower lid of the right and of the left eye."""
        return (self.right_eye_upper, self.right_eye_lower), (self.left_eye_upper, self.left_eye_lower)


@cache
def load_mesh_points() -> MeshPoints:
    """Read `mesh_points.yaml`."""
    content = yaml.safe_load(Path(__file__).with_name("mesh_points.yaml").read_text(encoding="utf-8"))
    return MeshPoints(**{field.name: np.array(content[field.name]) for field in fields(MeshPoints)})
