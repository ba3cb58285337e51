"""REST: training runs, listed and looked up."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tinker_actors.local.core import ids
from tinker_actors.local.core.keeping import CheckpointMeta, RunRecord
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, ok
from tinker_actors.local.core.rest.describing import checkpoint_of, run_of, training_run_of
from tinker_actors.local.core.rest.paging import page_of, query_of, require_scope
from tinker_actors.types.checkpoints import CheckpointsListResponse
from tinker_actors.types.runs import TrainingRunsResponse

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_RUNS_PER_PAGE = 20


def list_training_runs(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`GET training_runs`, of one project or of all."""
    require_scope(request)
    project = query_of(request).get("project_id")
    runs = [record for record in core.catalog.runs() if project is None or _project_of(core, record) == project]
    page, cursor = page_of(request, runs, _RUNS_PER_PAGE)
    checkpoints = _checkpoints_by_run(core)
    return ok(TrainingRunsResponse([training_run_of(record, checkpoints[record.run_id]) for record in page], cursor))


def get_training_run(core: CoreState, request: CoreRequest, _now: float, run_id: str) -> Answer:
    """`GET training_runs/{id}`."""
    require_scope(request)
    record = core.catalog.run(run_id)
    return ok(training_run_of(record, _checkpoints_by_run(core)[run_id]))


def list_checkpoints(core: CoreState, _request: CoreRequest, _now: float, run_id: str) -> Answer:
    """`GET training_runs/{id}/checkpoints`: all of them, in one part. Copies need no run to be listed."""
    found = _checkpoints_by_run(core).get(run_id)
    if found is None:
        core.catalog.run(run_id)
    return ok(CheckpointsListResponse([checkpoint_of(meta) for meta in found or ()]))


def _checkpoints_by_run(core: CoreState) -> defaultdict[str, list[CheckpointMeta]]:
    found: defaultdict[str, list[CheckpointMeta]] = defaultdict(list)
    for meta in core.catalog.own_checkpoints(core.wall):
        found[run_of(meta)].append(meta)
    return found


def _project_of(core: CoreState, record: RunRecord) -> str | None:
    return core.catalog.project_of(ids.session_of(record.run_id))
