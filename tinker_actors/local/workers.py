"""Workers: one thread for each kind of job.

The event loop hands a job over and hears of its result as a call on the loop; the core never sees another thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

from tinker_actors.local.core import Job, JobKind, Result, ServiceCore

Finished = Callable[[set[str]], None]
"""Called on the loop with the ids of futures that a job has decided."""


class Worker:
    """Does one kind of job, one at a time. All methods are for the event loop's thread.

    Args:
        core: where jobs come from and go to.
        kind: which jobs.
        on_finished: told what was decided.
        now: the core's clock.
    """

    def __init__(self, core: ServiceCore, kind: JobKind, on_finished: Finished, now: Callable[[], float]) -> None:
        self._core = core
        self._kind = kind
        self._on_finished = on_finished
        self._now = now
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._busy = False
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        # A daemon: a long computation must not keep a process alive whose parent is gone.
        self._thread = threading.Thread(target=self._run, name=f"tinker-local-{kind}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Start the next job, if there is one and the thread is free."""
        if self._busy or self._stopping:
            return
        job = self._core.next_job(self._kind)
        if job is not None:
            self._busy = True
            self._jobs.put(job)

    def stop(self) -> None:
        """Start no further job. One that runs goes on until it is done or the process ends."""
        self._stopping = True
        self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end, and return whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            result = job.run()
            try:
                self._loop.call_soon_threadsafe(self._finish, job, result)
            except RuntimeError:
                return  # the loop is closed: nobody is left to hear of it

    def _finish(self, job: Job, result: Result) -> None:
        self._busy = False
        try:
            self._on_finished(self._core.finish(job, result, self._now()))
        finally:
            self.wake()
