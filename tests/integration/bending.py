"""A small Tinker-like server that answers as a test says: JSON only, nothing held, everything done at once."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_FINAL = {
    "create_session": {"type": "create_session", "session_id": "s-1"},
    "session_heartbeat": {"type": "session_heartbeat"},
    "create_sampling_session": {"type": "create_sampling_session", "sampling_session_id": "sm-1"},
    "get_info": {"model_id": "m-1", "model_data": {"model_name": "fake", "tokenizer_id": "fake"}, "is_lora": True},
    "finish": {},
    "cancel_future": {},
}
_PROMISED = {
    "create_model": {"type": "create_model", "model_id": "m-1"},
    "optim_step": {"type": "optim_step", "metrics": {"grad_norm": 0.5}},
    "asample": {
        "type": "sample",
        "sequences": [{"stop_reason": "length", "tokens": [1, 2], "logprobs": [-0.5, -0.25]}],
    },
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_):
        pass  # tests cut connections


class Bending:
    """See above. Usable as a context manager.

    Attributes:
        url: its address.
        rules: by endpoint, the last part of its path: a function of the request's JSON that returns (status, JSON), or
            (status, JSON, headers), None to do as usual, or raises `ConnectionError` to close without an answer.
        fallback: what is said where no rule is, as a rule; None to do as usual.
        log: endpoint and time of each request, in the order of coming.
        asking: `headers` of the request that the thread which reads it answers; for rules.
    """

    def __init__(self, **rules):
        self.rules, self.log = rules, []
        self.fallback = None
        self._results, self._ids = {}, itertools.count(1)
        self._connections = set()
        self.asking = threading.local()
        bending = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def setup(self):
                super().setup()
                bending._connections.add(self.connection)

            def finish(self):
                bending._connections.discard(self.connection)
                super().finish()

            def do_GET(self):
                bending._serve(self)

            do_POST = do_GET  # noqa: N815 - so the base class wants it

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def times(self, endpoint):
        """Return when an endpoint was asked."""
        return [at for name, at in list(self.log) if name == endpoint]

    def cut(self):
        """Close all connections at this moment."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self.cut()

    def _serve(self, handler):
        asked = json.loads(handler.rfile.read(int(handler.headers.get("Content-Length", 0))) or b"{}")
        name = handler.path.rsplit("/", 1)[-1]
        self.log.append((name, time.monotonic()))
        self.asking.headers = handler.headers
        try:
            rule = self.rules.get(name, self.fallback)
            said = None if rule is None else rule(asked)
        except ConnectionError:
            handler.close_connection = True
            return
        status, body, *headers = said if said is not None else self._usual(name, asked)
        raw = json.dumps(body).encode()
        handler.send_response(status)
        for key, value in (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(raw))),
            *itertools.chain(*headers),
        ):
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(raw)

    def _usual(self, name, asked):
        if name in _FINAL:
            return 200, _FINAL[name]
        if name in _PROMISED:
            request_id = f"r{next(self._ids)}"
            self._results[request_id] = _PROMISED[name]
            return 200, {"request_id": request_id}
        if name == "retrieve_future" and asked["request_id"] in self._results:
            return 200, self._results[asked["request_id"]]
        return 404, {"detail": "Not Found"}
