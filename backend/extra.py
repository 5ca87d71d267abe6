"""Modules that the backend needs beyond the plain installation, and how to install them.

Invariant: a missing module is refused in one line with the command that installs it. Call `require`
before importing any module of the backend that imports torch.
"""

from __future__ import annotations

import importlib

from orbitflow.errors import UserError, how_to_install

_EXTRA_OF = {"torch": "torch", "safetensors": "torch", "tokenizers": "text"}


def require(*modules: str) -> None:
    """Import the modules. Raise a UserError for the first that is not installed."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            extra = _EXTRA_OF[module]
            raise UserError(f"{module} is not installed: {how_to_install(extra)}") from None
