"""A server that can't discard: it applies what it is given. Real sockets.

It is one of three kinds. `"plain"` has no `client/config`, makes up the names of its models, orders by no number, and
reads JSON only. `"skyrl"` is the same, offers `client/config`, and answers data in protobuf with 500. `"official"`
reads protobuf only, names models by their number, and does what comes in the order of its numbers, of which a request
that it refuses takes none.

It keeps what it was given: `gathered` are the first tokens of the examples whose gradients wait, `steps` those that
each optimizer step applied. The first token of an example tells what becomes of its gradient: 400 and 403 refuse the
request with that status, 500 fails it after it was accepted. So fails loading a checkpoint named `broken`.
"""

from __future__ import annotations

import http.server
import itertools
import json
import threading

from tinker_actors.protocol.codec.protobuf.serving import decode_forward_backward_request
from tinker_actors.types.wire import ForwardRequest

KINDS = ("plain", "skyrl", "official")
REFUSED = (400, 403)
FAILS = 500
COULD_NOT = "it could not be computed"


class Applying:
    """The server and what it did.

    Args:
        kind: one of `KINDS`.
        config: whether it offers `client/config`.
        refuses: whether it refuses a step behind a gradient that failed, and names that by its number.
        unreadable: what it does to a body that is no JSON: `"422"`, or `"500"`, and then it leaves the connection.
    """

    def __init__(self, kind="plain", *, config=None, unreadable=None, refuses=False):
        self.kind = kind
        self.config = kind != "plain" if config is None else config
        self.unreadable = unreadable or ("500" if kind == "skyrl" else "422")
        self.refuses, self._failed = refuses, None
        self._turn, self._early = 1, {}  # the next number, and what came before its turn
        self.gathered, self.steps, self.saved, self.restored = [], [], [], []
        self.forwards = 0
        self.bodies = []  # what came as data: "json" or "protobuf"
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._results = {}
        self._count = itertools.count(1)
        self._lock = threading.Lock()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            leaving = False

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.leaving:
                    self.close_connection = True
                    return
                name = self.path.removeprefix("/api/v1/")
                if "protobuf" in self.headers.get("content-type", "") and server.kind == "official":
                    name, asked = read_protobuf(body)
                    self.said(name, asked)
                    return
                try:
                    asked = json.loads(body) if body else {}
                    if server.kind == "official" and name in ("forward", "forward_backward"):
                        self.answer(415, json.dumps({"detail": "not protobuf"}).encode())
                        return
                except ValueError:
                    server.bodies.append("protobuf")
                    if server.unreadable == "500":
                        self.leaving = True  # and nothing in the answer says so
                        self.answer(500, b"Internal Server Error", "text/plain; charset=utf-8")
                    else:
                        self.answer(422, json.dumps({"detail": "not JSON"}).encode())
                    return
                self.said(name, asked)

            def said(self, name, asked):
                if name == "retrieve_future":
                    server.may_answer.wait()
                with server._lock:
                    status, said = server.handle(name, asked)
                self.answer(status, json.dumps(said).encode())

            def do_GET(self):
                self.do_POST()

            def answer(self, status, body, content_type="application/json"):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.may_answer.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def handle(self, name, asked):
        """Return status and answer."""
        if name == "client/config":
            return (200, {"pjwt_auth_enabled": False}) if self.config else (404, {"detail": "Not Found"})
        if name == "create_session":
            return 200, {"type": "create_session", "session_id": "session_1"}
        if name == "session_heartbeat":
            return 200, {"type": "session_heartbeat"}
        if name == "create_sampling_session":
            return 200, {"type": "create_sampling_session", "sampling_session_id": "sampling_1"}
        if name == "weights_info":
            return 200, {"base_model": "some/model", "is_lora": True, "lora_rank": 4}
        if name == "retrieve_future":
            return self._results.get(asked["request_id"], (408, {"type": "try_again", "queue_state": "active"}))
        act = getattr(self, name, None)
        if act is None:
            return 404, {"detail": "Not Found"}
        if name in ("forward", "forward_backward"):
            self.bodies.append("protobuf" if self.kind == "official" else "json")
            for refused in set(firsts_of(asked.get("forward_backward_input"))).intersection(REFUSED):
                return refused, {"detail": f"{refused} is not wanted"}
        request_id = str(next(self._count))
        if self.kind == "official" and name != "create_model":
            self._early[asked["seq_id"]] = request_id, act, asked
            while self._turn in self._early:
                at, do, given = self._early.pop(self._turn)
                self._results[at] = do(given)
                self._turn += 1
        else:
            self._results[request_id] = act(asked)
        return 200, {"future_id": request_id, "status": "pending", "request_id": request_id}

    def create_model(self, asked):
        named = f"{asked['session_id']}:train:{asked['model_seq_id']}"
        return 200, {"type": "create_model", "model_id": named if self.kind == "official" else "model_abc"}

    def _passed(self, given):
        firsts = firsts_of(given)
        if FAILS in firsts:
            return firsts, (400, {"detail": COULD_NOT})
        counts = [len(datum["model_input"]["chunks"][0]["tokens"]) for datum in given["data"]]
        outputs = [{"logprobs": {"data": [-1.0] * n, "dtype": "float32", "shape": [n]}} for n in counts]
        return firsts, (200, {"loss_fn_output_type": "scalar", "loss_fn_outputs": outputs, "metrics": {}})

    def forward(self, asked):
        self.forwards += 1
        return self._passed(asked["forward_input"])[1]

    def forward_backward(self, asked):
        firsts, done = self._passed(asked["forward_backward_input"])
        if done[0] == 200:
            self.gathered += firsts
        else:
            self._failed = asked["seq_id"]
        return done

    def optim_step(self, _):
        failed, self._failed = self._failed, None
        if failed is not None and self.refuses:
            self.gathered = []
            said = {"error": "optim_step was not applied", "category": "user", "preceding_seq_id": failed}
            return 200, said
        self.steps.append(self.gathered)
        self.gathered = []
        return 200, {"type": "optim_step", "metrics": {}}

    def save_weights(self, asked):
        self.saved.append(asked["path"])
        return 200, {"type": "save_weights", "path": f"tinker://model_abc/weights/{asked['path']}"}

    def save_weights_for_sampler(self, asked):
        if asked.get("path"):
            path = f"tinker://model_abc/sampler_weights/{asked['path']}"
            return 200, {"type": "save_weights_for_sampler", "path": path}
        return 200, {"type": "save_weights_for_sampler", "path": None, "sampling_session_id": "sampling_2"}

    def load_weights(self, asked):
        if asked["path"].endswith("/broken"):
            return 400, {"detail": COULD_NOT}
        self.gathered = []
        self.restored.append(asked["path"])
        return 200, {"type": "load_weights", "path": asked["path"], "model_id": "model_abc"}


def firsts_of(given):
    """Return the first token of each example; of None nothing."""
    return [datum["model_input"]["chunks"][0]["tokens"][0] for datum in (given or {"data": []})["data"]]


def read_protobuf(body):
    """Return what was asked for in protobuf, by its name, as it would be in JSON."""
    request = decode_forward_backward_request(body)
    name = "forward" if isinstance(request, ForwardRequest) else "forward_backward"
    given = getattr(request, f"{name}_input")
    chunks = [[{"tokens": [int(token) for token in datum.model_input.chunks[0].tokens]}] for datum in given.data]
    data = [{"model_input": {"chunks": each}} for each in chunks]
    return name, {"seq_id": request.seq_id, f"{name}_input": {"data": data}}
