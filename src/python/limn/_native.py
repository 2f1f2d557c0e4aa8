"""The library: its functions, its errors and its messages."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from typing import Any

from . import _header
from ._header import ffi

# beside the table, which an editable installation keeps elsewhere than these modules
lib: Any = ffi.dlopen(os.path.join(os.path.dirname(os.path.abspath(_header.__file__)), "liblimn.so"))

version: str = ffi.string(lib.limn_version()).decode()

# ---- errors ----


class Error(Exception):
    """What the library says when something can't be done: what, why, and what to do.

    ``code``: 1 failed, 2 wrong usage, 3 no usable device, as the exit codes of the command line.  ``cause``: "other",
    "device_memory", "memory_limit", "interrupted", "busy" or "device_lost".
    """

    code: int = 1
    cause: str = "other"


class UsageError(Error, ValueError):
    """Something was asked for that isn't possible with this model, or a value is outside of its range."""

    code = 2


class NoDeviceError(Error):
    """There is no OpenCL device that limn can use, or none that was meant."""

    code = 3


class Interrupted(Error):
    """A progress function returned False."""

    cause = "interrupted"


def closed(what: str) -> BaseException:
    """What is raised where something is closed already.  At the program's end all is: a thread that goes on just ends."""
    main = threading.main_thread()
    if not main.is_alive() and threading.current_thread() is not main:
        return SystemExit()
    return UsageError(f"{what} is closed")


_kinds = {lib.LIMN_USAGE: UsageError, lib.LIMN_NO_DEVICE: NoDeviceError}
_causes = {
    lib.LIMN_CAUSE_DEVICE_MEMORY: "device_memory",
    lib.LIMN_CAUSE_MEMORY_LIMIT: "memory_limit",
    lib.LIMN_CAUSE_INTERRUPTED: "interrupted",
    lib.LIMN_CAUSE_BUSY: "busy",
    lib.LIMN_CAUSE_DEVICE_LOST: "device_lost",
}


def error_of(e: Any) -> Error:
    """The exception of a limn_error."""
    cause = _causes.get(e.cause, "other")
    kind = Interrupted if cause == "interrupted" else _kinds.get(e.code, Error)
    error = kind(ffi.string(e.text).decode("utf-8", "replace"))
    error.code = e.code
    error.cause = cause
    return error


# ---- texts and paths ----


def text_of(value: Any, name: str) -> bytes:
    """A string for the library.  TypeError; ValueError where it can't be one: surrogates that stand alone, NUL."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: a str is wanted, not {type(value).__name__}")
    data = value.encode("utf-8")
    if b"\0" in data:
        raise ValueError(f"{name}: embedded null character")
    return data


def path_of(value: Any, name: str) -> bytes:
    """A str, bytes or path-like object, for the library."""
    try:
        data = os.fsencode(value)
    except TypeError:
        raise TypeError(f"{name}: a path is wanted (str, bytes or os.PathLike), not {type(value).__name__}") from None
    if b"\0" in data:
        raise ValueError(f"{name}: embedded null byte")
    return data


def string(c: Any) -> str | None:
    """A string of the library's; None for NULL."""
    return None if c == ffi.NULL else ffi.string(c).decode("utf-8", "replace")


# ---- messages ----

log = logging.getLogger("limn")
log.addHandler(logging.NullHandler())
_levels = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


@ffi.callback("void(void *, int, const char *)")
def _on_message(context: Any, level: int, line: Any) -> None:
    log.log(_levels[level] if 0 <= level < len(_levels) else logging.DEBUG, "%s", string(line))


lib.limn_set_log(_on_message, ffi.NULL)

# ---- processes ----

_used = False  # whether this process, or the one that it was forked from, has asked drivers
_forked = False


def _in_child() -> None:
    global _forked
    _forked = _used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def is_forked() -> bool:
    """Whether the drivers' state is that of another process: nothing may call them."""
    return _forked


def use_drivers() -> None:
    """Before drivers are called.  They can't be called behind a fork: their threads are in the other process."""
    global _used
    if _forked:
        raise Error(
            "this process was forked from one that uses OpenCL, whose drivers don't work behind a fork (start it by "
            'multiprocessing\'s "spawn" or "forkserver", or open devices and models in it alone)'
        )
    _used = True


def release(kind: str, handle: Any) -> None:
    """limn_KIND_free; what is in use goes as soon as it is not."""
    if not _forked:
        getattr(lib, f"limn_{kind}_free")(ffi.new(f"limn_{kind} **", handle))


@atexit.register
def _silence() -> None:
    if not _forked:
        lib.limn_set_log(ffi.NULL, ffi.NULL)
