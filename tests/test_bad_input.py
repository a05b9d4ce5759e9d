"""Bad input on the command line: one clear line, exit code 2, no traceback, nothing lost."""

import logging
import pickle
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from dse import cli

EXACT = np.multiply.outer(np.arange(256), np.arange(256)).astype(np.int32)
SMALL = ["--images", "20", "--report-images", "20", "--population-size", "4", "--generations", "1", "--threads", "1"]

NETWORKS = """
    import torch
    from torch import nn

    def fine():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

    def without_layers():
        return nn.Sequential(nn.Flatten(), nn.ReLU())

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.up = nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 4, 2, 2)

        def forward(self, x):
            return self.up(self.conv(x))

    def transposed():
        return nn.Sequential(Block(), nn.Flatten(), nn.Linear(576, 10))

    def lazy():
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))

    def nan():
        network = fine()
        network[3].weight.data[0, 0] = float("nan")
        return network

    def five_outputs():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

    def pictures():
        return nn.Sequential(nn.Conv2d(1, 4, 3))

    def other_size():
        return nn.Sequential(nn.Flatten(), nn.Linear(100, 10))

    def number():
        return 3

    def raising():
        raise ValueError("no weights today")
"""

DATA = """
    import numpy as np

    def images(n):
        return np.random.default_rng(0).random((n, 1, 8, 8), dtype=np.float32)

    def empty():
        return images(0), np.zeros(0, dtype=np.int64)

    def negative():
        return images(60), np.arange(60) % 10 - 1

    def twelve_classes():
        return images(120), np.arange(120) % 12

    def nan():
        x = images(60)
        x[0, 0, 0, 0] = np.nan
        return x, np.arange(60) % 10
"""


