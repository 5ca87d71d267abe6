"""No damaged file ends in anything but one line that names it.

Small valid files are damaged in many ways, the same ones in every run. A file that is still
accepted is fine; what it comes to must not raise either.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz.mutations import damaged
from fuzz.readers import READERS, Reader
from fuzz.samples import make
from orbitflow.errors import OrbitFlowError

EXAMPLES, SLOW_EXAMPLES = 120, 30


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a valid file of every kind."""
    folder = tmp_path_factory.mktemp("samples")
    make(folder)
    return folder


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(root, tmp_path / "all")


def check(reader: Reader, root: Path, content: bytes) -> None:
    """Read the damaged file."""
    (root / reader.file).write_bytes(content)
    try:
        reader.read(root)
    except OrbitFlowError as refusal:
        said = str(refusal)
        folder = Path(reader.file).parent.name
        assert Path(reader.file).name in said or (folder and folder in said), said
        assert "\n" not in said, said
        assert len(said) < 2000, said


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damage_is_refused_in_one_line(reader: Reader, copy: Path) -> None:
    good = (copy / reader.file).read_bytes()
    reader.read(copy)

    @settings(
        max_examples=SLOW_EXAMPLES if reader.is_slow else EXAMPLES,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        check(reader, copy, data.draw(damaged(good)))

    run()
