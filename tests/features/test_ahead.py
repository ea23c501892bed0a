"""Running ahead: if these fail, extraction hangs, loses an error, or mixes up the order of frames."""

import threading
import time

import pytest

from feel_steps.features.ahead import ahead


def test_order_is_kept():
    assert list(ahead(iter(range(100)), 3)) == list(range(100))
    assert list(ahead(iter([]))) == []


def test_producer_and_consumer_work_at_the_same_time():
    def slow():
        for i in range(8):
            time.sleep(0.02)
            yield i

    start = time.perf_counter()
    for _ in ahead(slow()):
        time.sleep(0.02)
    assert time.perf_counter() - start < 0.27  # one after the other takes 0.32 s


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
