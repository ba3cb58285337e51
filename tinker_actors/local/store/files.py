"""The store on disk: records in a database, weights in folders, one process at a time.

A checkpoint exists from the moment at which the database says so, and its folder is whole by then. Replacing or
deleting one is likewise a change of the database first. So a crash leaves at worst folders that are marked as removable
and that the database does not list; they are removed when the store is opened, and nothing else is.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from tinker_actors.errors import ConfigError
from tinker_actors.local import marks
from tinker_actors.local.core.keeping import (
    Checkpoint,
    CheckpointDamagedError,
    CheckpointExistsError,
    CheckpointMeta,
    CheckpointMissingError,
    FutureRecord,
    RunRecord,
    SessionRecord,
)
from tinker_actors.local.private import FOLDER_MODE, opened
from tinker_actors.local.store.adopting import adopted, refuse_unlisted, run_of
from tinker_actors.local.store.checkpoint_folders import CheckpointFolders, contents
from tinker_actors.local.store.database import Change, Database
from tinker_actors.local.store.tar_files import write_archive
from tinker_actors.local.store.writer import MOST_WAITING_BYTES, Writer
from tinker_actors.types.paths import ParsedCheckpointTinkerPath

_LOG = logging.getLogger(__name__)

DATABASE = "tinker.sqlite3"

_PUT_CHECKPOINT = "REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)"
_PUT_SESSION = """INSERT INTO sessions VALUES (?, ?, ?)
    ON CONFLICT (session_id) DO UPDATE SET owner = excluded.owner, record = excluded.record"""
_PUT_RUN = """INSERT INTO runs VALUES (?, ?, ?)
    ON CONFLICT (run_id) DO UPDATE SET owner = excluded.owner, record = excluded.record"""
_ADD_RUN = "INSERT OR IGNORE INTO runs VALUES (?, ?, ?)"
_FORGET_SESSION = "DELETE FROM sessions WHERE session_id = ?"
_FORGET_RUN = "DELETE FROM runs WHERE run_id = ? AND run_id NOT IN (SELECT run_id FROM checkpoints)"

_LOCK, _CHECKPOINTS = "lock", "checkpoints"
_OURS = {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", _LOCK, _CHECKPOINTS, marks.NAME}


class FileStore:
    """Everything below one folder. Thread-safe, but for what is noted, which is for the core's own thread.

    Layout: `tinker.sqlite3` holds the records, `checkpoints/<run id>/<segment>/<name>,<random>/` an adapter as PEFT
    writes it (`adapter_config.json`, `adapter_model.safetensors`), for a training checkpoint `optimizer.safetensors`,
    and `checkpoint.json`, which tells whose checkpoint it is and the sums of its files; `lock` is held as long as the
    store is open. Whatever else is in the folder is left alone.

    Args:
        root: the folder; made if it is not there.
        result_bytes: most bytes of results that are kept; the oldest go first.
        futures: most finished futures that are remembered at all.
        unwritten_bytes: most bytes of results that wait to be written.
        adopt: whether checkpoints that the database does not list are taken into it.

    Raises:
        ConfigError: another process has the store open, or another version made it, or there are checkpoints that the
            database does not list, and `adopt` is not set. Nothing has changed then.
    """

    def __init__(
        self,
        root: Path,
        *,
        result_bytes: int = 2**30,
        futures: int = 1_000_000,
        unwritten_bytes: int = MOST_WAITING_BYTES,
        adopt: bool = False,
    ) -> None:
        _make_root(root)
        with contextlib.ExitStack() as undo:
            self._lock_file = undo.enter_context(_locked(root / _LOCK))
            self._folders = CheckpointFolders(root / _CHECKPOINTS)
            if not adopt and not (root / DATABASE).exists():
                refuse_unlisted(root, self._folders.unlisted(()))  # or there would be a database from now on
            self._database = Database(root / DATABASE, result_bytes=result_bytes, futures=futures)
            undo.callback(self._database.close)
            self._lock = threading.Lock()
            self._index = self._listed()
            unlisted = self._folders.unlisted({folder for _, folder in self._index.values()})
            if adopt:
                for meta, folder in adopted(unlisted, self._index):
                    self._adopt(meta, folder)
            else:
                refuse_unlisted(root, unlisted)
            self._folders.clear({folder for _, folder in self._index.values()})
            undo.pop_all()
        self._writer = Writer(self._database, self._folders.remove, unwritten_bytes)

    def note_start(self) -> int:
        """Note that a server starts, and return how many did before."""
        return self._database.note_start()

    def write(self, checkpoint: Checkpoint, *, overwrite: bool) -> None:
        """Keep a checkpoint; when this returns, it survives a kill and a power failure.

        Raises:
            CheckpointExistsError: the path is taken, and `overwrite` is false.
            OSError, sqlite3.Error: the disk does not take it; then nothing has changed.
        """
        meta = checkpoint.meta
        if not overwrite:
            self._require_free(meta.path)
        self._put_in_place(meta, self._folders.write(meta, contents(checkpoint)), overwrite=overwrite)

    def find(self, path: str) -> CheckpointMeta | None:
        """Return what is known about a checkpoint, from memory."""
        found = self._index.get(path)
        return None if found is None else found[0]

    def read(self, path: str) -> Checkpoint:
        """Return a checkpoint.

        Raises:
            CheckpointMissingError: there is none.
            CheckpointDamagedError: it is not what was saved; the message names the file.
        """
        while True:
            meta, folder = self._require(path)
            try:
                with _damage_logged(path):
                    return self._folders.read(folder, meta)
            except FileNotFoundError as error:
                # Replaced or deleted meanwhile, or damaged from outside.
                if self._index.get(path, (None, None))[1] == folder:
                    file = Path(str(error.filename)).name
                    raise CheckpointMissingError(f"the file {file} of the checkpoint {path} is missing") from error

    def checkpoints(self) -> Sequence[CheckpointMeta]:
        """Return what is known about all checkpoints, from memory."""
        return [meta for meta, _ in self._index.copy().values()]

    def update(self, meta: CheckpointMeta) -> None:
        """Replace what is known about a checkpoint.

        Raises:
            CheckpointMissingError: it is not there, or under another uid.
            OSError, sqlite3.Error: the disk does not take it.
        """
        with self._lock:
            _, folder = self._require(meta.path, meta.uid)
            self._folders.describe(folder, meta)
            values = (meta.owner, _text(meta), meta.path)
            self._database.commit(("UPDATE checkpoints SET owner = ?, record = ? WHERE path = ?", values))
            self._index[meta.path] = (meta, folder)

    def delete(self, path: str, why: str = "it was deleted") -> None:
        """Remove a checkpoint, if it is there; the reason is for the log."""
        with self._lock:
            found = self._index.get(path)
            if found is None:
                return
            with self._giving_up(found[1]):
                self._database.commit(("DELETE FROM checkpoints WHERE path = ?", (path,)), flush=True)
            del self._index[path]
        self._writer.remove(found[1], f"{path}: {why}")

    def copy(self, source: str, meta: CheckpointMeta) -> None:
        """Keep the files of one checkpoint under another path too.

        Raises:
            CheckpointMissingError: there is no source.
            CheckpointExistsError: the path is taken.
        """
        _, folder = self._require(source)
        self._require_free(meta.path)
        try:
            linked = self._folders.link(meta, folder)
        except FileNotFoundError as error:
            raise CheckpointMissingError(f"there is no checkpoint {source}") from error
        self._put_in_place(meta, linked, overwrite=False)

    def pack(self, path: str, uid: str, target: Path) -> None:
        """Write a checkpoint's files into a tar.gz.

        Raises:
            CheckpointMissingError: there is none, or another uid.
            CheckpointDamagedError: it is not what was saved; the message names the file.
        """
        meta, folder = self._require(path, uid)
        try:
            with _damage_logged(path):
                write_archive(target, self._folders.files(folder, meta))
        except FileNotFoundError as error:
            raise CheckpointMissingError(f"there is no checkpoint {path}") from error

    def put_session(self, record: SessionRecord) -> None:
        """Keep a session's record; one that lives survives a kill when this returns, so that it can be missed then."""
        change = (_PUT_SESSION, (record.session_id, record.owner, _text(record)))
        if record.status == "active":
            self._database.commit(change)
        else:
            self._writer.note(change)

    def sessions(self) -> Sequence[SessionRecord]:
        """Return the records of all sessions."""
        rows = self._database.rows("SELECT record FROM sessions ORDER BY rowid")
        return [msgspec.json.decode(record, type=SessionRecord) for (record,) in rows]

    def forget_session(self, session_id: str) -> None:
        """Drop a session's record soon."""
        self._writer.note((_FORGET_SESSION, (session_id,)))

    def put_run(self, record: RunRecord) -> None:
        """Keep a training run's record; on disk soon, and before any checkpoint that is written later."""
        self._writer.note((_PUT_RUN, (record.run_id, record.owner, _text(record))))

    def runs(self) -> Sequence[RunRecord]:
        """Return the records of all training runs."""
        rows = self._database.rows("SELECT record FROM runs ORDER BY rowid")
        return [msgspec.json.decode(record, type=RunRecord) for (record,) in rows]

    def forget_run(self, run_id: str) -> None:
        """Drop a training run's record soon, unless it has checkpoints."""
        self._writer.note((_FORGET_RUN, (run_id,)))

    def keep_future(self, record: FutureRecord) -> None:
        """Keep a finished future; it survives a kill when this returns."""
        self._database.commit(record)

    def note_future(self, record: FutureRecord) -> None:
        """Keep a finished future soon."""
        self._writer.note(record)

    def find_future(self, request_id: str) -> FutureRecord | None:
        """Return a finished future."""
        return self._database.find_future(request_id)

    def find_number(self, model_id: str, seq_id: int) -> FutureRecord | None:
        """Return the finished future of a model's operation by its number."""
        return self._database.find_number(model_id, seq_id)

    def forget_result(self, request_id: str) -> None:
        """Drop a future's result."""
        self._database.commit(("UPDATE futures SET body = NULL WHERE request_id = ?", (request_id,)))

    def close(self) -> None:
        """Finish what is being written, and let another process open the store."""
        self._writer.close()
        try:
            self._database.close()
        except sqlite3.Error:
            _LOG.exception("what was noted last is not on disk")
        finally:
            self._lock_file.close()

    def _put_in_place(self, meta: CheckpointMeta, folder: Path, *, overwrite: bool) -> None:
        try:
            with self._lock:
                if not overwrite:
                    self._require_free(meta.path)
                replaced = self._index.get(meta.path)
                with self._giving_up(None if replaced is None else replaced[1]):
                    self._database.commit(self._listing(meta, folder), flush=True)
                self._index[meta.path] = (meta, folder)
        except BaseException:
            self._writer.remove(folder, f"{meta.path} could not be saved")
            raise
        self._folders.settle(folder)
        if replaced is not None:
            self._writer.remove(replaced[1], f"{meta.path} was saved anew")

    @contextlib.contextmanager
    def _giving_up(self, folder: Path | None) -> Iterator[None]:
        """Mark a folder, if there is one, for the time after the database has been changed; else it stays as it was."""
        if folder is None:
            yield
            return
        self._folders.give_up(folder)
        try:
            yield
        except BaseException:
            self._folders.settle(folder)
            raise

    def _listing(self, meta: CheckpointMeta, folder: Path) -> Change:
        run_id = ParsedCheckpointTinkerPath.from_tinker_path(meta.path).training_run_id
        return _PUT_CHECKPOINT, (meta.path, run_id, meta.owner, self._folders.place_of(folder), _text(meta))

    def _adopt(self, meta: CheckpointMeta, folder: Path) -> None:
        run = run_of(meta)
        changes = (_ADD_RUN, (run.run_id, run.owner, _text(run))), self._listing(meta, folder)
        self._database.commit(*changes, flush=True)
        self._index[meta.path] = (meta, folder)
        _LOG.warning("adopted %s from %s", meta.path, folder)

    def _require_free(self, path: str) -> None:
        if path in self._index:
            raise CheckpointExistsError(path)

    def _require(self, path: str, uid: str | None = None) -> tuple[CheckpointMeta, Path]:
        found = self._index.get(path)
        if found is None or uid not in (None, found[0].uid):
            raise CheckpointMissingError(f"there is no checkpoint {path}")
        return found

    def _listed(self) -> dict[str, tuple[CheckpointMeta, Path]]:
        """Return what the database lists and is there. What is not there stays listed, for it may come back."""
        index, gone = {}, []
        for path, place, record in self._database.rows("SELECT path, folder, record FROM checkpoints ORDER BY rowid"):
            folder = self._folders.at(place)
            if folder is None:
                gone.append(path)
            else:
                meta = msgspec.json.decode(record, type=CheckpointMeta)
                index[path] = (meta if meta.expires_at is None else self._with_latest_end(meta, folder), folder)
        if gone:
            _LOG.warning("the files of %d checkpoints are not there, e.g. of %s", len(gone), gone[0])
        return index

    def _with_latest_end(self, meta: CheckpointMeta, folder: Path) -> CheckpointMeta:
        """Return what is known, with the end that the folder tells of if that is later.

        A database that is an older copy must not end what was given more time since.
        """
        said = self._folders.described(folder)
        if said is None or (said.expires_at is not None and said.expires_at <= (meta.expires_at or 0)):
            return meta
        _LOG.warning("%s is kept for longer than the database says, which seems to be an older one", meta.path)
        return msgspec.structs.replace(meta, ttl_seconds=said.ttl_seconds, expires_at=said.expires_at)


def _text(record: CheckpointMeta | SessionRecord | RunRecord) -> str:
    return msgspec.json.encode(record).decode()


@contextlib.contextmanager
def _damage_logged(path: str) -> Iterator[None]:
    try:
        yield
    except CheckpointDamagedError as error:
        _LOG.error("%s: %s", path, error)
        raise


def _make_root(root: Path) -> None:
    """Make the data folder. If it is there, and nobody else keeps anything in it, it becomes private like a new one."""
    if not root.is_dir():
        root.mkdir(parents=True, mode=FOLDER_MODE)
    elif _OURS.issuperset(entry.name for entry in root.iterdir()):
        with contextlib.suppress(PermissionError):  # a volume, say, that belongs to another user
            root.chmod(FOLDER_MODE)


def _locked(path: Path) -> IO[bytes]:
    file = opened(path, "ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ConfigError(
            f"{path.parent} is in use by another server.", advice="Stop it, or choose another data directory."
        ) from error
    return file
