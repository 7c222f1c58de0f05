"""What the kernel says of a process and of the machine, and on which core a process runs."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads, in seconds.

    The same sum as utime + stime in /proc/PID/stat, but in nanoseconds instead of ticks of 10 ms:
    Linux gives every process a clock whose number is made from the process id.
    """
    process_clock = (~pid << 3) | 2
    return time.clock_gettime(process_clock)


def machine_cpu_seconds() -> float:
    """Time that all cores together have been busy since the start of the machine."""
    times = psutil.cpu_times()
    # Guests are part of user already.
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def resident_kb(pid: int) -> int:
    """Physical memory of a process in KiB; what the kernel holds for its sockets is not in it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def cores() -> tuple[int, int] | None:
    """The core for the servers and the one for the rest, or None where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[-1], usable[0]) if len(usable) > 1 else None


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Processes started inside inherit the core; None leaves the choice to the kernel."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def description() -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )
