"""Running ahead: if these fail, extraction hangs, loses an error, or mixes up the order of frames."""

import threading

import pytest

from feel_steps.features.ahead import ahead


def test_order_is_kept():
    assert list(ahead(iter(range(100)), 3)) == list(range(100))
    assert list(ahead(iter([]))) == []


def test_producer_and_consumer_work_at_the_same_time():
    """Else a video takes the time of decoding and that of the network, instead of the longer of the two."""
    making, using = threading.Event(), threading.Event()

    def two():
        yield 0
        making.set()
        assert using.wait(60), "nobody uses the first while the second is made"
        yield 1

    items = ahead(two())
    assert next(items) == 0
    using.set()
    assert making.wait(60), "nobody makes the second while the first is in use"
    assert list(items) == [1]


def test_an_error_comes_through_after_what_was_made():
    def broken():
        yield 1
        raise KeyError("x")

    found = []
    with pytest.raises(KeyError, match="x"):
        found.extend(ahead(broken()))
    assert found == [1]


def test_a_consumer_that_stops_ends_the_producer():
    """A file must not stay open, nor a thread running, after an error in the network."""
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    items = ahead(endless())
    next(items)
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before
