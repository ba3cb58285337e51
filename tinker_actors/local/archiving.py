"""Archiving: checkpoints as files to download, made when somebody asks and kept for who asks again.

The same checkpoint gives the same bytes, so a download goes on where it was cut, even from an archive made anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tinker_actors.local import marks
from tinker_actors.local.core.keeping import CheckpointDamagedError, CheckpointMissingError, Store
from tinker_actors.local.core.requests.messages import NO_RETRY, Answer, Attachment, RefusedError
from tinker_actors.local.core.rest.checkpoints import no_checkpoint
from tinker_actors.local.http.aside import in_thread
from tinker_actors.local.http.ranges import Part, UnsatisfiableError, part_of
from tinker_actors.local.store.tar_files import UNFINISHED

_LOG = logging.getLogger(__name__)

KEPT = 8
"""How many archives are kept; the ones asked for longest ago go first."""

PREFIX = "archives-"
"""What the names of folders for archives begin with."""

_SUFFIX = ".tar.gz"
_PIECE = 256 * 1024
_OK, _PART, _UNCHANGED, _BEHIND = 200, 206, 304, 416


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
        self._packing = asyncio.Lock()
        for folder in () if where is None else marks.folders(where):
            if folder.name.startswith(PREFIX):
                marks.remove(folder, _is_archive, "a killed server has left it", logging.WARNING)

    async def respond(self, answer: Answer, attachment: Attachment, request: Request) -> Response:
        """Return the response that sends an archive, or the part of it that the request asks for."""
        try:
            file = await self._opened(attachment)
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
        size, tag = os.fstat(file.fileno()).st_size, f'"{attachment.uid}"'
        headers = {
            **dict(answer.headers),
            "accept-ranges": "bytes",
            "etag": tag,
            "content-disposition": f'attachment; filename="{attachment.name}"',
        }
        if tag in request.headers.get("if-none-match", ""):
            return _closed(file, _UNCHANGED, headers)
        try:
            part = part_of(_range(request, tag), size)
        except UnsatisfiableError:
            return _closed(file, _BEHIND, {**headers, "content-range": f"bytes */{size}"})
        if part is None:
            return FileResponse(file, _OK, headers, Part(0, size))
        headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{size}"
        return FileResponse(file, _PART, headers, part)

    def close(self) -> None:
        """Remove all archives; those being sent are sent to their end."""
        if self._folder is not None:
            marks.remove(self._folder, _is_archive, "the server stops")
            self._folder = None
            self._recent.clear()

    async def _opened(self, attachment: Attachment) -> BinaryIO:
        # One at a time: packing is bound by the disk, and whoever waits for the same archive finds it then.
        async with self._packing:
            path = self._recent.pop(attachment.uid, None)
            if path is None:
                path = self._place() / f"{attachment.uid}{_SUFFIX}"
                await in_thread("archive", lambda: self._store.pack(attachment.path, attachment.uid, path))
            self._recent[attachment.uid] = path
            file = path.open("rb")
            while len(self._recent) > KEPT:
                self._recent.pop(next(iter(self._recent))).unlink(missing_ok=True)
            return file

    def _place(self) -> Path:
        if self._folder is None or not self._folder.is_dir():
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._where))
            marks.put(self._folder)
        return self._folder


def _is_archive(name: str) -> bool:
    return name.removesuffix(UNFINISHED).endswith(_SUFFIX)


class FileResponse(Response):
    """A part of an open file as a response, piece by piece; the file is closed with it.

    Args:
        file: the file.
        status: the HTTP status.
        headers: headers, without the length.
        part: which part.
    """

    def __init__(self, file: BinaryIO, status: int, headers: dict[str, str], part: Part) -> None:
        super().__init__(None, status, {**headers, "content-length": str(part.end - part.start)})
        self._file = file
        self._part = part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send it."""
        with self._file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            place, end = self._part
            if scope["method"] == "HEAD":
                place = end
            self._file.seek(place)
            while place < end:
                piece = self._file.read(min(_PIECE, end - place))
                place += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _range(request: Request, tag: str) -> str | None:
    """Return the range asked for, unless it is asked for of another version of the file."""
    if request.headers.get("if-range", tag) != tag:
        return None
    return request.headers.get("range")


def _closed(file: BinaryIO, status: int, headers: dict[str, str]) -> Response:
    file.close()
    return Response(None, status, headers)
