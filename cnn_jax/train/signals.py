"""SIGTERM and SIGINT, received between steps."""

import contextlib
import signal
import threading
from collections.abc import Generator
from typing import Any


class Stopped(Exception):
    """SIGTERM or SIGINT arrived and the state was saved; the same command continues."""

    def __init__(self, message: str, number: int):
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.exit_status = 128 + number


@contextlib.contextmanager
def stop_signals() -> Generator[list[int]]:
    """A list that SIGTERM or SIGINT is put in, to be looked at between steps; a second signal acts at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def receive(number: int, _: Any) -> None:
        received.append(number)
        restore()

    for number in handlers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()
