"""What training keeps on disk: checkpoints to go on from, and weights to begin with. Nothing is unpickled but tensors and plain values."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from KidneyTumorCascadeLib.errors import InputError, SetupError

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError)


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, whole or not at all. Raises SetupError when there is no room for it."""
    try:
        replace_file(path, lambda temporary: torch.save(state, temporary))
    # torch's own writer reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise SetupError(f"The checkpoint {path} cannot be written ({error}); free some space or write to another disk.") from error


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """What `write_checkpoint` wrote. Raises InputError when the file is damaged."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
    except UNREADABLE as error:
        raise InputError(f"The checkpoint {path} is damaged ({type(error).__name__}); remove it to start this stage again.") from error
    return state


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a safetensors file into a network. Raises InputError when there are none or they are another network's."""
    if not path.is_file():
        raise InputError(f"There are no weights {path}; train that stage first.")
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"The weights {path} are damaged or another network's; use the configuration they were made with.") from error
