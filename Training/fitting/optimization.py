"""What changes weights: the optimizer, its learning rate, the scale of gradients, and the moving average that ships."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from KidneyTumorCascadeLib.device import Engine
from KidneyTumorCascadeLib.vnet import VNet, VNetShape
from Training.fitting.light_layers import lighten
from Training.fitting.settings import OptimizerSettings, StageSettings
from Training.fitting.small_convolutions import mend_small_convolutions


def make_network(shape: VNetShape, device: torch.device) -> VNet:
    """A network in the order in which convolutions are fast: channels beside each other. Its state keeps its names and shapes."""
    network: VNet = VNet(shape).to(device=device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if device.type == "cpu":
        lighten(network)
        mend_small_convolutions(network)
    return network


def learning_rate(step: int, settings: StageSettings) -> float:
    """Linear warm-up; then, as the schedule says, a half cosine to zero or the configured rate to the end."""
    peak = settings.optimizer.learning_rate
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return peak
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW, or the published SGD with momentum."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.kind == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=settings.momentum, weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


def make_scaler(engine: Engine) -> Any:
    """Keeps small gradients within float16's range; passes everything through where another precision computes."""
    enabled = engine.precision == torch.float16
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(engine.device.type, enabled=enabled)
    # Before torch 2.3 it was CUDA's own.
    return torch.cuda.amp.GradScaler(enabled=enabled)


def gradient_norm(network: nn.Module, most: float | None) -> float:
    """Norm of all gradients together, which are scaled down to at most `most`; None leaves them as they are."""
    return float(nn.utils.clip_grad_norm_(network.parameters(), math.inf if most is None else most))


class MovingAverage:
    """An exponential moving average of a network's state, slow at first; a decay of 0 follows the network."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network's present state; counts of batches are taken as they are."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point() and decay:
                self.state[name].lerp_(value.detach(), 1.0 - decay)
            else:
                self.state[name].copy_(value)
