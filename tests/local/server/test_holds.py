"""Holds inside the application: freed when the client goes, answered when the server does."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any, Self

from tinker_actors.local.core import Limits, ServiceCore
from tinker_actors.local.http import app
from tinker_actors.local.http.app import App
from tinker_actors.local.ledger import LedgerEngine
from tinker_actors.local.store.memory import MemoryStore

PATIENCE = 30.0


class Direct:
    """An application called without a network, as an ASGI server calls it."""

    def __init__(self) -> None:
        core = ServiceCore(LedgerEngine(), MemoryStore(), Limits(hold_seconds=600), lambda: uuid.uuid4().hex)
        self.app = App(core)

    async def __aenter__(self) -> Self:
        self._lifespan = self.app.asgi.router.lifespan_context(self.app.asgi)
        await self._lifespan.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._lifespan.__aexit__(*error)

    async def post(self, path: str, body: Any, gone: asyncio.Event | None = None) -> Any:
        """Send a request; when `gone` is set, the client is."""
        messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        where = f"/api/v1/{path}"
        scope = {
            "type": "http", "method": "POST", "path": where, "raw_path": where.encode(), "query_string": b"",
            "headers": [],
        }  # fmt: skip
        await self.app.asgi(scope, receive, send)
        return json.loads(sent[1]["body"])

    async def held_poll(self, gone: asyncio.Event | None = None) -> asyncio.Task[Any]:
        """Return a poll that is held: for a step whose gradient never comes."""
        session = (await self.post("create_session", {"sdk_version": "x"}))["session_id"]
        body = {"session_id": session, "model_seq_id": 0, "base_model": "local/ledger"}
        model = (await self.post("create_model", body))["model_id"]
        step = await self.post("optim_step", {"model_id": model, "seq_id": 2, "adam_params": {}})
        before = self.app.held
        poll = asyncio.create_task(self.post("retrieve_future", {"request_id": step["request_id"]}, gone))
        while self.app.held == before:  # noqa: ASYNC110 - what is waited for is inside the application
            await asyncio.sleep(0)
        return poll


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_a_hold_is_freed_when_its_client_goes():
    async def scenario() -> None:
        async with Direct() as direct:
            gone = asyncio.Event()
            left, stays = await direct.held_poll(gone), await direct.held_poll()
            assert direct.app.held == 2
            gone.set()
            await left
            assert direct.app.held == 1
            direct.app.release()
            await stays

    run(scenario)


def test_releasing_answers_every_hold_and_lets_no_new_one_begin():
    async def scenario() -> None:
        async with Direct() as direct:
            polls = [await direct.held_poll() for _ in range(3)]
            direct.app.release()
            answers = await asyncio.gather(*polls)
            assert {answer["type"] for answer in answers} == {"try_again"}
            assert direct.app.held == 0
            again = await direct.post("retrieve_future", {"request_id": answers[0]["request_id"]})
            assert again["type"] == "try_again"

    run(scenario)


def test_a_defect_in_the_core_is_a_500_that_says_no_secrets(monkeypatch, caplog):
    async def scenario() -> None:
        async with Direct() as direct:

            def broken(*_: Any) -> None:
                raise KeyError("some secret")

            monkeypatch.setattr(ServiceCore, "handle", broken)
            said = await direct.post("create_session", {})
            assert said == {"detail": "The server failed: KeyError. Its log says more."}

    run(scenario)
    assert "create_session failed" in caplog.text


def test_time_passes_on_after_a_tick_that_failed(monkeypatch, caplog):
    real, ticks = ServiceCore.tick, []

    def tick(core: ServiceCore, now: float) -> set[str]:
        ticks.append(now)
        if len(ticks) < 3:
            raise OSError("No space left on device")
        return real(core, now + 1000.0)  # by then the session has expired

    async def scenario() -> None:
        async with Direct() as direct:
            poll = await direct.held_poll()
            monkeypatch.setattr(ServiceCore, "tick", tick)
            said = await poll
            assert "no heartbeat" in said["detail"]

    monkeypatch.setattr(app, "TICK_SECONDS", 0.001)
    run(scenario)
    assert caplog.text.count("what is done every second failed") == 1
