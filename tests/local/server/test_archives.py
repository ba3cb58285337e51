"""Archives over sockets: linked, downloaded in whole and in parts, made once for many."""

from __future__ import annotations

import asyncio
import io
import random
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from starlette.requests import Request

from tinker_actors.local import archiving, marks
from tinker_actors.local.archiving import Archives
from tinker_actors.local.core.keeping import CheckpointMissingError
from tinker_actors.local.core.requests.messages import Answer, Attachment

RANGES = 50


@pytest.fixture(scope="module")
def saved(server):
    """Two saved checkpoints of one model: their run and names, and a way to fetch links."""
    http = requests.Session()
    http.trust_env = False
    yield Saved(server.url, http)
    http.close()


class Saved:
    """Checkpoints of a model on a server."""

    def __init__(self, url: str, http: requests.Session) -> None:
        self.url, self.http = url, http
        session = self.post("create_session", {"tags": [], "sdk_version": "t"})["session_id"]
        made = {"session_id": session, "model_seq_id": 0, "base_model": "local/tiny", "lora_config": {"rank": 8}}
        self.model = self.result(self.post("create_model", made))["model_id"]
        self.count = 0

    def post(self, path, body):
        answer = self.http.post(f"{self.url}/api/v1/{path}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def result(self, accepted):
        for _ in range(100):
            said = self.post("retrieve_future", {"request_id": accepted["request_id"], "allow_metadata_only": False})
            if said.get("type") != "try_again":
                return said
        raise AssertionError("it is never decided")

    def save(self):
        """Save a checkpoint, and return its place below `training_runs`."""
        self.count += 1
        name = f"c{self.count}"
        self.result(self.post("save_weights", {"model_id": self.model, "seq_id": self.count, "path": name}))
        return f"{self.url}/api/v1/training_runs/{self.model}/checkpoints/weights/{name}"

    def link(self, place):
        answer = self.http.get(f"{place}/archive", allow_redirects=False, timeout=60)
        assert answer.status_code == 302
        return answer.headers["location"]


@pytest.fixture(scope="module")
def link(saved):
    return saved.link(saved.save())


@pytest.fixture(scope="module")
def whole(link):
    return requests.get(link, timeout=60)


def test_the_archive_is_a_tar_of_the_adapter(whole):
    assert whole.status_code == 200
    assert whole.headers["content-type"] == "application/gzip"
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == len(whole.content)
    with tarfile.open(fileobj=io.BytesIO(whole.content)) as tar:
        names = tar.getnames()
    assert {"adapter_model.safetensors", "adapter_config.json"} <= set(names)


def test_random_parts_put_together_are_the_whole(link, whole):
    chance = random.Random(1)
    size = len(whole.content)
    cuts = sorted(chance.sample(range(1, size), RANGES - 1))
    parts = list(zip([0, *cuts], [*cuts, size], strict=True))
    chance.shuffle(parts)
    found = bytearray(size)
    with requests.Session() as http:
        for start, end in parts:
            answer = http.get(link, headers={"range": f"bytes={start}-{end - 1}"}, timeout=60)
            assert answer.status_code == 206
            assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
            assert answer.headers["etag"] == whole.headers["etag"]
            assert int(answer.headers["content-length"]) == end - start
            found[start:end] = answer.content
    assert bytes(found) == whole.content


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"range": "bytes=10000000000-"}, 416),
        ({"range": "bytes=0-1,4-5"}, 206),
        ({"range": "bytes=" + "0-1," * 5000}, 200),
        ({"range": "bytes=2-1"}, 400),
        ({"range": "lines=0-1"}, 400),
        ({"range": "bytes=-5"}, 206),
        ({"range": "bytes=0-9", "if-range": '"another"'}, 200),
        ({"range": "bytes=0-9", "if-range": "ETAG"}, 206),
        ({"if-none-match": "ETAG"}, 304),
    ],
)
def test_what_else_a_request_may_ask_for(link, whole, headers, status):
    asked = {name: value.replace("ETAG", whole.headers["etag"]) for name, value in headers.items()}
    answer = requests.get(link, headers=asked, timeout=60)
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(whole.content)}"
    if status == 200:
        assert answer.content == whole.content
    if headers.get("range") == "bytes=0-1,4-5":
        assert answer.headers["content-type"].startswith("multipart/byteranges")
    if headers.get("range") == "bytes=-5":
        assert answer.content == whole.content[-5:]


