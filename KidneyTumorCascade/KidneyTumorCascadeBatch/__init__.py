"""Segments a folder of scans in 3D Slicer without its windows: what Scripts/batch_segment.py runs."""
