"""slicer.packaging of Slicer 5.12: asks pip for nothing here, but remembers what it should have installed."""

from __future__ import annotations

from typing import Any

# Name of the function, requirements, options: one for each call, for a test to read and clear.
calls: list[tuple[str, Any, dict[str, Any]]] = []
# What pip_check answers.
satisfied = False


def pip_check(requirements: Any) -> bool:
    """Whether all is installed already."""
    return satisfied


def pip_install(requirements: Any, **options: Any) -> None:
    """Installs nothing."""
    calls.append(("pip_install", requirements, options))


def pip_ensure(requirements: Any, **options: Any) -> None:
    """Installs nothing."""
    calls.append(("pip_ensure", requirements, options))
