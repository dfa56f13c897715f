"""The command line, with workers that note what they do: `python -m Testing.Batch.logged_batch batch ...`; for Dask workers `--preload` it."""

from __future__ import annotations

import os
import sys

from KidneyTumorCascadeLib import batch_pool, cli

BRIGHT_VARIABLE = "ENDURANCE_BRIGHT"

vars(batch_pool)["COMMAND"] = (sys.executable, "-m", "Testing.Batch.logged_worker", *(["--bright"] if os.environ.get(BRIGHT_VARIABLE) else []))

if __name__ == "__main__":
    sys.exit(cli.main())
