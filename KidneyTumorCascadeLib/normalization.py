"""Hounsfield units -> network input."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class FixedNormalization:
    """Clip to a range of HU, then (HU - mean) / sd with the statistics of kidney tissue: the same HU is the same input in every scan."""

    clip_hu: tuple[float, float] = (-200.0, 400.0)
    mean_hu: float = 80.0
    sd_hu: float = 90.0

    def apply(self, hu: Tensor) -> Tensor:
        """Input values of HU values, any shape."""
        return (hu.clamp(*self.clip_hu) - self.mean_hu) / self.sd_hu

    @property
    def air(self) -> float:
        """Input value of anything at or below the lower clip: what lies beyond a scan's edge is padded with it."""
        return (self.clip_hu[0] - self.mean_hu) / self.sd_hu

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a bundle."""
        return {"kind": "fixed", **asdict(self), "clip_hu": list(self.clip_hu)}


@dataclass(frozen=True)
class StatisticalNormalization:
    """The publication's: the window mean +- sigma x sd of the whole scan, mapped to 0..255."""

    sigma: float = 2.5

    def for_scan(self, voxels: NDArray[Any]) -> FixedNormalization:
        """The fixed normalization that this means for one scan (z, y, x, HU)."""
        mean, sd = mean_and_sd(voxels)
        sd = max(sd, 1e-3)
        low, high = mean - self.sigma * sd, mean + self.sigma * sd
        return FixedNormalization(clip_hu=(low, high), mean_hu=low, sd_hu=(high - low) / 255.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a bundle."""
        return {"kind": "statistical", "sigma": self.sigma}


Normalization = FixedNormalization | StatisticalNormalization


def for_scan(normalization: Normalization, voxels: NDArray[Any]) -> FixedNormalization:
    """The normalization of one scan; only the statistical one looks at its voxels."""
    return normalization if isinstance(normalization, FixedNormalization) else normalization.for_scan(voxels)


def normalization_from_dict(values: dict[str, Any]) -> Normalization:
    """The reverse of `to_dict`. Raises ValueError on unknown kinds, names and impossible numbers."""
    fields = {key: value for key, value in values.items() if key != "kind"}
    kind = values.get("kind")
    try:
        if kind == "fixed":
            low, high = (float(value) for value in fields.pop("clip_hu"))
            fixed = FixedNormalization((low, high), **{key: float(value) for key, value in fields.items()})
            numbers: tuple[float, ...] = (low, high, fixed.mean_hu, fixed.sd_hu)
            valid = low < high and fixed.sd_hu > 0
            result: Normalization = fixed
        elif kind == "statistical":
            result = StatisticalNormalization(**{key: float(value) for key, value in fields.items()})
            numbers, valid = (result.sigma,), result.sigma > 0
        else:
            raise ValueError(f"unknown normalization {kind!r}")
    except (KeyError, TypeError) as error:
        raise ValueError(f"unusable normalization {values!r}") from error
    if not valid or not np.isfinite(numbers).all():
        raise ValueError(f"impossible normalization {values!r}")
    return result


def mean_and_sd(voxels: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation of a scan (z, y, x), slice by slice so that no copy of it is made."""
    count = voxels.size
    mean = sum(float(plane.sum(dtype=np.float64)) for plane in voxels) / count
    variance = sum(float(np.square(plane - mean).sum()) for plane in voxels) / count
    return mean, float(np.sqrt(variance))
