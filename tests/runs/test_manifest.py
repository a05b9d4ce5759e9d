"""dse.runs.manifest: what must be the same when a run is continued."""

from dataclasses import replace

import pytest

from dse.errors import RunError
from dse.runs.manifest import Manifest, check_continues, read_manifest


@pytest.fixture
def manifest():
    return Manifest(
        hashes={"library": "a" * 64, "network": "b" * 64},
        layers=({"name": "conv", "kind": "conv2d", "n_multiplications": 9},),
        multipliers=({"name": "exact", "energy_rel": 1.0, "key": "k"},),
        exact_index=0,
        n_images={"search": 10, "report": 10},
        reference_point=(1.1, 1.0),
        seed=0,
        accelerator="free",
        accuracy_floor=None,
    )


def test_reads_back_what_was_written(manifest, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(manifest.to_json())
    assert read_manifest(path) == manifest
    assert {"dse", "python", "torch", "pymoo"} <= set(manifest.versions)


def test_other_hashes_are_refused_by_name(manifest, tmp_path):
    other = replace(manifest, hashes={"library": "c" * 64, "network": "b" * 64})
    with pytest.raises(RunError, match="library was aaaaaaaaaaaa, is now cccccccccccc. Restore"):
        check_continues(manifest, other, tmp_path)


def test_other_versions_are_a_warning(manifest, tmp_path, caplog):
    check_continues(manifest, replace(manifest, versions=manifest.versions | {"torch": "9.9"}), tmp_path)
    assert "continues with 9.9" in caplog.text


@pytest.mark.parametrize(("text", "message"), [("{", "damaged"), ("{}", "damaged"), ("[]", "damaged")])
def test_damaged(tmp_path, text, message):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(RunError, match=message):
        read_manifest(path)


def test_missing(tmp_path):
    with pytest.raises(RunError, match="has not begun"):
        read_manifest(tmp_path / "manifest.json")