def test_a_head_tells_the_size_and_sends_nothing(link, whole):
    answer = requests.head(link, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(len(whole.content))
    assert answer.content == b""


def test_who_follows_the_redirect_gets_the_archive(saved):
    answer = saved.http.get(f"{saved.save()}/archive", timeout=60)
    assert answer.status_code == 200
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert "adapter_model.safetensors" in tar.getnames()


def test_a_link_with_another_signature_is_refused(link):
    assert requests.get(f"{link}0", timeout=60).status_code == 403


def test_many_at_once_get_the_same_bytes(saved):
    link = saved.link(saved.save())
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda _: requests.get(link, timeout=60).content, range(16)))
    assert len(contents[0]) > 0
    assert all(content == contents[0] for content in contents)


def test_a_link_to_a_deleted_checkpoint_leads_nowhere(saved):
    place = saved.save()
    link = saved.link(place)
    assert requests.get(link, timeout=60).status_code == 200
    assert saved.http.delete(place, timeout=60).status_code == 200
    assert requests.get(link, timeout=60).status_code == 404


class CountingStore:
    """Packs what is asked for, unless it is told not to."""

    def __init__(self):
        self.packed = []
        self.error = None

    def pack(self, path, uid, target):
        if self.error is not None:
            raise self.error
        self.packed.append(uid)
        target.write_bytes(uid.encode())


SCOPE = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}


async def response_to(archives, uid):
    return await archives.respond(Answer(200, b""), Attachment("tinker://a/weights/b", uid, "b"), Request(SCOPE))


async def sent(archives, uid):
    return await played(await response_to(archives, uid))


async def played(response):
    messages = []

    async def send(message):
        messages.append(message)

    await response(SCOPE, None, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages)


def test_archives_are_made_once_and_the_ones_asked_for_longest_ago_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(archiving, "KEPT", 2)
    store = CountingStore()

    async def scenario():
        archives = Archives(store, tmp_path)
        for uid in ("a", "b", "a", "c", "a", "b"):
            assert await sent(archives, uid) == (200, uid.encode())
        assert sorted(path.name for path in tmp_path.rglob("*.tar.gz")) == ["a.tar.gz", "b.tar.gz"]
        archives.close()

    asyncio.run(scenario())
    assert store.packed == ["a", "b", "c", "b"]
    assert not list(tmp_path.iterdir())


def test_an_archive_that_somebody_removed_is_made_again(tmp_path):
    store = CountingStore()

    async def scenario():
        archives = Archives(store, tmp_path)
        await sent(archives, "a")
        next(tmp_path.rglob("a.tar.gz")).unlink()
        assert await sent(archives, "a") == (200, b"a")

    asyncio.run(scenario())
    assert store.packed == ["a", "a"]


def test_archives_being_sent_are_not_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(archiving, "KEPT", 1)

    async def scenario():
        archives = Archives(CountingStore(), tmp_path)
        slow = await response_to(archives, "a")
        for uid in "bcd":
            assert await sent(archives, uid) == (200, uid.encode())
        assert await played(slow) == (200, b"a")
        await sent(archives, "e")
        assert [path.name for path in tmp_path.rglob("*.tar.gz")] == ["e.tar.gz"]

    asyncio.run(scenario())


def test_archives_of_a_killed_server_go_and_nobody_elses_do(tmp_path, caplog):
    async def left():
        await sent(Archives(CountingStore(), tmp_path), "a")

    asyncio.run(left())
    (ours,) = tmp_path.iterdir()
    for name in ("archives", "archives-of-mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old.tar.gz").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / marks.NAME).write_bytes(marks.CONTENT)
    (tmp_path / "elsewhere" / "b.tar.gz").write_text("mine")
    (tmp_path / "archives-link").symlink_to(tmp_path / "elsewhere")

    async def started():
        Archives(CountingStore(), tmp_path).close()

    asyncio.run(started())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "archives", "archives-link", "archives-of-mine", "elsewhere",
    ]  # fmt: skip
    assert sorted(path.read_text() for path in tmp_path.rglob("*.tar.gz")) == ["mine"] * 3
    assert str(ours) in caplog.text


def test_a_temporary_folder_goes_when_the_archives_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def scenario():
        archives = Archives(CountingStore(), None)
        await sent(archives, "a")
        return archives

    archives = asyncio.run(scenario())
    assert len(list(tmp_path.iterdir())) == 1
    archives.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"), [(CheckpointMissingError("gone meanwhile"), 404), (OSError(28, "No space left"), 503)]
)
def test_an_archive_that_can_not_be_made_is_said_so(tmp_path, caplog, error, status):
    store = CountingStore()
    store.error = error

    async def scenario():
        archives = Archives(store, tmp_path)
        assert (await sent(archives, "a"))[0] == status
        store.error = None
        assert await sent(archives, "a") == (200, b"a")

    asyncio.run(scenario())
    assert ("can't be packed" in caplog.text) is (status == 503)
