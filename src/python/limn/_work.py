"""Calls that may take long: in a thread of their own, so that the caller's can still be interrupted."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import weakref
from queue import SimpleQueue
from typing import Any, Callable, Optional

from ._native import closed, error_of, ffi, is_forked, release

Progress = Callable[[int, int], Optional[bool]]
"""Called with how much is done and how much there is in all, in the thread of the caller.  What it raises ends the work
and is raised there; False ends it with limn.Interrupted."""

Function = Callable[[Any], Any]

_threads: dict[threading.Thread, SimpleQueue] = {}


class _Job:
    def __init__(self, function: Function, progress: Progress | None) -> None:
        self.function = function
        self.progress = progress
        self.stopped = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.events: SimpleQueue = SimpleQueue()  # (done, total) for the caller; None: it has ended
        self.answers: SimpleQueue = SimpleQueue()

    def run(self) -> None:
        try:
            self.result = self.function(self)
        except BaseException as e:
            self.error = e
        self.events.put(None)

    def goes_on(self, done: int, total: int) -> bool:
        """From the library, within its call."""
        if self.stopped or self.progress is None:
            return not self.stopped
        self.events.put((done, total))
        return bool(self.answers.get()) and not self.stopped

    def stop(self) -> None:
        self.stopped = True
        self.answers.put(False)

    def answer(self, done: int, total: int) -> None:
        assert self.progress is not None
        try:
            self.answers.put(self.progress(done, total) is not False)
        except Exception:
            self.stop()
            while self.events.get() is not None:
                pass
            raise

    def wait(self) -> Any:
        try:
            while (event := self.events.get()) is not None:
                self.answer(*event)
        except BaseException:
            self.stop()
            raise
        if self.error is not None:
            raise self.error
        return self.result


@ffi.callback("bool(void *, int64_t, int64_t)", error=False)
def _on_progress(context: Any, done: int, total: int) -> bool:
    job: _Job = ffi.from_handle(context)
    return job.goes_on(done, total)


class Worker:
    """A thread that calls the library, one call after the other.

    Python runs the handlers of signals in its main thread alone, and not while that is within a C function.  So the
    caller waits for the worker; KeyboardInterrupt ends the waiting at once, and the call as soon as it asks.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    def call(self, function: Function, progress: Progress | None = None) -> Any:
        """What function(job) returns; the library may ask ``control(job)``."""
        if self.is_here:  # a log handler that calls
            return function(_Job(function, None))
        with self._starting:
            if self._closed:
                raise closed("it")
            if self._thread is None:
                self._thread = threading.Thread(target=_work, args=(self._jobs,), name="limn", daemon=True)
                _threads[self._thread] = self._jobs
                self._thread.start()
        job = _Job(function, progress)
        self._jobs.put(job)
        return job.wait()

    @property
    def is_here(self) -> bool:
        """Whether its thread is the one that asks: a log handler's."""
        return threading.current_thread() is self._thread

    def free(self, kind: str, handle: Any) -> None:
        """limn_KIND_free after the calls that it has: in another thread it would be in the way of the next of them, which
        the library refuses then.  Nobody waits for it, and it takes no lock: garbage is collected anywhere."""
        thread = self._thread
        if self._closed or thread is None or not thread.is_alive() or self.is_here:
            release(kind, handle)
        else:
            self._jobs.put(_Job(lambda job: release(kind, handle), None))

    def close(self) -> None:
        """The thread ends after the calls that it has; nobody waits for that."""
        self._closed = True
        self._jobs.put(None)


def _work(jobs: SimpleQueue) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # and the arrays of its call, while it waits for the next one
    _threads.pop(threading.current_thread(), None)


def call(function: Function, progress: Progress | None = None) -> Any:
    """A call that uses no device that is open."""
    worker = Worker()
    try:
        return worker.call(function, progress)
    finally:
        worker.close()


def control(job: _Job) -> Any:
    """The library's limn_control of a job; it lives as long as what is returned."""
    handle = ffi.new_handle(job)
    c = ffi.new("limn_control *", {"size": ffi.sizeof("limn_control"), "progress": _on_progress, "context": handle})
    _handles[c] = handle
    return c


_handles: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def checked(call_: Callable[[Any], Any]) -> Any:
    """What call_(e) returns, where that is neither false nor NULL; else e as exception."""
    e = ffi.new("limn_error *")
    result = call_(e)
    if result is False or result == ffi.NULL:
        raise error_of(e)
    return result


@atexit.register
def _end() -> None:
    """Drivers clean up when the process ends, which they can't while a thread is within them."""
    if is_forked():
        return
    hurried = getattr(sys, "last_type", None) is KeyboardInterrupt  # which nobody caught
    begin = time.monotonic()
    for thread, jobs in list(_threads.items()):
        jobs.put(None)
        thread.join(max(0.0, begin + 1 - time.monotonic()) if hurried else None)
        if thread.is_alive():  # a driver may compile for minutes
            _die()


def _die() -> None:
    """As Python does where KeyboardInterrupt ends a program, but at once."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
