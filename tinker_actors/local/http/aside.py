"""Aside: what takes its time, done beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(name: str, work: Callable[[], T]) -> T:
    """Do something in a thread of its own, and wait for it. Raises what it raises.

    Args:
        name: what it is, for the thread's name.
        work: what to do.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        if not done.cancelled():
            settle()

    def run() -> None:
        try:
            found = work()
        except Exception as caught:
            error = caught
            tell_loop(lambda: done.set_exception(error))
        else:
            tell_loop(lambda: done.set_result(found))

    def tell_loop(settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear of it
            loop.call_soon_threadsafe(tell, settle)

    # A daemon: what it does must not keep a process alive whose parent is gone.
    threading.Thread(target=run, name=f"tinker-local-{name}", daemon=True).start()
    return await done
