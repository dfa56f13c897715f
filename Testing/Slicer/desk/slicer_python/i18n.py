"""slicer.i18n without translations."""

from __future__ import annotations


def translate(context: str, text: str) -> str:
    """The text itself."""
    return text


def tr(text: str) -> str:
    """The text itself."""
    return text
