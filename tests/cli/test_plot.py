"""dse plot: files where they are asked for."""

from functools import partial

import pandas as pd
import pytest

from dse.cli.plot import Kind
from dse.config import parse_config
from dse.reporting.plot_kinds import KINDS
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes


@pytest.fixture
def command(dse, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    use_fakes(monkeypatch, FakeEvaluator())
    for seed in (0, 1):
        run(parse_config(f"[search]\npopulation_size = 6\ngenerations = 2\nseed = {seed}"), tmp_path / f"s{seed}")
    return partial(dse, "plot")


def test_the_command_knows_every_kind():
    assert [kind.value for kind in Kind] == list(KINDS)


def test_default_is_the_front_as_pdf(command, tmp_path):
    before = {file.name for file in (tmp_path / "s0").iterdir()}
    code, out, err = command("s0")
    assert (code, out, err) == (0, "", "front in front.pdf\n")
    assert (tmp_path / "front.pdf").read_bytes().startswith(b"%PDF")
    assert {file.name for file in (tmp_path / "s0").iterdir()} == before


def test_options(command, tmp_path):
    arguments = ("s0", "s1", "--kind", "progress", "--x", "images", "--out", "p/p.svg", "--data", "p/p.csv")
    code, _, err = command(*arguments, "--width", "two", "--height", "3", "--style", "serif", "--title", "")
    assert (code, err) == (0, "progress in p/p.svg, its numbers in p/p.csv\n")
    assert 'width="515.52pt" height="216pt"' in (tmp_path / "p" / "p.svg").read_text()
    assert "n_images" in pd.read_csv(tmp_path / "p" / "p.csv")
    assert command("s0", "--kind", "energy", "--point", "0", "--out", "e.png")[0] == 0
    assert command("s0", "--max-loss", "5", "--out", "f.png")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("s0", "--out", "front.gif"), "error: front.gif: expected a name that ends in"),
        (("s0", "s1", "--kind", "layers"), "error: a picture of kind layers shows one run"),
        (("absent",), "error: absent is not a directory"),
        (("s0", "--kind", "energy", "--point", "99"), "has no point 99"),
    ],
)
def test_errors_are_lines(command, tmp_path, arguments, message):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s0", "s1"]
