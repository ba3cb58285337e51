"""The service core: the rules of a Tinker server, without I/O, threads or a clock.

How to drive it, here on one thread with a clock of one's own::

    core = ServiceCore(LedgerEngine(), MemoryStore(), Limits(), new_id=lambda: f"{random.getrandbits(64):016x}")
    held = []                                                   # (hold, whoever waits for the answer)

    def receive(method, path, body, reply, now):                # a request arrives
        answer = core.handle(CoreRequest(method, path, body=body), now)
        held.append((answer, reply)) if isinstance(answer, Hold) else reply(answer)

    def work(kind, now):                                        # kind: "train" or "sample"; when a worker is free
        if (job := core.next_job(kind)) is not None:
            core.finish(job, job.run(), now)                    # or run() now and finish() later: a job takes time

    def settle(now):                                            # after anything happened, and as time passes
        core.tick(now)
        for hold, reply in held[:]:                             # core.take_decided() tells which are worth asking
            if (answer := core.resume(hold, now)) is not None:
                held.remove((hold, reply)); reply(answer)

Everything is a function of these calls: the same calls with the same ids and times give the same answers, byte by byte.
`next_job` never hands out two jobs of one model at once; jobs of different models, and sampling jobs, may overlap. A
sampling job is a turn of a few tokens for the samples of one set of weights, so it takes several to finish one; between
any two, samples join, leave and are answered. `stream_sample` is answered with a `Stream` (see `streams.py`), which
`take_events` and `abandon` are for; only a server that talks to clients of streams need know it.
A crash of the server is: drop the core, keep the store's folder (or the `MemoryStore`), make a new core.
"""

from __future__ import annotations

from tinker_actors.local.core.jobs import Failure, Job, JobKind, Result, Success
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, Hold
from tinker_actors.local.core.service import ServiceCore

__all__ = ["Answer", "CoreRequest", "Failure", "Hold", "Job", "JobKind", "Limits", "Result", "ServiceCore", "Success"]
