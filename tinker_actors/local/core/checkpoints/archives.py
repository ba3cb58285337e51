"""Archives: a checkpoint as one file, behind a link that needs no key and works for a while.

The link names the checkpoint's uid, so one made for a checkpoint that has since been replaced leads nowhere, and not to
other weights.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from tinker_actors.local.core.catalog import is_over
from tinker_actors.local.core.checkpoints.signing import is_signed, signature_of
from tinker_actors.local.core.keeping import CheckpointMeta
from tinker_actors.local.core.requests.messages import Answer, Attachment, CoreRequest, RefusedError
from tinker_actors.local.core.rest.checkpoints import known_checkpoint, no_checkpoint
from tinker_actors.local.core.rest.paging import query_of
from tinker_actors.types.paths import SCHEME

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

LINK_SECONDS = 15 * 60
"""How long a link works; what clients assume where a server does not say (wire protocol 2.3)."""

_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


def get_archive(core: CoreState, request: CoreRequest, _now: float, run_id: str, checkpoint_id: str) -> Answer:
    """`GET .../archive`: where the archive can be downloaded."""
    meta = known_checkpoint(core, run_id, checkpoint_id)
    expires = int(core.wall) + LINK_SECONDS
    query = {"uid": meta.uid, "expires": expires, "signature": _signature(core, meta, expires)}
    place = "/".join(quote(part, safe="") for part in (run_id, *checkpoint_id.split("/")))
    location = f"http://{_host(request)}/api/v1/archives/{place}?{urlencode(query)}"
    headers = (("location", location), ("expires", formatdate(expires, usegmt=True)))
    return Answer(302, b"", headers)


def download_archive(core: CoreState, request: CoreRequest, _now: float, run_id: str, checkpoint_id: str) -> Answer:
    """`GET archives/{id}/{ckpt}`: the archive itself, for whoever has a link."""
    query = query_of(request)
    path, uid, expires = f"{SCHEME}{run_id}/{checkpoint_id}", query.get("uid", ""), query.get("expires", "")
    if not is_signed(core.access.secret, query.get("signature", ""), path, uid, expires):
        raise RefusedError(403, "This link is not one of this server's.")
    if core.wall >= int(expires):
        raise RefusedError(403, "This link has expired; ask for a new one.")
    meta = core.store.find(path)
    if meta is None or meta.uid != uid or is_over(meta, core.wall):
        raise no_checkpoint(path)
    name = f"{run_id}_{checkpoint_id}".translate(_FILE_NAME)
    return Answer(200, b"", (("content-type", "application/gzip"),), Attachment(path, uid, f"{name}.tar.gz"))


def get_external_urls(core: CoreState, _request: CoreRequest, _now: float, run_id: str, checkpoint_id: str) -> Answer:
    """`GET .../external_weights_urls`: only for exported weights, of which this server has none."""
    meta = known_checkpoint(core, run_id, checkpoint_id)
    raise RefusedError(400, f"{meta.path} is no exported checkpoint; its archive can be downloaded.")


_FILE_NAME = str.maketrans({":": "_", "/": "_", '"': "_", "\\": "_"})


def _signature(core: CoreState, meta: CheckpointMeta, expires: int) -> str:
    return signature_of(core.access.secret, meta.path, meta.uid, str(expires))


def _host(request: CoreRequest) -> str:
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise RefusedError(400, "The request needs a Host header that names this server.")
    return host
