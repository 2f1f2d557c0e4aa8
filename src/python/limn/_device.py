"""Devices."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from dataclasses import dataclass, fields
from typing import Any, Callable, TypeVar

from . import _native
from ._arguments import integer
from ._native import ffi, lib, string, text_of
from ._work import Progress, Worker, call, checked

_TYPES = {
    lib.LIMN_CPU: "cpu",
    lib.LIMN_INTEGRATED_GPU: "igpu",
    lib.LIMN_DISCRETE_GPU: "dgpu",
    lib.LIMN_ACCELERATOR: "accel",
}

T = TypeVar("T")


def record(kind: type[T], c: Any, **others: Any) -> T:
    """A dataclass of a struct with fields of the same names; others: those that aren't."""
    values = dict(others)
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name not in values:
            v = getattr(c, f.name)
            values[f.name] = string(v) if isinstance(v, ffi.CData) else v
    return kind(**values)


@dataclass(frozen=True)
class DeviceInfo:
    """What a driver tells about a device.  Sizes are in bytes.

    ``index`` and ``platform``.``device`` name it, as in ``Model(device="0.1")``; ``type``: "cpu", "igpu", "dgpu" or
    "accel"; ``problem``: why limn can't use it, or "".
    """

    index: int
    platform: int
    device: int
    type: str
    name: str
    vendor: str
    platform_name: str
    version: str
    driver: str
    memory: int
    max_allocation: int
    local_memory: int
    max_work_group: int
    compute_units: int
    vector_width: int
    unified_memory: bool
    fp16: bool
    subgroups: bool
    int8_dot: bool
    command_buffer: bool
    gflops: float
    gbytes_per_s: float
    problem: str
    pci: str
    uuid: str
    alternative: bool
    preferred: int


def _info(c: Any) -> DeviceInfo:
    return record(DeviceInfo, c, type=_TYPES.get(c.type, "accel"))


def devices() -> list[DeviceInfo]:
    """All devices of all OpenCL platforms, also those that limn can't use (``problem``).

    Raises NoDeviceError, which says what to install, where there are none.
    """
    _native.use_drivers()
    found, n = ffi.new("limn_device_info **"), ffi.new("size_t *")
    call(lambda job: checked(lambda e: lib.limn_devices(found, n, e)))
    try:
        return [_info(found[0][i]) for i in range(n[0])]
    finally:
        lib.limn_free(found[0])


class Device:
    """An OpenCL device that is open, for models that share its memory: ``Model(path, device=Device("gpu"))``.

    spec: "auto", a number, "P.D", "cpu", "gpu", "igpu", "dgpu", "accel", a part of its name, or "A&B" (both must match);
    None: LIMN_DEVICE from the environment, else "auto".  memory_limit: the most bytes that all of limn's buffers may
    take; None: most of what the device says it has.  cache: whether compiled kernels are kept.
    """

    def __init__(self, spec: str | int | None = None, *, memory_limit: int | None = None, cache: bool = True) -> None:
        if spec is None:
            spec = os.environ.get("LIMN_DEVICE", "")
        name = text_of(str(spec) if isinstance(spec, int) and not isinstance(spec, bool) else spec, "device")
        limit = integer(memory_limit, "memory_limit", 0, 2**64 - 1) if memory_limit is not None else 0
        _native.use_drivers()
        options = ffi.new(
            "limn_device_options *",
            {"size": ffi.sizeof("limn_device_options"), "memory_limit": limit, "no_cache": not cache},
        )
        self._lock = threading.RLock()
        self._worker = Worker()
        self._handle = None

        def opened(job: Any) -> Any:
            handle = checked(lambda e: lib.limn_device_open(name, options, e))
            if job.stopped:  # nobody waits for it
                _native.release("device", handle)
            return handle

        try:
            handle = self._worker.call(opened)
        except BaseException:
            self._worker.close()
            raise
        self._handle = handle
        self._release = weakref.finalize(self, _native.release, "device", handle)
        self._end = weakref.finalize(self, self._worker.close)
        self.info: DeviceInfo = _info(lib.limn_device_get_info(handle))
        self.reason: str = string(lib.limn_device_reason(handle)) or ""

    def _open(self) -> Any:
        if self.closed:
            raise _native.closed("the device")
        _native.use_drivers()
        return self._handle

    def _call(self, function: Callable[[Any], Any], progress: Progress | None = None) -> Any:
        """checked(function) in the device's thread.  With its lock."""
        return self._worker.call(lambda job: checked(function), progress)

    @property
    def _turn(self) -> Any:
        """The lock of those who use it; a log handler, which its own thread calls, is within somebody's turn."""
        return contextlib.nullcontext() if self._worker.is_here else self._lock

    @property
    def closed(self) -> bool:
        return self._handle is None or not self._release.alive  # the end of the program closes it, too

    def close(self) -> None:
        """Closes it once its models are closed.  Twice is fine."""
        if _native.is_forked():  # its lock may be another process's thread's
            self._handle = None
            return
        with self._turn:
            self._handle = None
            self._release()

    def _discard(self) -> None:
        """Of a device that one model has alone: its thread ends, too."""
        self.close()
        self._end()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'limn.Device' object: a device belongs to its process (open it in the other one)")

    def __repr__(self) -> str:
        if not hasattr(self, "info"):
            return "<limn.Device>"
        return f"<limn.Device {self.info.name!r}{' closed' if self.closed else ''}>"
