"""What of a tumor slice can be said in numbers: how bright, how uneven, how coarse, how sharply bounded. Arrays are y, x."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from Training.resemblance.tumor_slices import PIXEL_MM, Picture, TumorSlice, as_hu_of

STATISTICS = (
    "mean_hu",
    "sd_hu",
    "tenth_percentile_hu",
    "ninetieth_percentile_hu",
    "skewness",
    "correlation_length_mm",
    "rim_less_core_hu",
    "border_step_hu",
    "border_gradient_hu_per_mm",
    "border_unevenness_hu",
    "compactness",
)
# Not of the slices as they are compared, but of what they were before: how noisy the scans are.
GRAIN = "grain_before_treatment_hu"
KIDNEY_FRACTION = "mean_over_kidney"


def statistics_of(one: TumorSlice) -> NDArray[np.float64]:
    """The values of STATISTICS."""
    hu = as_hu_of(one.gray)
    depth = ndimage.distance_transform_edt(one.tumor) * PIXEL_MM
    outside = ndimage.distance_transform_edt(~one.tumor) * PIXEL_MM
    inside = hu[depth > 2.0] if (depth > 2.0).sum() > 20 else hu[one.tumor]
    gradient = np.hypot(*np.gradient(ndimage.gaussian_filter(hu, 0.7))) / PIXEL_MM
    border = (depth <= PIXEL_MM) & (outside <= PIXEL_MM)
    shell = (outside > 1.5) & (outside < 5.0)
    rim, core = hu[(depth > 2.0) & (depth < 6.0)], hu[depth > 0.5 * depth.max()]
    return np.array(
        [
            inside.mean(),
            inside.std(),
            *np.percentile(inside, [10, 90]),
            float(((inside - inside.mean()) ** 3).mean() / max(inside.std(), 1.0) ** 3),
            correlation_length_mm(hu, depth > 2.0),
            (rim.mean() if rim.size else inside.mean()) - core.mean(),
            inside.mean() - hu[shell].mean(),
            gradient[border].mean(),
            hu[shell].std(),
            one.tumor.sum() * PIXEL_MM**2 / (np.pi * float(depth.max()) ** 2),
        ]
    )


def grain_hu(one: TumorSlice) -> float:
    """Noise of the slice before it was smoothed: how much pixels differ from their neighbourhood."""
    hu = as_hu_of(one.crisp)
    return float(np.std((hu - ndimage.gaussian_filter(hu, 1.0))[one.tumor]))


def correlation_length_mm(hu: Picture, mask: NDArray[np.bool_]) -> float:
    """The distance at which brightness inside a mask still agrees by half of what it does at one pixel."""
    if mask.sum() < 30:
        return 0.0
    values = np.where(mask, hu - hu[mask].mean(), 0.0)
    strengths = []
    for lag in range(1, 16):
        pairs = [(values[lag:], values[:-lag], mask[lag:] & mask[:-lag]), (values[:, lag:], values[:, :-lag], mask[:, lag:] & mask[:, :-lag])]
        count = sum(int(both.sum()) for _, _, both in pairs)
        strengths.append(sum(float((a * b)[both].sum()) for a, b, both in pairs) / max(count, 1))
        if strengths[-1] < 0.5 * strengths[0]:
            break
    return len(strengths) * PIXEL_MM


def table(slices: Sequence[TumorSlice]) -> dict[str, dict[str, float]]:
    """Median, and 10th and 90th percentile, of each statistic; of the brightness relative to the kidney where kidneys are labelled."""
    values = np.array([statistics_of(one) for one in slices])
    fractions = [as_hu_of(one.gray[one.tumor]).mean() / as_hu_of(one.gray[one.kidney]).mean() for one in slices if one.kidney.sum() > 100]
    result = {name: spread(values[:, index]) for index, name in enumerate(STATISTICS)}
    result[GRAIN] = spread(np.array([grain_hu(one) for one in slices]))
    return {**result, KIDNEY_FRACTION: spread(np.array(fractions))} if fractions else result


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Median, 10th and 90th percentile."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return {"p10": round(float(low), 3), "median": round(float(middle), 3), "p90": round(float(high), 3)}
