"""Where the voxels of the cases lie while patches are cut out of them: on the device when they fit there, in the computer's memory otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from KidneyTumorCascadeLib.geometry import Slices
from Training.cases import Case

# Of the device's free memory: the rest is for the network, its gradients and the patches.
SHARE_FOR_CASES = 0.5


def free_bytes(device: torch.device) -> int:
    """Free memory of a device that has its own; 0 where cases lie in the computer's memory anyway."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


class CaseStore:
    """The voxels of all cases, for one device.

    On CUDA, cases that fit lie there. Those that do not lie in pinned memory, from where whole slices are copied; cases that are mapped from
    the disk (read-only arrays) stay mapped, so that a pool larger than the memory can be trained on.
    """

    def __init__(self, cases: Sequence[Case], device: torch.device) -> None:
        self.device = device
        self.on_device = sum(case.hu.nbytes + case.labels.nbytes for case in cases) < SHARE_FOR_CASES * free_bytes(device)
        self.cases = list(cases)
        self.tensors = [self.placed(case) for case in cases]

    def placed(self, case: Case) -> tuple[Tensor, Tensor] | None:
        """HU and labels on the device or pinned; None for a case that is read where it lies."""
        if self.on_device:
            return torch.tensor(case.hu, device=self.device), torch.tensor(case.labels, device=self.device)
        if self.device.type == "cuda" and case.hu.flags.writeable:
            return torch.from_numpy(case.hu).pin_memory(), torch.from_numpy(case.labels).pin_memory()
        return None

    def crop(self, index: int, where: Slices) -> tuple[Tensor, Tensor]:
        """HU and labels of one case in the slices (z, y, x), as float32 on the device."""
        tensors = self.tensors[index]
        if tensors is None:
            case = self.cases[index]
            hu, labels = (torch.from_numpy(array[where].astype(np.float32)).to(self.device) for array in (case.hu, case.labels))
        else:
            z, y, x = where
            # Whole slices: only what lies in one piece is copied out of pinned memory without a detour.
            hu, labels = (tensor[z].to(self.device, non_blocking=True)[:, y, x].float() for tensor in tensors)
        return hu, labels
