"""State: everything the core knows, in one place that all handlers are given."""

from __future__ import annotations

from collections.abc import Callable

from tinker_actors.local.core import ids
from tinker_actors.local.core.futures import FutureTable
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.messages import RefusedError
from tinker_actors.local.core.models import Model
from tinker_actors.local.core.ports import BaseModelInfo, Engine, Store
from tinker_actors.local.core.samplers import SampleQueue, Sampler, Weights
from tinker_actors.local.core.sessions import Sessions
from tinker_actors.local.core.turns import Turns


class CoreState:
    """What lives in the server. Used by one thread only.

    Attributes:
        engine: computes.
        store: keeps checkpoints.
        limits: bounds.
        new_id: returns a new random id.
        sessions: living and gone.
        futures: pending and decided.
        models: by id.
        samplers: by id.
        turns: which model's operation is next.
        sample_queue: samples that wait.
        weights: what samplers sample from.
    """

    def __init__(self, engine: Engine, store: Store, limits: Limits, new_id: Callable[[], str]) -> None:
        self.engine = engine
        self.store = store
        self.limits = limits
        self.new_id = new_id
        self.sessions = Sessions(list(store.earlier_sessions()))
        self.futures = FutureTable(limits, new_id)
        self.models: dict[str, Model] = {}
        self.samplers: dict[str, Sampler] = {}
        self.turns = Turns()
        self.sample_queue = SampleQueue(limits)
        self.weights = Weights(engine, store)

    def base_model(self, name: str) -> BaseModelInfo:
        """Return what is known about a base model.

        Raises:
            RefusedError: 400, there is none of this name; the detail lists those there are.
        """
        info = self.engine.base_models.get(name)
        if info is None:
            known = ", ".join(sorted(self.engine.base_models))
            raise RefusedError(400, f"There is no base model {name[:200]!r}. This server has: {known}.")
        return info

    def model(self, model_id: str) -> Model:
        """Return a model.

        Raises:
            RefusedError: 410 if it or its session is gone, 404 if it never was.
        """
        model = self.models.get(model_id)
        if model is None:
            raise self._missing("model", model_id)
        return model

    def sampler(self, sampler_id: str) -> Sampler:
        """Return a sampler.

        Raises:
            RefusedError: 410 if its session is gone, 404 if it never was.
        """
        sampler = self.samplers.get(sampler_id)
        if sampler is None:
            raise self._missing("sampler", sampler_id)
        return sampler

    def _missing(self, what: str, any_id: str) -> RefusedError:
        session_id = ids.session_of(any_id)
        if self.sessions.is_gone(session_id):
            self.sessions.get(session_id)
        number = any_id.rpartition(":")[2]
        if what == "model" and ":train:" in any_id and number.isdecimal():
            used = self.sessions.get(session_id).model_numbers
            if int(number[:18]) in used and not used.was_refused(int(number[:18])):
                return RefusedError(410, f"Model {any_id} has been unloaded.")
        return RefusedError(404, f"There is no {what} {any_id[:200]!r}.")
