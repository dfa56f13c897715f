"""Long trials of batches, with workers and whole runs killed: `python -m Testing.Batch.endurance`."""
