"""A model in memory, from a local Hugging Face directory or with random weights.

    directory with weights -> its weights;   preset or config.json -> random weights by seed

Weights are `model.safetensors`, or shards with an index that maps each tensor's name to its file.
Invariant: a tensor is used under exactly its name and shape, or the load is refused in one line. A
directory without weights is refused as well, and the refusal names both remedies. Tensors are
converted to the model's type one at a time, so loading needs the weights once.
Format: github.com/huggingface/safetensors.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from orbitflow.backend.model.architecture import Architecture, read_architecture
from orbitflow.backend.model.weights import Weights, assemble, random_weights
from orbitflow.codec import read_json
from orbitflow.errors import ProfileError, UserError
from orbitflow.formats.reading import check_plain

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class Checkpoint:
    """The tensors of one directory by name. Use it in a `with` block, which closes its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = _places(folder)
        self._files: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def fill(self, name: str, target: Tensor) -> None:
        """Copy a tensor. Raise a ProfileError if it is missing or has another shape or type."""
        if name not in self._place:
            raise ProfileError(
                f"{self._folder} has no tensor {name}: download the model again, all of its files"
            )
        try:
            found: Tensor = self._open(self._place[name]).get_tensor(name)
        except SafetensorError as failure:
            raise ProfileError(
                f"{self._folder / self._place[name]}: {failure}: download the file again"
            ) from None
        if found.shape != target.shape:
            raise ProfileError(
                f"{self._folder}: {name} has shape {tuple(found.shape)}, but config.json asks for "
                f"{tuple(target.shape)}: take the config.json that came with the weights"
            )
        if found.dtype.itemsize < 2 or not found.dtype.is_floating_point:
            raise ProfileError(
                f"{self._folder}: {name} is {str(found.dtype).removeprefix('torch.')}: "
                "take unquantised weights (float32, bfloat16 or float16)"
            )
        target.copy_(found)

    def _open(self, file: str) -> Any:
        if file not in self._files:
            path = self._folder / file
            _check_plain(path)
            try:
                opened: Any = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as failure:
                raise ProfileError(
                    f"cannot read {path}: {failure}: download the file again"
                ) from None
            self._files[file] = self._stack.enter_context(opened)
        return self._files[file]


def load_weights(architecture: Architecture, folder: Path, device: torch.device) -> Weights:
    """Read all weights of a decoder. Raise a ProfileError if any is missing or does not fit."""
    with Checkpoint(folder) as checkpoint:
        return assemble(architecture, checkpoint, device)


def _places(folder: Path) -> dict[str, str]:
    """The file of each tensor. One whole file counts before an index, which may be left over."""
    if (folder / _INDEX).exists() and not (folder / _WHOLE).exists():
        index = read_json(folder / _INDEX)
        places = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(places, dict):
            raise ProfileError(f"{folder / _INDEX} has no weight_map: download the file again")
        found = {str(name): os.path.basename(str(file)) for name, file in places.items()}
        if missing := sorted({f for f in found.values() if not (folder / f).exists()}):
            raise ProfileError(
                f"{folder / _INDEX} names {missing[0]}, which is not there: download the model "
                "again, all of its files"
            )
        return found
    if not (folder / _WHOLE).exists():
        raise ProfileError(f"{folder} has no weights ({_WHOLE}): {_remedy(folder)}")
    _check_plain(folder / _WHOLE)
    try:
        with safe_open(folder / _WHOLE, framework="pt") as file:
            return dict.fromkeys(file.keys(), _WHOLE)
    except (OSError, SafetensorError) as failure:
        raise ProfileError(
            f"cannot read {folder / _WHOLE}: {failure}: download the file again"
        ) from None


def _check_plain(path: Path) -> None:
    """Safetensors would wait for a pipe, and read a device without end."""
    try:
        if path.exists():  # else it says so itself
            check_plain(path, "download the file again")
    except UserError as refusal:
        raise ProfileError(str(refusal)) from None


def _remedy(folder: Path) -> str:
    if list(folder.glob("*.bin")) or list(folder.glob("*.pt")) or list(folder.glob("*.gguf")):
        return "save the model with safe_serialization=True, other formats are not read"
    return f"download them, or name {folder / 'config.json'} to draw them at random"


class LoadedModel(NamedTuple):
    """An architecture, its weights, and the directory they came from; None for random weights."""

    architecture: Architecture
    weights: Weights
    folder: Path | None


def load_model(
    path_or_preset: str, device: torch.device, dtype: str | None = None, seed: int = 0
) -> LoadedModel:
    """Read a model directory, or draw the weights of a preset or of a bare `config.json`.

    `dtype` overrides the configuration's. Raise a ProfileError if the model cannot be used.
    """
    architecture = read_architecture(path_or_preset)
    if dtype is not None:
        architecture = architecture.with_dtype(dtype)
    if os.path.isdir(path_or_preset):
        folder = Path(path_or_preset)
        return LoadedModel(architecture, load_weights(architecture, folder, device), folder)
    return LoadedModel(architecture, random_weights(architecture, seed, device), None)
