"""A server between a client and the embedded server that spoils answers as a test says."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import msgspec

_NOT_PASSED_ON = {"host", "connection", "content-length", "transfer-encoding"}


class Asked(msgspec.Struct):
    """A request that passed, and the answer that may be spoiled.

    Attributes:
        name: the last part of the path.
        headers: of the request, names in lower case.
        body: of the request.
        status: of the answer.
        content_type: of the answer.
        answer: its body.
    """

    name: str
    headers: dict[str, str]
    body: bytes
    status: int
    content_type: str
    answer: bytes


class Between:
    """Passes requests on. `spoil` is given each `Asked` before it is answered, and may change its last three fields.

    Usable as a context manager.

    Attributes:
        url: its address.
        spoil: see above; may be replaced at any time.
        log: every request, in the order in which they were answered.
        times: how often each answer is sent.
        closes: whether each connection is closed behind its answer, without a word.
    """

    def __init__(self, url, spoil):
        self._target = urlsplit(url).netloc
        self.spoil = spoil
        self.log: list[Asked] = []
        self.times = 1
        self.closes = False
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                between._pass_on(self)

            do_POST = do_GET  # noqa: N815 - the library looks for it

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def of(self, name):
        return [asked for asked in list(self.log) if asked.name == name]

    def _pass_on(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        connection = http.client.HTTPConnection(self._target, timeout=120)
        try:
            passed = {name: value for name, value in headers.items() if name not in _NOT_PASSED_ON}
            connection.request(handler.command, handler.path, body or None, passed)
            answer = connection.getresponse()
            content_type = answer.headers.get("content-type", "")
            asked = Asked(
                handler.path.split("?")[0].rsplit("/", 1)[-1], headers, body, answer.status, content_type, answer.read()
            )
        finally:
            connection.close()
        self.spoil(asked)
        self.log.append(asked)
        for _ in range(self.times):
            handler.send_response(asked.status)
            handler.send_header("Content-Type", asked.content_type)
            handler.send_header("Content-Length", str(len(asked.answer)))
            handler.end_headers()
            handler.wfile.write(asked.answer)
        handler.close_connection = self.closes
