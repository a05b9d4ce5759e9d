"""A plugin of pytest: examples in docstrings run in one temporary folder, so that each finds what another has explored.

Loaded by `-p dse.testing.examples` in pyproject.toml.
"""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def _folder_of_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(autouse=True)
def _examples_in_their_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("_folder_of_examples"))
