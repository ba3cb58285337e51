"""A server that repeats what it was sent, in whatever form: the key is in nothing that is shown."""

from __future__ import annotations

import base64
import html
import http.server
import json
import logging
import threading
import traceback
from urllib.parse import quote

import pytest

import tinker_actors as ta

from .conftest import HANG

KEY = "tml-Zq8+Xw/3vPfK1dRt7yLm"

BODIES = {
    "detail": lambda sent: ("application/json", json.dumps({"detail": f"bad headers: {sent}"})),
    "entries": lambda sent: ("application/json", json.dumps({"detail": [{"loc": ["header"], "msg": str(sent)}]})),
    "object": lambda sent: ("application/json", json.dumps({"error": {"headers": sent}})),
    "nested": lambda sent: ("application/json", json.dumps({"message": json.dumps(sent)})),
    "text": lambda sent: ("text/plain", " ".join(f"{name}: {value}" for name, value in sent.items())),
    "URL": lambda sent: ("text/plain", quote(str(sent))),
    "base64": lambda sent: ("text/plain", base64.b64encode(json.dumps(sent).encode()).decode()),
    "HTML": lambda sent: ("text/html", f"<html><title>{html.escape(sent['x-api-key'])}</title></html>"),
    "half": lambda sent: ("application/json", json.dumps({"detail": f"the key {sent['x-api-key'][:12]}... is wrong"})),
    "no error": lambda sent: ("application/json", json.dumps({"session_id": 5, "headers": sent})),
}


@pytest.fixture
def echo():
    """A server that answers every request by a body that `BODIES` makes of its headers."""

    class Echo(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        make = BODIES["text"]
        status = 401
        sent: str | None = None

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            Echo.sent = self.headers["x-api-key"]
            kind, text = Echo.make({name.lower(): value for name, value in self.headers.items()})
            self.send_response(Echo.status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST  # noqa: N815 - the name http.server looks for

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield Echo, f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    web.server_close()


@pytest.mark.parametrize("way", BODIES)
def test_an_echoed_key_is_in_nothing_that_is_shown(echo, way, caplog):
    caplog.set_level(logging.DEBUG)
    server, url = echo
    server.make, server.status = staticmethod(BODIES[way]), 200 if way == "no error" else 401
    with ta.ServiceClient(base_url=url, api_key=KEY) as service:
        with pytest.raises(ta.TinkerError) as caught:
            service.create_sampling_client(base_model="m").result(HANG)
        shown = [str(service.tree())]
    assert server.sent == KEY
    error: BaseException | None = caught.value
    while error is not None:
        # Frames of ours; the test's own hold the key by right.
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown += [str(error), repr(error), repr(getattr(error, "body", None)), repr(getattr(error, "__notes__", None))]
        shown += [repr(frame.locals) for frame in report.stack if frame.filename != __file__]
        error = error.__cause__
    shown += [record.getMessage() for record in caplog.records]
    encoded = base64.b64encode(KEY.encode()).decode()[4:20]
    forms = (KEY, KEY[:12], json.dumps(KEY), quote(KEY), html.escape(KEY), encoded)
    for text in shown:
        assert not any(form in text for form in forms), text
    assert any("***" in text for text in shown) or way in ("URL", "no error")
