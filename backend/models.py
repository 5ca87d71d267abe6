"""From what a user names to a model in memory.

    directory with weights -> its weights;   preset or config.json -> random weights by seed

A directory without weights is refused, not filled at random, and the refusal names both remedies.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch

from orbitflow.backend.model.architecture import Architecture, read_architecture
from orbitflow.backend.model.checkpoint import load_weights
from orbitflow.backend.model.weights import Weights, random_weights


class LoadedModel(NamedTuple):
    """An architecture, its weights, and the directory they came from, if they did."""

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
