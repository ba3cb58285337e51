"""A lane on the step runtime, with a transport that leaves the answers to the test."""

from __future__ import annotations

import json

from tinker_actors.actors.lane.actor import Lane
from tinker_actors.actors.lane.arrivals import Arrivals
from tinker_actors.actors.lane.options import DEFAULT_TERMS
from tinker_actors.actors.lane.server_limits import ServerLimits
from tinker_actors.actors.lane.table import LaneSettings
from tinker_actors.actors.lane.work import SessionLink, Work
from tinker_actors.actors.messages import ARRIVED, Cancel
from tinker_actors.config import Config
from tinker_actors.errors import APIResponseValidationError
from tinker_actors.net.transport import Broken, Reply
from tinker_actors.protocol.replies.signals import read_signals, word_of
from tinker_actors.protocol.requests.operations import Tail
from tinker_actors.runtime.actor import tell
from tinker_actors.runtime.progress import Tracker
from tinker_actors.testing.step import StepRuntime


class Sent:
    """A request that the lane made; cancelled or answered at most once."""

    def __init__(self, peer, request, on_answer):
        self.peer, self.on_answer = peer, on_answer
        self.endpoint = request.path.rsplit("/", 1)[1]
        self.headers = dict((*request.headers, *request.own_headers))
        self.timeout = request.timeout
        self.once = request.once
        self.body = json.loads(b"".join(request.body))
        self.at = peer.runtime.clock.now()

    seen = True

    def cancel(self):
        self.peer.pending.remove(self)
        self.peer.given_up.append(self)

    def reject(self):
        self.peer.rejected.append(self)

    def answer(self, body=b"{}", status=200, **headers):
        self.peer.pending.remove(self)
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        fields = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        self.peer.runtime.post(lambda: self.on_answer(Reply(status, fields, body)))

    def breaks(self):
        self.peer.pending.remove(self)
        self.peer.runtime.post(lambda: self.on_answer(Broken("reset", "wait", "simulated", True)))


class Peer:
    """The transport port; keeps what was sent."""

    def __init__(self, runtime):
        self.runtime = runtime
        self.all, self.pending, self.given_up, self.rejected = [], [], [], []
        self.at_once = {}

    capacity = 1 << 30

    def send(self, request, on_answer):
        sent = Sent(self, request, on_answer)
        self.all.append(sent)
        self.pending.append(sent)
        if sent.endpoint in self.at_once:
            self.at_once[sent.endpoint](sent)
        return sent

    def close(self):
        self.pending.clear()

    def answer_at_once(self, endpoint, said, status=200):
        """Answer what is asked of an endpoint, now and later, with `said(sent)`; None ends that."""
        self.at_once.pop(endpoint, None)
        if said is not None:
            self.at_once[endpoint] = lambda sent: sent.answer(said(sent), status)
            for sent in self.waiting(endpoint):
                self.at_once[endpoint](sent)

    def waiting(self, endpoint):
        return [sent for sent in self.pending if sent.endpoint == endpoint]


class Sample:
    """Sink and admission of one work; keeps what it heard."""

    key = 1
    reason = "waiting for its sampler"

    def __init__(self, name, channel=None):
        self.name, self.channel = name, channel
        self.result = self.error = None
        self.renews = False

    def head(self):
        return b'{"name":"%s",' % self.name.encode()

    def accepted(self, work, outcome):
        pass

    def read(self, work, content_type, body):
        signals = read_signals(body)
        if signals is None or word_of(signals):
            raise APIResponseValidationError("no result")
        return json.loads(body)

    def done(self, work, outcome):
        assert not self.over
        self.result = outcome.value

    def failed(self, work, error):
        assert not self.over
        self.error = error

    def gone(self, work, error):
        if self.renews:
            work.renew(self.head())
        return self.renews

    @property
    def over(self):
        return self.result is not None or self.error is not None


class LaneBench:
    """One sample lane. `sample` hands works over as `Lanes.submit` does."""

    def __init__(self, **config):
        self.runtime = StepRuntime(1)
        self.peer = Peer(self.runtime)
        config = Config(base_url="http://127.0.0.1:1", seed=1, **config)
        self.settings = LaneSettings("sample", config, {}, ServerLimits(), self.runtime.clock.now, True, Arrivals())
        self.session = SessionLink()
        self.works = {}
        self.start()

    def start(self):
        """Begin with a new lane, as the keeper does when one has died."""
        self.lane = Lane(self.runtime, self.settings, lambda: self.peer)
        self.ref = self.lane.actor_ref
        self.runtime.run(self.lane)

    def replace(self):
        self.ref.actor_stopped.set()
        self.peer.close()
        self.start()

    @property
    def now(self):
        return self.runtime.clock.now()

    def sample(self, name, terms=DEFAULT_TERMS, channel=None, *, resend=True, request_type="Sample"):
        sample = Sample(name, channel)
        tail = Tail("/api/v1/asample", b'"x":1}', "application/json", 10, request_type)
        tracker = Tracker("sample", self.now, server=self.settings.limits.budget)
        self.works[name] = work = Work(
            tail, None, sample, tracker, session=self.session, admission=sample, terms=terms, resend=resend
        )
        self.settings.table[work.id] = work
        if self.settings.arrivals.put(work):
            tell(self.ref, ARRIVED)
        return sample

    def cancel(self, name):
        tell(self.ref, Cancel(self.works[name].id))
        self.settle()

    def settle(self):
        """Let the lane do all that needs no time to pass."""
        self.wait(0.0)

    def wait(self, seconds):
        """Let the lane do all that happens within some seconds."""
        ended = []
        self.runtime.timers.call_at(self.now + seconds + 1e-6, lambda: ended.append(True))
        self.runtime.run_until(lambda: bool(ended))

    def submits(self):
        """Return the names of the samples being submitted, in the order of sending."""
        return [sent.body["name"] for sent in self.peer.waiting("asample")]

    def accept(self, *names):
        """Answer submissions with the sample's name as request id; all of them without names."""
        for sent in self.peer.waiting("asample"):
            if not names or sent.body["name"] in names:
                sent.answer({"request_id": sent.body["name"]})
        self.settle()

    def refuse(self, *names, **headers):
        for sent in self.peer.waiting("asample"):
            if not names or sent.body["name"] in names:
                sent.answer({"detail": "full"}, 429, **headers)
        self.settle()

    def polled(self):
        return [sent.body["request_id"] for sent in self.peer.waiting("retrieve_future")]

    def finish(self, *names):
        """Answer polls with a result; all of them without names."""
        for sent in self.peer.waiting("retrieve_future"):
            if not names or sent.body["request_id"] in names:
                sent.answer({"type": "sample", "of": sent.body["request_id"]})
        self.settle()

    def not_yet(self, *names, **fields):
        for sent in self.peer.waiting("retrieve_future"):
            if not names or sent.body["request_id"] in names:
                sent.answer({"type": "try_again", **fields})
        self.settle()

    def tell_completions(self, *names, cursor, size=None, state="finished"):
        """Answer the request for completions."""
        (sent,) = self.peer.waiting("retrieve_futures")
        said = [{"state": state, "request_id": name, "response_payload_uncompressed_size": size} for name in names]
        sent.answer({"completions": said, "cursor": cursor})
        self.settle()
        return sent
