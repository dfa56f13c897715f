"""For Dask workers (`--preload Testing.faulty_batch_preload`): cases are done by the batch worker that meets with what the names of scans say."""

from __future__ import annotations

import os
import sys

from KidneyTumorCascadeLib import batch_cluster_worker, batch_pool

# A version that the workers of a batch are said to have.
VERSION_VARIABLE = "FAULTY_BATCH_VERSION"

vars(batch_pool)["COMMAND"] = (sys.executable, "-m", "Testing.faulty_batch_worker")
if VERSION_VARIABLE in os.environ:
    vars(batch_cluster_worker)["__version__"] = os.environ[VERSION_VARIABLE]
