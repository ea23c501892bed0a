"""Run a producer ahead of its consumer, in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], depth: int = 1) -> Iterator[Item]:
    """Yield ``items`` in their order while a thread prepares the next ones.

    Decoding, flow and networks leave Python's lock while they work, so that they run beside each other. An exception of
    the producer is raised here; a consumer that stops early stops the producer.

    Parameters
    ----------
    items : iterator
        A generator is closed when it is not needed any more.
    depth : int
        Finished items that may wait; the producer holds one more.
    """
    queue: Queue[tuple[bool, Item | BaseException | None]] = Queue(depth)
    stopped = Event()

    def produce() -> None:
        try:
            for item in items:
                queue.put((True, item))
                if stopped.is_set():
                    break
            if isinstance(items, Generator):
                items.close()
            queue.put((False, None))
        except BaseException as error:  # raised again where the items are used
            queue.put((False, error))

    thread = Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            more, item = queue.get()
            if more:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room
            if not queue.empty():
                queue.get_nowait()
            thread.join(0.01)
