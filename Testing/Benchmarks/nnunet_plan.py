"""nnU-Net's 3d_fullres plan for KiTS19, as far as prediction needs it, and what it costs. Needs nnunetv2 only where it says so.

Isensee, Maier-Hein: "An attempt at beating the 3D U-Net" (KiTS19's winner) and nnU-Net's planner for that data set: 0.78125 mm isotropic, patches
of 128 x 128 x 128, a plain U-Net of six stages with 32 to 320 channels, two 3 x 3 x 3 convolutions a stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

SPACING = (0.78125, 0.78125, 0.78125)
PATCH = (128, 128, 128)
STEP = 0.5
FEATURES = (32, 64, 128, 256, 320, 320)
CLASSES = 3
RESAMPLING = "resample_data_or_seg_to_shape"


def architecture() -> dict[str, Any]:
    """The network as the plan describes it."""
    stages = len(FEATURES)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(FEATURES),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def resampling_options(is_seg: bool, order: int) -> dict[str, Any]:
    """nnU-Net's own: cubic splines for the image, linear for the logits."""
    return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}


def configuration() -> dict[str, Any]:
    """The configuration 3d_fullres."""
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(PATCH),
        "spacing": list(SPACING),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": RESAMPLING,
        "resampling_fn_data_kwargs": resampling_options(False, 3),
        "resampling_fn_seg": RESAMPLING,
        "resampling_fn_seg_kwargs": resampling_options(True, 1),
        "resampling_fn_probabilities": RESAMPLING,
        "resampling_fn_probabilities_kwargs": resampling_options(False, 1),
        "architecture": architecture(),
        "batch_dice": True,
    }


def plans() -> dict[str, Any]:
    """What nnU-Net keeps in plans.json. The intensities are KiTS19's as published: they cost nothing."""
    intensities = {"mean": 101.0, "std": 76.9, "percentile_00_5": -79.0, "percentile_99_5": 304.0, "median": 103.0, "min": -1015.0, "max": 3071.0}
    return {
        "dataset_name": "Dataset064_KiTS19",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING),
        "original_median_shape_after_transp": [528, 512, 512],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration()},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def dataset() -> dict[str, Any]:
    """What nnU-Net keeps in dataset.json."""
    return {"channel_names": {"0": "CT"}, "labels": {"background": 0, "kidney": 1, "tumor": 2}, "numTraining": 190, "file_ending": ".nii.gz"}


def resampled_shape(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Voxels (z, y, x) after nnU-Net's resampling of a scan of that shape and spacing (z, y, x, mm)."""
    return tuple(round(length * old / new) for length, old, new in zip(shape, spacing, SPACING, strict=True))


def patch_count(shape: Sequence[int], patch: Sequence[int] = PATCH, step: float = STEP) -> int:
    """Patches of nnU-Net's sliding window over an image of that shape (z, y, x); it is padded to a patch where it is smaller."""
    return math.prod(math.ceil(max(0, length - edge) / (edge * step)) + 1 for length, edge in zip(shape, patch, strict=True))


def network() -> Any:
    """The network with random weights. Needs nnunetv2."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plan = architecture()
    return get_network_from_plans(plan["network_class_name"], plan["arch_kwargs"], plan["_kw_requires_import"], 1, CLASSES, deep_supervision=False)


def parameters_and_operations() -> tuple[int, int]:
    """Parameters of the network, and floating point operations of a patch (two for each multiply-accumulate). Needs nnunetv2."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        made = network().eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            made(torch.empty(1, 1, *PATCH))
    return sum(parameter.numel() for parameter in made.parameters()), int(counter.get_total_flops())
