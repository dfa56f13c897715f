"""Inputs that nobody meant, for every parser of the project: `python -m Testing.Fuzz.run`."""
