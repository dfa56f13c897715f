"""Disks that are full, memory that runs out, and signals at any moment."""
