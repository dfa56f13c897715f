"""Finds and segments kidneys and kidney tumors in CT with a cascade of three V-Nets. No Slicer here: plain Python, typed."""

__version__ = "0.1.0"
