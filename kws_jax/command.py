"""How a command ends: in one line that says what to mend, or without a word where a person or a pipe has ended it."""

import io
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any, ParamSpec

from kws_jax.errors import LONGEST, UserError, printable

__all__ = ["command", "heeds_quiet", "leave_at_once"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 128  # plus a signal's number is the exit status that shells expect: 130 after Ctrl-C
PATIENCE = 3.0  # s that a command has to end by itself after a signal
P = ParamSpec("P")
Handler = Callable[[int, FrameType | None], Any] | int | None
NARROWEST = 40  # columns that help is written in: in 1 it would take for ever


@contextmanager
def command() -> Iterator[None]:
    """What every command runs in.

    What a person can mend is one line on stderr and exit status 1; so are a full disk and an output that takes nothing.
    Ctrl-C ends with status 130 and SIGTERM with 143, without a word, amid whatever runs. A reader that goes away, as
    in `| head -1`, is no error. Every other error keeps its traceback.
    """
    if sys.stdout is None:
        raise SystemExit("error: standard output is closed: > /dev/null throws it away")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be in no encoding
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    with _signals() as received:
        try:
            yield
            leave_at_once()
            sys.stdout.flush()
        except BaseException as error:
            leave_at_once()
            end = _flushed(error)
            status = _status(end, received)
            if status is None:
                raise end from end.__cause__
            raise SystemExit(status) from None


def heeds_quiet(main: Callable[P, None]) -> Callable[P, None]:
    """Of a command with a flag `quiet`: with it, without progress and words on stdout, its processes' too."""

    @wraps(main)
    def run(*args: P.args, **options: P.kwargs) -> None:
        if not options.get("quiet"):
            return main(*args, **options)
        os.environ["TQDM_DISABLE"] = "1"  # which tqdm reads as it is imported
        with open(os.devnull, "w", errors="replace") as nowhere, redirect_stdout(nowhere):
            return main(*args, **options)

    return run


def _flushed(error: BaseException) -> BaseException:
    """What ends a command, after what it has printed is out: where that cannot be, and it was to end well, is why."""
    try:
        sys.stdout.flush()
    except OSError as broken:
        # The interpreter flushes once more as it exits, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return broken if isinstance(error, SystemExit) and not error.code else error
    return error


def _status(error: BaseException, received: list[int]) -> str | int | None:
    """What a command exits with; None where the error says so itself."""
    if received or isinstance(error, KeyboardInterrupt):
        return STOPPED + (received or SIGNALS)[0]
    if isinstance(error, BrokenPipeError):
        return 0
    if isinstance(error, UserError):
        return f"error: {error}"
    if isinstance(error, OSError):
        known = f"{error.filename or 'cannot write'}: {error.strerror}" if error.strerror else str(error)
        return f"error: {printable(known, LONGEST)}"
    if isinstance(error, MemoryError):
        return f"error: not enough memory: {printable(str(error))}".removesuffix(": ")
    return None


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The numbers of the signals that have come to stop what runs inside.

    The first raises KeyboardInterrupt, so that all is cleared up. Foreign code may swallow that, or not return to
    Python for long; then, or at a second signal, the process leaves at once: all files appear whole or not at all.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(STOPPED + number)
        received.append(number)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # foreign code that is interrupted says so in many words
        raise KeyboardInterrupt

    def leave() -> None:
        if received:
            os._exit(STOPPED + received[0])

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    # Last, for the interpreter has ways of its own to end after an interrupt; and after what multiprocessing tidies up,
    # whose tracker of resources complains else.
    Finalize(None, leave, exitpriority=-1)
    heard, told = socket.socketpair()
    told.setblocking(False)
    threading.Thread(target=_insist, args=(heard,), daemon=True).start()
    wakeup, before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False), _handle(stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        told.close()


def _insist(heard: socket.socket) -> None:
    """Ends the process some time after a signal; a thread of its own, which needs no Python in the main one."""
    with heard:
        while said := heard.recv(1):
            if said[0] in SIGNALS:
                time.sleep(PATIENCE)
                os._exit(STOPPED + said[0])


def leave_at_once() -> None:
    """Makes the signals end this process without a word, before and after its command: nothing is lost then."""
    _handle(lambda number, frame: os._exit(STOPPED + number))


def _handle(handler: Handler) -> dict[signal.Signals, Handler]:
    """Sets the handler of those signals that are not ignored, as in the background of a script; gives those before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    heeded = {number: old for number in SIGNALS if (old := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, handler)
    return heeded
