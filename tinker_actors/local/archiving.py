"""Archiving: checkpoints as files to download, made when somebody asks and kept for who asks again.

The same checkpoint gives the same bytes, so a download goes on where it was cut, even from an archive made anew.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from tinker_actors.local import marks
from tinker_actors.local.core.keeping import CheckpointDamagedError, CheckpointMissingError, Store
from tinker_actors.local.core.requests.messages import NO_RETRY, Answer, Attachment, RefusedError
from tinker_actors.local.core.rest.checkpoints import no_checkpoint
from tinker_actors.local.http.aside import in_thread
from tinker_actors.local.store.tar_files import UNFINISHED

_LOG = logging.getLogger(__name__)

KEPT = 8
"""How many archives are kept, beside those being sent; the ones asked for longest ago go first."""

PREFIX = "archives-"
"""What the names of folders for archives begin with."""

_SUFFIX = ".tar.gz"
_UNCHANGED = 304


class Archives:
    """Archives of checkpoints. For the event loop's thread.

    Args:
        store: packs them.
        where: the folder in which a folder for them is made when it is needed; folders that killed servers have left
            there are removed. None for the system's folder for temporary files, where no others are looked for.
    """

    def __init__(self, store: Store, where: Path | None) -> None:
        self._store = store
        self._where = where
        self._folder: Path | None = None
        self._recent: dict[str, Path] = {}
        self._sending: Counter[Path] = Counter()  # how many are being sent of each; those stay
        self._packing = asyncio.Lock()
        for folder in () if where is None else marks.folders(where):
            if folder.name.startswith(PREFIX):
                marks.remove(folder, _is_archive, "a killed server has left it", logging.WARNING)

    async def respond(self, answer: Answer, attachment: Attachment, request: Request) -> Response:
        """Return the response that sends an archive, or the parts of it that the request asks for."""
        try:
            path = await self._packed(attachment)
        except CheckpointMissingError:
            gone = no_checkpoint(attachment.path).answer()
            return Response(gone.body, gone.status, dict(gone.headers))
        except CheckpointDamagedError as error:
            damaged = RefusedError(500, f"The archive could not be made: {error}.", NO_RETRY).answer()
            return Response(damaged.body, damaged.status, dict(damaged.headers))
        except OSError as error:
            _LOG.exception("%s can't be packed", attachment.path)
            failed = RefusedError(503, f"The archive could not be made: {error.strerror or error}.").answer()
            return Response(failed.body, failed.status, dict(failed.headers))
        tag = f'"{attachment.uid}"'
        headers = {
            **dict(answer.headers),
            "etag": tag,
            "content-disposition": f'attachment; filename="{attachment.name}"',
        }
        if tag in request.headers.get("if-none-match", ""):
            return Response(None, _UNCHANGED, headers)
        return _Download(path, self._sending, headers)

    def close(self) -> None:
        """Remove all archives; those being sent are sent to their end."""
        if self._folder is not None:
            marks.remove(self._folder, _is_archive, "the server stops")
            self._folder = None
            self._recent.clear()

    async def _packed(self, attachment: Attachment) -> Path:
        # One at a time: packing is bound by the disk, and whoever waits for the same archive finds it then.
        async with self._packing:
            path = self._recent.pop(attachment.uid, None)
            if path is None or not path.is_file():
                path = self._place() / f"{attachment.uid}{_SUFFIX}"
                await in_thread("archive", lambda: self._store.pack(attachment.path, attachment.uid, path))
            self._recent[attachment.uid] = path
            idle = [uid for uid, kept in self._recent.items() if uid != attachment.uid and not self._sending[kept]]
            for uid in idle[: max(0, len(self._recent) - KEPT)]:
                self._recent.pop(uid).unlink(missing_ok=True)
            return path

    def _place(self) -> Path:
        if self._folder is None or not self._folder.is_dir():
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._where))
            marks.put(self._folder)
        return self._folder


def _is_archive(name: str) -> bool:
    return name.removesuffix(UNFINISHED).endswith(_SUFFIX)


class _Download(FileResponse):
    """A file as a response, whole or in the parts that are asked for. It is counted from now on until it is sent."""

    def __init__(self, path: Path, sending: Counter[Path], headers: dict[str, str]) -> None:
        super().__init__(path, headers=headers, stat_result=path.stat())
        self._sent, self._sending = path, sending
        sending[path] += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sending[self._sent] -= 1
