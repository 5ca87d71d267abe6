"""The JSON documents of a folder: of the version that this program reads, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitflow.errors import UserError


def read_document(path: Path, version: int) -> Mapping[str, Any]:
    """A JSON object of that schema version. Raise a UserError otherwise."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document["schema_version"]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no document of orbitflow: run it again") from None
    if found != version:
        raise UserError(f"{path} has schema_version {found}: this version reads {version}")
    result: Mapping[str, Any] = document
    return result
