"""Threads that talk to a database, so that the event loop never waits for one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """A fixed number of threads.

    They don't keep the process alive: a database that never answers must not either.
    """

    def __init__(self, name: str, count: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Run a job in one of the threads; cancelling takes it back only if it has not begun."""
        future: Future[T] = Future()

        def work() -> None:
            settle(future, job)

        self._jobs.put(work)
        return asyncio.wrap_future(future)

    def post(self, job: Callable[[], None]) -> None:
        """Run a job that reports to nobody; it must not raise."""
        self._jobs.put(job)

    async def aclose(self, within: float) -> None:
        """End the threads once their jobs are done, or leave them to it after ``within`` s."""
        for _ in self._threads:
            self._jobs.put(None)
        ended = asyncio.gather(*(asyncio.to_thread(t.join, within) for t in self._threads))
        await ended

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def settle(future: "Future[T]", job: Callable[[], T]) -> None:
    """Run a job for whoever holds the future; not at all where it was cancelled before."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001 - it is raised where the future is awaited
        future.set_exception(error)
