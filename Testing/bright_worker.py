"""The worker with networks that find bright voxels: `python -m Testing.bright_worker`. What its networks print must not reach the client."""

from __future__ import annotations

import os

from torch import Tensor, nn

from KidneyTumorCascadeLib import cascade
from KidneyTumorCascadeLib.bundle_format import Stage
from KidneyTumorCascadeLib.worker import leave, main
from Testing.bright_blocks import LEVELS, Brightness


class Talkative(Brightness):
    """A network that prints, as libraries do."""

    def forward(self, patches: Tensor) -> Tensor:
        print("a patch")
        os.write(1, b"a patch, said in C\n")
        result: Tensor = super().forward(patches)
        return result


def load_network(stage: Stage, device: object) -> nn.Module:
    """In the place of the bundle's own network."""
    return Talkative(LEVELS[stage.name])


if __name__ == "__main__":
    vars(cascade)["load_network"] = load_network
    leave(main())
