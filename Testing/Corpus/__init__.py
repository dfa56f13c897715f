"""Inputs as archives hold them, good and bad, each made by code with what must come of it.

`python -m Testing.Corpus.table` writes docs/INPUT.md from it; `Testing/Library/test_corpus.py` holds the program to it.
"""
