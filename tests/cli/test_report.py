"""dse report and dse.report: where the file goes, what is never overwritten, and how a search is watched."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

import dse
from dse.api import report as api_report
from dse.errors import RunError
from dse.testing.written_runs import written_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return written_run(Path("one"))


@pytest.fixture
def command(dse):
    def call(*arguments):
        code, _, err = dse("report", *arguments)
        return code, " ".join(err.split())

    return call


@pytest.fixture
def light(monkeypatch):
    """Without plotly.js, which takes most of the time."""
    monkeypatch.setattr("dse.reporting.report.html.plotly_script", lambda: "")


def shown(path):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())[1])


def test_the_file_is_in_the_directory_of_the_run(run, command):
    code, err = command("one")
    assert code == 0
    assert "one/report.html (4." in err
    assert f"open it in a browser, {Path('one/report.html').resolve().as_uri()}" in err
    assert 1e6 < Path("one/report.html").stat().st_size < 8e6
    assert shown(Path("one/report.html"))["refresh_s"] == 0


def test_several_runs_go_to_the_current_directory(run, light):
    written_run(Path("two"), seed=1)
    assert dse.report(["one", run.path.parent / "two"]) == Path("report.html")
    assert [each["name"] for each in shown(Path("report.html"))["runs"]] == ["one", "two"]
    assert dse.report(run, out="sub/x.html") == Path("sub/x.html")


def test_only_reports_are_overwritten(run, command, light):
    assert command("one", "--out", "mine.html")[0] == 0
    assert command("one", "--out", "mine.html")[0] == 0
    Path("mine.html").write_text("<p>my own page</p>")
    code, err = command("one", "--out", "mine.html")
    assert code == 2
    assert "mine.html is no report of dse, and would be lost: choose another file with --out" in err
    assert Path("mine.html").read_text() == "<p>my own page</p>"
    assert "is a directory: expected the name of a file" in command("one", "--out", "one")[1]
    Path("loop.html").symlink_to("loop.html")
    assert "loop.html cannot be read" in command("one", "--out", "loop.html")[1]


def test_what_cannot_be_reported_is_said(run, command, light):
    assert "nowhere is not a directory" in command("nowhere")[1]
    for interval in ("0", "nan", "1e30"):
        code, err = command("one", "--watch", "--interval", interval)
        assert code == 2
        assert "expected seconds from 1 to 3600" in err
    Path("sweep").mkdir()
    Path("sweep/sweep.csv").write_text("name,search.seed\ns0,0\n")
    assert "none of the 1 runs in sweep has begun" in command("sweep")[1]


def test_runs_that_have_not_begun_are_counted(run, light):
    Path("sweep").mkdir()
    Path("sweep/sweep.csv").write_text("name,search.seed\ns0,0\ns1,1\n")
    written_run(Path("sweep/s0"))
    dse.report("sweep")
    assert shown(Path("sweep/report.html"))["notes"] == ["1 more run has not begun."]


def test_watching_ends_with_the_run(run, command, light, monkeypatch):
    front = run.directory.front.read_text()
    run.directory.front.unlink()
    pages = []

    def sleep(_):
        pages.append(shown(Path("one/report.html")))
        if len(pages) == 2:
            run.directory.front.write_text(front)

    monkeypatch.setattr(api_report.time, "sleep", sleep)
    code, err = command("one", "--watch", "--interval", "2")
    assert code == 0
    assert [page["refresh_s"] for page in pages] == [2.0, 2.0]
    assert pages[0]["written_s"] == pages[1]["written_s"]  # nothing was new
    last = shown(Path("one/report.html"))
    assert (last["refresh_s"], last["runs"][0]["state"]) == (0, "finished")
    assert "watching until the runs are finished" in err
    assert "0 of 1 runs finished" in err
    assert "1 of 1 runs finished" in err


@pytest.mark.parametrize(
    ("number", "code", "told"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 0, "stopped")]
)
def test_watching_ends_on_request(run, command, light, monkeypatch, number, code, told):
    run.directory.front.unlink()
    asked = []

    def sleep(_):  # by then the page is written
        if not asked:
            asked.append(number)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(api_report.time, "sleep", sleep)
    found, err = command("one", "--watch")
    assert found == code
    assert told in err
    assert shown(Path("one/report.html"))["refresh_s"] == 0


def test_a_page_is_written_now_and_then_though_nothing_is_new(run, light, monkeypatch):
    run.directory.front.unlink()
    monkeypatch.setattr(api_report, "REWRITTEN_S", 0.0)
    times = []

    def sleep(_):
        times.append(shown(Path("one/report.html"))["written_s"])
        if len(times) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(api_report.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        api_report.watch_report("one")
    assert times == sorted(times)


def test_watching_waits_for_runs_that_have_not_begun(run, light, monkeypatch):
    Path("sweep").mkdir()
    Path("sweep/sweep.csv").write_text("name,search.seed\ns0,0\n")
    monkeypatch.setattr(api_report.time, "sleep", lambda _: written_run(Path("sweep/s0")))
    assert api_report.watch_report("sweep") == Path("sweep/report.html")


def test_watching_may_begin_before_the_run(run, command, light, monkeypatch):
    monkeypatch.setattr(api_report.time, "sleep", lambda _: written_run(Path("later")))
    code, err = command("later", "--watch")
    assert code == 0
    assert "waiting for a run to begin: later is not a directory" in err
    assert shown(Path("later/report.html"))["runs"][0]["state"] == "finished"


def test_damaged_runs_are_named(run, light):
    run.directory.tolerances.write_text("nothing\n")
    with pytest.raises(RunError, match=r"tolerances.csv is damaged"):
        dse.report("one")
