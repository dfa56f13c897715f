"""Early warnings: signs that a training goes wrong while its loss is still a number."""

from __future__ import annotations

import statistics
from collections import deque

# Means of blocks of steps are compared: with small patches, single losses scatter between nothing and everything.
BLOCK_STEPS = 50
BLOCKS_KEPT = 20
BLOCKS_NEEDED = 4
FAR_ABOVE = 3.0
VALIDATIONS_WITHOUT_DICE = 3


class Watch:
    """Looks at each loss and each validation, and says in one sentence what is suspicious."""

    def __init__(self) -> None:
        self.block: list[float] = []
        self.means: deque[float] = deque(maxlen=BLOCKS_KEPT)
        self.without_dice = 0

    def loss(self, step: int, value: float) -> str:
        """A warning when the last steps' mean loss is far above the running median of such means; otherwise nothing.

        A block that was warned of does not count in the median: the warning comes again for as long as the loss stays there.
        """
        self.block.append(value)
        if len(self.block) < BLOCK_STEPS:
            return ""
        mean, self.block = statistics.fmean(self.block), []
        if len(self.means) >= BLOCKS_NEEDED and mean > FAR_ABOVE * statistics.median(self.means):
            usual = statistics.median(self.means)
            return (
                f"The loss rose to {mean:.3f} at step {step}, where about {usual:.3f} was usual; if it stays there, lower the learning rate and "
                "start again from an earlier checkpoint or from the beginning."
            )
        self.means.append(mean)
        return ""

    def dice(self, step: int, value: float) -> str:
        """A warning at the third validation in a row that finds nothing, once; otherwise nothing."""
        self.without_dice = 0 if value > 0 else self.without_dice + 1
        if self.without_dice != VALIDATIONS_WITHOUT_DICE:
            return ""
        return (
            f"The validation Dice has been 0 for {VALIDATIONS_WITHOUT_DICE} validations up to step {step}: the network finds nothing; look at "
            "the labels of the pool, the learning rate and the loss."
        )
