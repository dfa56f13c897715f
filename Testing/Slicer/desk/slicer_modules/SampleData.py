"""Slicer's module SampleData: keeps the sources that modules register, and downloads nothing."""

from __future__ import annotations

from typing import Any


class SampleDataLogic:
    """Where modules register their sample data."""

    # What was registered, by the sample's name.
    registered: dict[str, dict[str, Any]] = {}  # noqa: RUF012 -- shared on purpose

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", sampleName: str = "", uris: Any = None, **options: Any) -> None:
        """Offers a sample under a category of the module SampleData."""
        SampleDataLogic.registered[sampleName] = {"category": category, "uris": uris, **options}
