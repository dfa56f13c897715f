"""Labelled scans of other people made into cases: checked, split, resampled, indexed."""