@pytest.fixture(autouse=True)
def quiet_logger():
    logger = logging.getLogger("dse")
    before = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = before[0]
    logger.setLevel(before[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Networks, data, tables and weights, all of them wrong in one way."""
    root = tmp_path_factory.mktemp("bad")
    (root / "bad_networks.py").write_text(textwrap.dedent(NETWORKS))
    (root / "bad_data.py").write_text(textwrap.dedent(DATA))
    (root / "truncated.bin").write_bytes(EXACT.astype("<u2").tobytes()[:-100])
    np.save(root / "rows.npy", EXACT[:255])
    np.save(root / "fractions.npy", EXACT + 0.5)
    _library(root / "no_exact", {"a": EXACT & ~7, "b": EXACT & ~15})
    _library(root / "two_technologies", {"a": EXACT, "b": EXACT & ~7}, technologies=("45 nm", "7 nm"))
    _library(root / "file_gone", {"a": EXACT, "b": EXACT & ~7})
    (root / "file_gone" / "b.npy").unlink()
    (root / "multiplier.c").write_text("#include <stdint.h>\nuint16_t mul8u_X(uint8_t a, uint8_t b) { return 0; }\n")
    torch.save({"a": torch.zeros(3)}, root / "other_keys.pt")
    torch.save([1, 2, 3], root / "list.pt")
    torch.save(nn.Conv2d(1, 1, 3), root / "module.pt")
    (root / "code.pt").write_bytes(pickle.dumps({"a": print}))
    (root / "junk.pt").write_bytes(b"hello")
    (root / "run.toml").write_text("[search]\npopulaton_size = 8\n")
    (root / "not.toml").write_text("[search\n")
    (root / "foreign").mkdir()
    (root / "foreign" / "thesis.txt").write_text("mine")
    return root


def _library(path, tables, technologies=("45 nm", "45 nm")):
    path.mkdir()
    lines = ["name,file,signed,power_mw,technology"]
    for (name, table), technology in zip(tables.items(), technologies, strict=True):
        np.save(path / f"{name}.npy", table)
        lines.append(f"{name},{name}.npy,0,0.4,{technology}")
    (path / "index.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def fails(monkeypatch, capsys, folder):
    """Runs `dse` in the folder, checks how it fails, and returns the message."""

    def call(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["dse", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert (ended.value.code, captured.out, len(errors)) == (2, "", 1), captured.err
        assert "Traceback" not in captured.err
        return errors[0]

    return call


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--library absent.bin", ["'absent.bin' does not exist", "expected", "check the path"]),
        ("--library file_gone", ["multiplier 'b'", "b.npy", "does not exist", "restore it"]),
        ("--library truncated.bin", ["130972 bytes", "expected 131072", "copy the file again"]),
        ("--library rows.npy", ["(255, 256)", "expected (256, 256)", "export all"]),
        ("--library fractions.npy", ["entry [0, 0] is 0.5", "expected integer", "round the table"]),
        ("--library no_exact", ["exact", "expected", "no_exact"]),
        ("--library two_technologies", ["45 nm", "7 nm", "expected one technology", "include"]),
        ("--library multiplier.c", ["C source", "--compile-c"]),
        ("--network bad_networks:without_layers", ["no Conv2d or Linear", "Expected"]),
        ("--network bad_networks:transposed", ["0.up (ConvTranspose2d)", "--exclude"]),
        ("--network bad_networks:lazy", ["1.weight", "lazy", "call the network"]),
        ("--network bad_networks:nan", ["3.weight", "1 NaN", "expected finite"]),
        ("--network bad_networks:five_outputs", ["label 9 has no output", "5 outputs", "0..4"]),
        ("--network bad_networks:pictures", ["[2, 4, 6, 6]", "expected logits"]),
        ("--network bad_networks:other_size", ["[2, 1, 8, 8]", "Check that the dataset fits"]),
        ("--network bad_networks:number", ["returned a int", "expected a torch.nn.Module"]),
        ("--network bad_networks:raising", ["ValueError: no weights today"]),
        ("--network bad_networks:fien", ["'fien'", "did you mean 'fine'"]),
        ("--network absent_module:fine", ["no module named 'absent_module'", "give its path"]),
        ("--network resnet21", ["unknown network 'resnet21'", "did you mean"]),
        ("--network resnet20", ["3 mean values", "1 channels", "expected 1;"]),
        ("--network resnet20 --preprocessing unit", ["[2, 1, 8, 8]", "Check that the dataset fits"]),
        ("--dataset bad_data:empty", ["holds no pixels", "expected at least one image"]),
        ("--dataset bad_data:negative", ["label -1", "expected class indices from 0"]),
        ("--dataset bad_data:twelve_classes", ["label 11 has no output", "0..9"]),
        ("--dataset bad_data:nan", ["NaN", "expected finite"]),
        ("--dataset cifra10", ["unknown dataset 'cifra10'", "did you mean 'cifar10'"]),
        ("--dataset cifar10 --data absent", ["absent does not exist", "expected a folder"]),
        ("--dataset cifar10 --data no_exact", ["no cifar10 in no_exact", "expected data_batch_1.bin"]),
        ("--images 100000", ["100000 images", "--images", "1..449"]),
        ("--weights absent.pt", ["no weights file absent.pt", "expected a .pt or .npz"]),
        ("--weights other_keys.pt", ["missing features.0.weight", "unexpected a", "check the network's name"]),
        ("--weights list.pt", ["does not hold a state dict", "expected tensors"]),
        ("--weights module.pt", ["more than tensors", "torch.save(network.state_dict()"]),
        ("--weights code.pt", ["more than tensors", "torch.save(network.state_dict()"]),
        ("--weights junk.pt", ["cannot be read", "expected a state dict"]),
        ("--accelerator tiles:99", ["'tiles:99'", "expected 1 to 5 tiles"]),
        ("--observer minmx", ["'minmx'", "expected 'minmax'"]),
        ("--exclude nothing_like_it", ["'nothing_like_it' matches no layer", "features.0"]),
        ("--exclude *", ["all excluded", "Exclude fewer"]),
        ("--signed --scheme unsigned-affine", ["does not fit signed multipliers", "use 'auto'"]),
        ("--out foreign", ["foreign is not empty", "--out"]),
        ("--out run.toml", ["run.toml is a file: expected a directory", "--out"]),
        ("--out run.toml/below", ["cannot write to run directory run.toml/below", "--out"]),
    ],
)
def test_message_names_value_expectation_and_remedy(fails, folder, tmp_path, options, words):
    options = options.split()
    if "--out" not in options:
        options += ["--out", tmp_path / "run"]
    message = fails("explore", *SMALL, *options)
    for word in words:
        assert word in message
    assert (folder / "foreign" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("run_file", "words"),
    [("run.toml", ["populaton_size", "did you mean population_size"]), ("not.toml", ["not valid TOML", "line 1"])],
)
def test_run_files(fails, run_file, words):
    message = fails("explore", run_file)
    for word in words:
        assert word in message


def test_truncated_table_is_told_by_check_too(fails):
    assert "130972 bytes" in fails("multipliers", "check", "truncated.bin")


def test_a_failed_start_leaves_the_directory_free(fails, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    fails("explore", *SMALL, "--network", "bad_networks:five_outputs", "--out", out)
    monkeypatch.setattr(sys, "argv", ["dse", "explore", *SMALL, "--network", "bad_networks:fine", "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "energy saved" in capsys.readouterr().out
    front = (out / "front.csv").read_bytes()
    assert "holds a finished run with another configuration" in fails("explore", *SMALL, "--seed", 9, "--out", out)
    assert (out / "front.csv").read_bytes() == front
