"""README.md: its Python runs and prints what it says, its links lead somewhere, CI finds its two commands."""

import doctest
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch

import dse
from dse.cli import app

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
COMPUTED_WITH = "AVX512"
"""Another processor sums floats in another order, and learns tolerances whose last digits differ: then outputs may."""


class Lenient(doctest.OutputChecker):
    """Takes any output where the machine is not like the one that printed it."""

    def check_output(self, want, got, optionflags):
        is_alike = torch.backends.cpu.get_cpu_capability() == COMPUTED_WITH
        return not is_alike or super().check_output(want, got, optionflags)


def test_first_two_blocks_are_the_commands_of_ci():
    assert [language for language, _ in BLOCKS[:2]] == ["", ""]
    assert "dse explore" in BLOCKS[0][1]
    assert "pytest" in BLOCKS[1][1]


def test_python_prints_what_it_says(tmp_path, monkeypatch):
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(text for language, text in BLOCKS if language == "python")
    assert code.count(">>>") > 10
    test = doctest.DocTestParser().get_doctest(code, {}, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner(Lenient(), optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=sys.stdout.write)
    assert runner.summarize(verbose=False).failed == 0


def test_links_lead_somewhere():
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, flags=re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        assert not path or (ROOT / path).exists(), f"README.md links to {path}, which is not there"
        assert path or anchor in anchors, f"README.md links to #{anchor}: no such heading"


def commands():
    """Every `dse COMMAND --options` in the blocks of the README, one line each."""
    shell = "\n".join(text for language, text in BLOCKS if not language)
    for line in shell.replace("\\\n", " ").splitlines():
        for found in re.findall(r"(?:^|bin/)dse (.*?)(?:#|$)", line):
            yield found.split()


def test_commands_exist_with_their_options():
    known = {(c.name or c.callback.__name__.replace("_", "-")): c.callback for c in app.registered_commands}
    found = [words for words in commands() if words[0] != "..."]
    assert len(found) > 20
    for words in found:
        assert words[0] in known, words
        parameters = set(inspect.signature(known[words[0]]).parameters) | {"output_format"}
        for word in words:
            if word.startswith("--"):
                name = word[2:].split("=")[0].replace("-", "_")
                assert name in parameters or name.removeprefix("no_") in parameters, f"dse {' '.join(words)}: {word}"


def test_public_names_that_are_mentioned_exist():
    for name in set(re.findall(r"`dse\.(\w+)", TEXT)):
        assert hasattr(dse, name) or (ROOT / "dse" / name).is_dir() or (ROOT / "dse" / f"{name}.py").exists(), name
