"""A model hub on this machine, of the few answers that huggingface_hub asks for when it uploads and downloads a folder.

One owner, ``me``, by one token. Files ending in .safetensors go by LFS, the others within the commit.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

OWNER, TOKEN = "me", "hf_fake"


@dataclass
class Repository:
    """One of the hub's.

    Attributes:
        private: only its owner sees it.
        commits: all its files by name, after each commit, by the commit's number.
    """

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def newest(self) -> dict[str, bytes]:
        return next(reversed(self.commits.values()), {})

    def commit(self, files: dict[str, bytes]) -> str:
        number = hashlib.sha1(repr(sorted(files.items())).encode() + bytes(len(self.commits))).hexdigest()
        self.commits[number] = files
        return number


@dataclass
class FakeHub:
    """What it holds and what it was asked.

    Attributes:
        address: where it is.
        repositories: by OWNER/NAME.
        blobs: what was uploaded by LFS, by its SHA-256.
        asked: method and path of each request.
        broken: requests whose path this is found in are answered by this status.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)


class RefusedError(Exception):
    """The answer is no: a status, and the code that tells the client why."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code


@contextlib.contextmanager
def running() -> Iterator[FakeHub]:
    """A hub that is there meanwhile."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            for part, status in self.hub.broken.items():
                if part in path:
                    raise RefusedError(status)
            for pattern, answer in _ROUTES:
                if found := re.fullmatch(pattern, f"{self.command} {path}"):
                    return answer(self, **found.groupdict())
            raise RefusedError(404)
        except RefusedError as refused:
            self._send(b"{}", status=refused.status, headers={"X-Error-Code": refused.code})

    # ---- answers

    def _create(self) -> None:
        asked = self._json()
        if not self._owner:
            raise RefusedError(401)
        if asked["organization"] != OWNER:
            raise RefusedError(403)
        name = f"{OWNER}/{asked['name']}"
        there = name in self.hub.repositories
        if not there:
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            self.hub.repositories[name] = Repository(private)
        self._send_json({"url": f"{self.hub.address}/{name}"}, status=409 if there else 200)

    def _valid(self) -> None:
        self._send_json({"errors": [], "warnings": []})

    def _modes(self, name: str) -> None:
        self._written(name)
        files = [
            {"path": each["path"], "uploadMode": "lfs" if _by_lfs(each["path"]) else "regular", "shouldIgnore": False}
            for each in self._json()["files"]
        ]
        self._send_json({"files": files})

    def _batch(self, name: str) -> None:
        self._written(name)
        places = [
            each if each["oid"] in self.hub.blobs else {**each, "actions": {"upload": self._place(each["oid"])}}
            for each in self._json()["objects"]
        ]
        self._send_json({"transfer": "basic", "objects": places})

    def _place(self, oid: str) -> dict[str, str]:
        # Large files lie on another host, which is not told the token.
        return {"href": f"{self.hub.address.replace('127.0.0.1', 'localhost')}/blobs/{oid}"}

    def _put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid or "Authorization" in self.headers:
            raise RefusedError(400)
        self.hub.blobs[oid] = self.body
        self._send(b"")

    def _commit(self, name: str) -> None:
        repository = self._written(name)
        files = dict(repository.newest)
        for line in map(json.loads, self.body.splitlines()):
            told = line["value"]
            if line["key"] == "file":
                files[told["path"]] = base64.b64decode(told["content"])
            elif line["key"] == "lfsFile":
                files[told["path"]] = self.hub.blobs[told["oid"]]
            elif line["key"] == "deletedFile":
                del files[told["path"]]
        number = repository.commit(files)
        self._send_json({"commitUrl": f"{self.hub.address}/{name}/commit/{number}", "commitOid": number})

    def _info(self, name: str, revision: str = "main") -> None:
        number, files = self._at(name, revision)
        self._send_json({"id": name, "sha": number, "siblings": [{"rfilename": path} for path in files]})

    def _tree(self, name: str, revision: str) -> None:
        _, files = self._at(name, revision)
        self._send_json([{"type": "file", "path": path, **_facts(path, held)} for path, held in files.items()])

    def _file(self, name: str, revision: str, path: str) -> None:
        number, files = self._at(name, revision)
        if path not in files:
            raise RefusedError(404, "EntryNotFound")
        headers = {"ETag": f'"{_facts(path, files[path])["oid"]}"', "X-Repo-Commit": number}
        if _by_lfs(path):
            oid = hashlib.sha256(files[path]).hexdigest()
            headers |= {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(files[path]))}
            return self._send(b"", status=302, headers={**headers, "Location": self._place(oid)["href"]})
        self._send(files[path], headers=headers)

    def _blob(self, oid: str) -> None:
        if "Authorization" in self.headers:
            raise RefusedError(400)
        self._send(self.hub.blobs[oid])

    # ---- rights

    @property
    def _owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _seen(self, name: str) -> Repository:
        """A repository, for whoever asks; one that is hidden from him is not there."""
        found = self.hub.repositories.get(name)
        if found is None or (found.private and not self._owner):
            raise RefusedError(404 if self._owner else 401, "RepoNotFound")
        return found

    def _written(self, name: str) -> Repository:
        found = self._seen(name)
        if not self._owner:
            raise RefusedError(403)
        return found

    def _at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        commits = self._seen(name).commits
        number = next(reversed(commits), "0" * 40) if revision == "main" else revision
        if revision != "main" and revision not in commits:
            raise RefusedError(404, "RevisionNotFound")
        return number, commits.get(number, {})

    # ---- sent

    def _json(self) -> Any:
        return json.loads(self.body)

    def _send_json(self, told: object, *, status: int = 200) -> None:
        self._send(json.dumps(told).encode(), status=status, headers={"Content-Type": "application/json"})

    def _send(self, body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


_NAME = r"(?P<name>[^/]+/[^/]+)"
_ROUTES = (
    ("POST /api/repos/create", _Answers._create),
    ("POST /api/validate-yaml", _Answers._valid),
    (f"POST /api/models/{_NAME}/preupload/main", _Answers._modes),
    (f"POST /{_NAME}\\.git/info/lfs/objects/batch", _Answers._batch),
    ("PUT /blobs/(?P<oid>[0-9a-f]{64})", _Answers._put),
    (f"POST /api/models/{_NAME}/commit/main", _Answers._commit),
    (f"GET /api/models/{_NAME}", _Answers._info),
    (f"GET /api/models/{_NAME}/revision/(?P<revision>[^/]+)", _Answers._info),
    (f"GET /api/models/{_NAME}/tree/(?P<revision>[^/]+)", _Answers._tree),
    (f"(?:GET|HEAD) /{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Answers._file),
    ("(?:GET|HEAD) /blobs/(?P<oid>[0-9a-f]{64})", _Answers._blob),
)


def _by_lfs(path: str) -> bool:
    return path.endswith(".safetensors")


def _facts(path: str, held: bytes) -> dict[str, Any]:
    """What a listing says of a file."""
    told: dict[str, Any] = {"size": len(held), "oid": hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()}
    if _by_lfs(path):
        told["lfs"] = {"oid": hashlib.sha256(held).hexdigest(), "size": len(held), "pointerSize": 130}
    return told
