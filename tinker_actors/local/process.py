"""Process: the embedded server as a child of this process.

A child has its own interpreter lock and its own BLAS settings, and can be killed in tests like any server. It hangs on
its stdin: when this process ends, even by SIGKILL, the pipe closes and the child goes too.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, NoReturn, Self

import msgspec

from tinker_actors.errors import Category, TinkerError
from tinker_actors.local import keys, temporary
from tinker_actors.local.faults.control import FaultControl
from tinker_actors.local.launching import BLAS_VARIABLES, EXTRA, INSTALL, absent
from tinker_actors.local.options import encoded, options_of

_STDERR_TAIL = 4000
_WITHHELD = ("TINKER_", "CLOUDFLARE_ACCESS_")  # what names of variables begin with that a child does not get

_running: weakref.WeakSet[LocalServer] = weakref.WeakSet()


class LocalServerError(TinkerError, RuntimeError):
    """The embedded server did not start."""

    default_category: ClassVar[Category] = "user"


class LocalServer:
    """An embedded server in a process of its own. A context manager that starts and stops it.

    Not for several threads at once.

    Attributes:
        url: the server's base URL, once started.
        pid: its process id, once started.

    Args:
        start_timeout: seconds it may take to listen.
        **options: those of `options.ServerOptions` that are for Python; `tinker_actors.local_server` describes them.
            Keys reach the server by its environment, not its arguments. A stopped server started again takes the port
            it had.

    Raises:
        TypeError: there is no such option.
        ConfigError: one can't be used.
    """

    _child: subprocess.Popen[bytes] | None = None
    _url: str | None = None

    def __init__(self, *, start_timeout: float = 60.0, **options: Any) -> None:
        self._options = msgspec.structs.replace(options_of(options), admin=True, until_eof=True)
        self._port = self._options.port
        self._data_dir = self._options.data_dir
        self._temporary = self._data_dir is None
        self._start_timeout = start_timeout
        self._stderr: IO[bytes] | None = None
        self._faults: FaultControl | None = None
        self._held: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL.

        Raises:
            RuntimeError: it has not been started.
        """
        if self._url is None:
            raise RuntimeError("This server has not been started.")
        return self._url

    @property
    def faults(self) -> FaultControl:
        """What goes wrong on this server, and can be made to. A server that is started again starts without faults.

        Raises:
            RuntimeError: it has not been started.
        """
        if self._faults is None:
            raise RuntimeError("This server has not been started.")
        return self._faults

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            RuntimeError: it is not running.
        """
        if self._child is None:
            raise RuntimeError("This server is not running.")
        return self._child.pid

    @property
    def data_dir(self) -> Path | None:
        """Where checkpoints are kept; None before the server has made a temporary folder."""
        return self._data_dir

    def start(self) -> LocalServer:
        """Start the process and wait until it listens. Returns this server.

        Raises:
            LocalServerError: what it needs is not installed, or it ended, or did not listen in time; the message holds
                the end of its log.
        """
        if self._child is not None:
            raise RuntimeError("This server is running already.")
        if missing := absent(EXTRA):
            raise LocalServerError(f"{', '.join(missing)} can't be imported.", advice=INSTALL)
        _running.add(self)
        if not self._temporary and self._data_dir is not None:
            temporary.keep(self._data_dir)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the child writes to it
        self._child = subprocess.Popen(  # noqa: S603 - our own module, no shell
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=self._environment(),
            start_new_session=True,  # Ctrl-C in a terminal is for the parent, which then stops the child
        )
        try:
            ready = self._wait_until_ready(self._child)
        except BaseException:
            self.stop()
            raise
        self._url = str(ready["url"])
        self._faults = FaultControl(self._url, str(ready["admin_token"]))
        self._data_dir = Path(ready["data_dir"])
        if self._temporary and self._held is None:
            self._held = temporary.hold(self._data_dir)  # it may be killed, and started again with what it had
        self._port = int(self._url.rpartition(":")[2])
        return self

    def stop(self) -> None:
        """Stop the process and wait for its end; removes the data if they are in a temporary folder."""
        child = self._child
        if child is not None:
            if child.stdin is not None:
                child.stdin.close()
            try:
                child.wait(self._stop_timeout())
            except subprocess.TimeoutExpired:
                child.kill()
        self._reap()
        self._let_go()
        if self._temporary and self._data_dir is not None:
            # The server removes the folder it made, unless it was killed.
            temporary.remove(self._data_dir)
            self._data_dir = None

    def kill(self) -> None:
        """Kill the process as a crash would; the data stay. `start` brings it back on the same port and data."""
        if self._child is not None:
            self._child.kill()
        self._reap()

    def forget(self) -> None:
        """Leave the process to the parent of this one, which started it; `url` can still be read.

        For a process that was forked from one with a running server: were the server's stdin open here too, it would
        not notice its owner's end.
        """
        child, self._child = self._child, None
        self._temporary = False
        self._let_go()
        if child is None:
            return
        child.returncode = 0  # or subprocess would wait for a process that is not ours
        for pipe in (child.stdin, child.stdout, self._stderr):
            # Without the buffer, whose lock another thread of the parent may have held.
            raw = getattr(pipe, "raw", None)
            if raw is not None:
                raw.close()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def __enter__(self) -> Self:
        if self._child is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __reduce__(self) -> NoReturn:
        """Refuse: the server is the child of this process.

        Raises:
            TypeError: always.
        """
        raise TypeError("A LocalServer can't be pickled or copied: it stays in its process. Pass its url.")

    def __repr__(self) -> str:
        state = f"at {self._url}, pid {self._child.pid}" if self._child is not None else "not running"
        return f"<LocalServer {state}>"

    def _environment(self) -> dict[str, str]:
        # Without this process's own credentials, which are for other servers, and keys of another one's clients.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
        asked_for = self._options.api_keys
        given = {keys.VARIABLE: json.dumps(dict(asked_for))} if asked_for else {}
        return {**kept, **dict.fromkeys(BLAS_VARIABLES, "1"), **given}

    def _command(self) -> list[str]:
        options = msgspec.structs.replace(self._options, port=self._port, data_dir=self._data_dir)
        return [sys.executable, "-m", "tinker_actors.local", encoded(options)]

    def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        line = self._first_line(child)
        try:
            ready: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise LocalServerError(
                f"The embedded server did not start: {self._how_it_ended(child)}{self._log_tail()}"
            ) from error
        return ready

    def _first_line(self, child: subprocess.Popen[bytes]) -> bytes:
        """Return the child's first line, or what came of it before it ended or the time was over."""
        assert child.stdout is not None
        deadline = time.monotonic() + self._start_timeout
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    break
                piece = os.read(child.stdout.fileno(), 4096)
                if not piece:
                    break
                line += piece
        return line

    def _how_it_ended(self, child: subprocess.Popen[bytes]) -> str:
        try:
            return f"it ended with status {child.wait(1)}."
        except subprocess.TimeoutExpired:
            return f"it was not listening after {self._start_timeout:g} seconds."

    def _log_tail(self) -> str:
        assert self._stderr is not None
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL))
        tail = self._stderr.read().decode("utf-8", "replace").strip()
        return f" It said:\n{tail}" if tail else " It said nothing."

    def _stop_timeout(self) -> float:
        return 15.0  # the server's own grace periods, and some more on a busy machine

    def _reap(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.wait()
        for pipe in (child.stdin, child.stdout, self._stderr):
            if pipe is not None:
                pipe.close()


def local_server(**options: Any) -> LocalServer:
    """Start an embedded server in a process of its own and return it; use it in a `with` statement, or `stop()` it.

    Args:
        **options: see `LocalServer`.

    Raises:
        LocalServerError: it did not start.
    """
    return LocalServer(**options).start()


def _forget_all() -> None:
    for server in list(_running):
        server.forget()


os.register_at_fork(after_in_child=_forget_all)
