import numpy as np
import pandas as pd

from dse.reporting.terminal.export import export_summary, print_export
from dse.runs.exporting import Export


def _export(tmp_path):
    for suffix in ("npz", "json"):
        (tmp_path / f"net.{suffix}").write_bytes(b"x" * 600)
    table = pd.DataFrame({
        "point": [0, 1], "energy_rel": [0.25, 0.5], "accuracy": [np.nan, 0.905], "n_images_report": [0, 400],
        "assignment": ["a;b", "b;b"],
    })  # fmt: skip
    return Export(tmp_path / "net.npz", tmp_path / "net.json", True, table)


def test_summary(tmp_path):
    summary = export_summary(_export(tmp_path))
    assert summary["energy saved %"].tolist() == ["75.00", "50.00"]
    assert summary["accuracy %"].tolist() == ["?", "90.50"]


def test_says_where_the_files_are(tmp_path, capsys):
    print_export(_export(tmp_path), "table")
    out, err = capsys.readouterr()
    assert "fine-tuned, 1,200 bytes" in out
    assert f"wrote {tmp_path / 'net.npz'} and net.json; dse.load_exported(" in err
