"""dse.runs.journal: what is written is found again, whatever happens to the last line."""

import errno
import json
import os

import numpy as np
import pytest

from dse.errors import RunError
from dse.runs.journal import FORMAT, Evaluation, Journal, longest, pack_hits, read_journal


def evaluation(*assignment, split="search", accuracy=0.5, energy_rel=1.0, **fields):
    return Evaluation(
        split=split, assignment=assignment, fingerprint="f", accuracy=accuracy, energy_rel=energy_rel, **fields
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evaluations.jsonl"


def test_written_records_are_read_back(path):
    records = [
        evaluation(1, 2, energy_rel=0.5, tiles=(0, 1)),
        evaluation(1, 2, split="report"),
        evaluation(3, 4, accuracy=float("nan"), state="failed", message='a "reason"\nin two lines'),
        evaluation(5, 6, state="partial", n_images=3, hits="a0"),
    ]
    with Journal(path) as journal:
        journal.append(records[:1])
        journal.append(records[1:])
    assert [repr(r) for r in read_journal(path)] == [repr(r) for r in records]


def test_find_distinguishes_split_and_fingerprint(path):
    with Journal(path) as journal:
        journal.append([evaluation(1, 2)])
    with Journal(path) as journal:
        assert journal.find("search", [1, 2], "f") == evaluation(1, 2)
        assert journal.find("report", [1, 2], "f") is None
        assert journal.find("search", [1, 2], "g") is None
        assert journal.find("search", [2, 1], "f") is None


def test_every_torn_length_is_survived(path):
    with Journal(path) as journal:
        journal.append([evaluation(0, 1)])
        head = path.stat().st_size
        journal.append([evaluation(1, 2)])
    whole = path.read_bytes()
    for length in range(head, len(whole) + 1):
        path.write_bytes(whole[:length])
        n_complete = len(read_journal(path))
        assert n_complete == 1 + (length >= len(whole) - 1)
        with Journal(path) as journal:
            assert len(journal) == n_complete
            journal.append([evaluation(5, 5)])
        assert [e.assignment for e in read_journal(path)][-1] == (5, 5)
        assert len(read_journal(path)) == n_complete + 1


def test_torn_header_is_written_again(path):
    path.write_bytes(b'{"kind": "he')
    with Journal(path) as journal:
        journal.append([evaluation(1)])
    assert len(read_journal(path)) == 1
    assert path.read_bytes().count(b"header") == 1


def test_damaged_line_in_the_middle_is_skipped_and_told(path, caplog):
    with Journal(path) as journal:
        journal.append([evaluation(1), evaluation(2), evaluation(3)])
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2][:10]
    path.write_bytes(b"\n".join(lines))
    assert [e.assignment for e in read_journal(path)] == [(1,), (3,)]
    assert "line 3 is damaged" in caplog.text


def test_newer_format_is_refused(path):
    path.write_text('{"kind": "header", "format": 99}\n')
    with pytest.raises(RunError, match="journal format 99"):
        read_journal(path)


def test_real_full_device(path):
    journal = Journal(path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._fd)
    with pytest.raises(RunError, match="disk is full.*saved.*repeat the same command"):
        journal.append([evaluation(1)])
    os.close(full)
    assert len(Journal(path)) == 0


@pytest.mark.parametrize("function", ["write", "fsync"])
def test_disk_full_while_appending_loses_nothing_else(path, monkeypatch, function):
    journal = Journal(path)
    journal.append([evaluation(1)])
    before = path.read_bytes()
    real_write = os.write

    def half_then_full(fd, data):
        if len(data) > 10:
            return real_write(fd, data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, half_then_full if function == "write" else full)
        with pytest.raises(RunError, match="disk is full"):
            journal.append([evaluation(2)] * 1)
    assert path.read_bytes() == before
    journal.append([evaluation(3)])
    journal.close()
    assert [e.assignment for e in read_journal(path)] == [(1,), (3,)]


def test_unwritable(tmp_path):
    with pytest.raises(RunError, match="cannot write journal"):
        Journal(tmp_path / "absent" / "evaluations.jsonl")


