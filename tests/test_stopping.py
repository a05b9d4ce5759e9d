"""dse.stopping: a flag that loops look at, and what sets it."""

import signal

import pytest

from dse import stopping


def test_nothing_stops_unasked():
    stopping.check()
    with stopping.on_signals():
        stopping.check()
        assert list(stopping.until_asked(range(3))) == [0, 1, 2]
    assert not stopping.is_asked()


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_asks(number):
    before = signal.getsignal(number)
    with stopping.on_signals():
        signal.raise_signal(number)
        assert stopping.is_asked()
        assert list(stopping.until_asked(range(3))) == []
        with pytest.raises(stopping.Stopped):
            stopping.check()
    assert not stopping.is_asked()
    assert signal.getsignal(number) == before


def test_items_end_in_the_middle():
    with stopping.on_signals():
        seen = []
        for item in stopping.until_asked(range(5)):
            seen.append(item)
            if item == 1:
                signal.raise_signal(signal.SIGTERM)
    assert seen == [0, 1]


def test_a_second_signal_interrupts():
    with stopping.on_signals():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            signal.raise_signal(signal.SIGTERM)
    assert not isinstance(interrupt.value, stopping.Stopped)


def test_at_once():
    with pytest.raises(stopping.Stopped), stopping.on_signals(at_once=True):
        signal.raise_signal(signal.SIGTERM)
