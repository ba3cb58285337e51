"""Serving: the embedded server in this process, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

import uvicorn

from tinker_actors.errors import ConfigError, TinkerError
from tinker_actors.local.core import Limits, ServiceCore
from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.core.access.origins import Origins
from tinker_actors.local.core.ports import Engine
from tinker_actors.local.decoding import model_bytes
from tinker_actors.local.engine.tiny import TINY_NAME
from tinker_actors.local.faults.connection import ConnectionProtocol
from tinker_actors.local.faults.setup import make_faults
from tinker_actors.local.http.app import App
from tinker_actors.local.http.door import ANSWER_HEADERS, Door
from tinker_actors.local.http.heads import HeadProtocol, Unread
from tinker_actors.local.http.intake import Intake
from tinker_actors.local.keys import take_keys
from tinker_actors.local.ledger import LEDGER_NAME, LedgerEngine
from tinker_actors.local.memory import usable_memory
from tinker_actors.local.model_folders import load_model_folders
from tinker_actors.local.numpy_engine import NumpyEngine, ServedModel
from tinker_actors.local.options import ServerOptions
from tinker_actors.local.quiet import Quiet
from tinker_actors.local.shares import limits_within
from tinker_actors.local.stand_ins import ARCH as STAND_IN_ARCH
from tinker_actors.local.stand_ins import stand_in, vocab_sizes
from tinker_actors.local.store.files import FileStore
from tinker_actors.local.temporary import temporary_folder
from tinker_actors.protocol.codec import wire_json

_LOG = logging.getLogger(__name__)

GRACE_SECONDS = 3
"""How long open connections get to finish when the server stops."""

_BACKLOG = 4096  # thousands of clients' connections may arrive at once


def serve(options: ServerOptions, *, announce: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Run the server; returns when it has stopped, by SIGINT or SIGTERM, or at the end of stdin if `until_eof`.

    To be called on the main thread. Arithmetic is repeatable, and fastest for small models, with one BLAS thread; that
    is set by the environment before numpy loads, which `launching.prepare` sees to. Keys in the environment are taken
    out of it.

    Args:
        options: see `options`.
        announce: told `{"ready": True, "url": ..., "data_dir": ..., "models": [...]}` when listening, and `admin_token`
            if there is an admin endpoint; None prints it as a line.

    Raises:
        ConfigError: another machine could reach the host, there are no keys, and `insecure` is not set; or a model
            can't be loaded; or another server uses the data, or they hold checkpoints to adopt, and `adopt` is not set;
            or keys, an allowed host, a limit or a fault are none.
        PortError: the port can't be had.
        OSError: the folder can't.
    """
    host, data_dir = options.host, options.data_dir
    _require_known(options.limits)
    access = Access(take_keys(options.api_keys, options.api_key_files), jwt=options.jwt)
    if not (options.insecure or access.guarded or is_loopback(host)):
        raise ConfigError(
            f"{host!r} can be reached from other machines, and this server asks nobody for a key.",
            advice="Listen on 127.0.0.1, give --api-key-file FILE, or say --insecure if the network is yours.",
        )
    origins = Origins((host, *options.allowed_hosts))
    misbehaviour = make_faults(options.faults, options.fault_seed, admin=options.admin)
    logging.basicConfig(
        level=options.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    quiet = Quiet()
    for handler in logging.getLogger().handlers:
        handler.addFilter(quiet)
    _allow_many_connections()
    models = _models(options)
    bounds = limits_within(usable_memory() - sum(model_bytes(each.base) for each in models.values()), options.limits)
    made = _make_engine(options, models, bounds)
    with (
        _listen(host, options.port) as listener,
        temporary_folder() if data_dir is None else contextlib.nullcontext(data_dir) as folder,
        contextlib.closing(
            FileStore(
                folder,
                result_bytes=bounds.stored_result_bytes,
                futures=bounds.stored_futures,
                unwritten_bytes=bounds.unwritten_bytes,
                adopt=options.adopt,
            )
        ) as store,
    ):
        core = ServiceCore(made, store, bounds, lambda: uuid.uuid4().hex, access, _epoch())
        ready = {"ready": True, "url": _url(listener), "data_dir": str(folder), "pid": os.getpid()}
        ready["models"] = sorted(made.base_models)
        app = App(core, folder)
        if misbehaviour is not None:
            app.asgi = misbehaviour.around(app, core)
            ready |= {"admin_token": misbehaviour.admin_token} if options.admin else {}
        app.asgi = Door(Intake(app.asgi, bounds, app.check_key), origins)
        kind = HeadProtocol if misbehaviour is None else ConnectionProtocol
        protocol: type[HeadProtocol] = type(kind.__name__, (kind,), {"unread": Unread(bounds.unread_bytes)})
        with _clean_exit_on_sigterm():
            asyncio.run(_run(app, protocol, listener, options, lambda: (announce or _print_line)(ready)))


def _require_known(given: Mapping[str, float]) -> None:
    """Check the names of limits.

    Raises:
        ConfigError: one is none.
    """
    unknown = given.keys() - set(Limits.__struct_fields__)
    if unknown:
        raise ConfigError(f"There is no limit {', '.join(sorted(unknown))}; see tinker_actors.local.core.Limits.")


class PortError(TinkerError, OSError):
    """Address and port can't be had."""

    default_category = "user"


def _epoch() -> float:
    """Return when the event loop's clock was at 0, in seconds since 1970."""
    return time.time() - time.monotonic()


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """uvicorn, answering held polls before it waits for connections to finish."""

    def __init__(self, config: uvicorn.Config, app: App, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.release()
        await super().shutdown(sockets)


async def _run(
    app: App,
    protocol: type[HeadProtocol],
    listener: socket.socket,
    options: ServerOptions,
    announce: Callable[[], None],
) -> None:
    config = uvicorn.Config(
        app.asgi,
        log_config=None,  # its own would send the access log to stdout, which may be a pipe that nobody reads
        log_level=options.log_level,
        access_log=options.log_level == "debug",
        lifespan="on",
        http=protocol,
        ws="none",
        timeout_keep_alive=75,  # longer than any pause between two polls of one connection
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        headers=ANSWER_HEADERS,
    )
    server = _Server(config, app, announce)
    if options.until_eof:
        _stop_at_eof(server, asyncio.get_running_loop())
    await server.serve(sockets=[listener])


@contextlib.contextmanager
def _clean_exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the program by an exception: uvicorn stops at it, and then raises it once more."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop_at_eof(server: uvicorn.Server, loop: asyncio.AbstractEventLoop) -> None:
    """Stop the server when stdin ends, which is when the process at its other end is gone, however it went."""

    def stop() -> None:
        server.should_exit = True

    def watch() -> None:
        while os.read(0, 4096):
            pass
        try:
            loop.call_soon_threadsafe(stop)
        except RuntimeError:
            _LOG.debug("stdin ended after the server had stopped")

    threading.Thread(target=watch, name="tinker-local-lifeline", daemon=True).start()


def _stand_ins(options: ServerOptions) -> dict[str, int]:
    return vocab_sizes(options.stand_ins, (LEDGER_NAME, TINY_NAME, *options.models))


def _models(options: ServerOptions) -> dict[str, ServedModel]:
    """Load the models, beside the built-in one."""
    if options.engine == "ledger":
        return {}
    small = {
        called: ServedModel(stand_in(called, size), arch=STAND_IN_ARCH, stand_in=True)
        for called, size in _stand_ins(options).items()
    }
    return {**load_model_folders(options.models), **small}


def _make_engine(options: ServerOptions, models: Mapping[str, ServedModel], bounds: Limits) -> Engine:
    if options.engine == "ledger":
        return LedgerEngine((LEDGER_NAME, *options.models), _stand_ins(options))
    return NumpyEngine(models, computing_bytes=bounds.computing_bytes)


def _allow_many_connections() -> None:
    """Let the process have as many open files as it may: each held poll is one, and the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        _LOG.info("no more than %d connections: %s", soft, error)  # macOS has a hard limit that it does not grant


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off; without, every answer would take 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A restarted server takes its port back although connections of the last one linger.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise PortError(f"The server can't listen on {host}, port {port}: {error.strerror or error}.") from error
    listener.setblocking(False)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _print_line(ready: dict[str, Any]) -> None:
    sys.stdout.write(wire_json.encode(ready).decode() + "\n")
    sys.stdout.flush()