OLD = """{"kind":"header","format":1}
{"kind":"evaluation","split":"search","assignment":[1,2],"fingerprint":"f","accuracy":0.5,"state":"ok","energy_rel":1.0}
{"kind":"evaluation","split":"search","assignment":[3,4],"fingerprint":"f","state":"failed","message":"reason"}
"""


def test_format_1_is_read_and_continued(path):
    path.write_text(OLD)
    with Journal(path) as journal:
        old = journal.find("search", [1, 2], "f")
        assert old == evaluation(1, 2)
        assert (old.n_images, old.hits, old.is_final, old.first_hits(1)) == (0, "", True, None)
        assert journal.find("search", [3, 4], "f").state == "failed"
        journal.append([evaluation(5, 6)])
    assert path.read_text().startswith(OLD)
    assert len(read_journal(path)) == 3
    header = f'{{"kind": "header", "format": {FORMAT}}}\n'
    assert path.read_text().count(header) == 1
    Journal(path).close()
    assert path.read_text().count(header) == 1


def test_hits_are_kept(path):
    hits = np.random.default_rng(0).random(37) < 0.7
    with Journal(path) as journal:
        journal.append([evaluation(1, state="partial", n_images=37, hits=pack_hits(hits))])
    found = Journal(path).find("search", [1], "f")
    for n in (1, 8, 9, 37):
        np.testing.assert_array_equal(found.first_hits(n), hits[:n])
    assert found.first_hits(37).dtype == np.bool_
    assert found.first_hits(38) is None


STAGES = [
    evaluation(1, state="partial", n_images=16, hits="ff" * 2),
    evaluation(1, state="raced", n_images=16, hits="ff" * 2),
    evaluation(1, state="partial", n_images=32, hits="ff" * 4),
    evaluation(1, state="ok", n_images=64, hits="ff" * 8),
]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_more_images_supersede_fewer(path, order):
    with Journal(path) as journal:
        for i in order:
            journal.append([STAGES[i]])
            best = max(order[: order.index(i) + 1])
            assert journal.find("search", [1], "f") == STAGES[best]
        assert len(journal) == 1
    assert Journal(path).find("search", [1], "f") == STAGES[3]
    assert list(longest(read_journal(path)).values()) == [STAGES[3]]


def test_failure_ends_a_race_and_old_lines_are_whole(path):
    failed = evaluation(1, state="failed", n_images=16, hits="ffff", accuracy=float("nan"))
    for final in (failed, evaluation(1)):
        assert final.supersedes(STAGES[2])
        assert not STAGES[2].supersedes(final)


@pytest.mark.parametrize(
    "tail", [b"\0" * 50, b"\xff\xfe{", b'{"kind":"evaluation"}', b"[" * 100_000, b"{}"[:1], b"1e999"]
)
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_whatever_a_crash_left_at_the_end_is_no_evaluation(path, tail, end):
    with Journal(path) as journal:
        journal.append([evaluation(1), evaluation(2)])
    path.write_bytes(path.read_bytes() + tail + end)
    with Journal(path) as journal:
        journal.append([evaluation(3)])
    assert [e.assignment for e in read_journal(path)] == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    "change",
    [
        {"assignment": [1.5]}, {"assignment": "12"}, {"assignment": 1}, {"split": "test"}, {"state": 1},
        {"tiles": ["a"]}, {"fingerprint": 3}, {"accuracy": []}, {"accuracy": "x"}, {"n_images": -1},
        {"n_images": 9, "hits": "ff"}, {"hits": "xy"}, {"n_images": True}, {"energy_rel": 10**400},
    ],
)  # fmt: skip
def test_lines_with_other_fields_are_skipped(path, change, caplog):
    record = json.loads(evaluation(1).to_json())
    path.write_text(json.dumps(record | change) + "\n" + evaluation(2).to_json() + "\n")
    assert [e.assignment for e in read_journal(path)] == [(2,)]
    assert "line 1 is damaged" in caplog.text


def test_disk_full_while_a_tail_is_mended(path, monkeypatch):
    path.write_text(evaluation(1).to_json())

    def full(fd, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(RunError, match="disk is full"):
            Journal(path)
    with Journal(path) as journal:
        assert len(journal) == 1


def test_a_journal_that_cannot_be_read(path):
    path.mkdir()
    with pytest.raises(RunError, match="cannot read journal.*Is a directory"):
        read_journal(path)
