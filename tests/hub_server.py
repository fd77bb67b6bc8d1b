"""A local HTTP server that speaks the Hugging Face hub's protocol, with faults on demand.

Large files (``*.safetensors``, ``*.parquet``) are served as the hub serves them: the repository's
address answers with a redirect that states size and SHA-256, to another host that sends the bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos2_attention.errors import InputError
from study.config.datasets import HubDataset, SourceFile, UrlDataset
from study.data import download

PREFIX = {"model": "", "dataset": "datasets/"}


@dataclass
class Fault:
    """What happens instead of an answer to requests whose line fits a pattern, `times` times.

    Either `status` (with `headers`) is answered, or the right answer goes wrong: `headers` and
    `body` take the place of its own, its body is cut after `cut` bytes and the connection closed,
    or its first byte is `flip`ped. `manner` is a way of sending it, see `HubServer.send`.
    """

    pattern: str
    times: float = float("inf")
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    flip: bool = False
    manner: str = ""


def _statuses() -> dict[str, dict]:
    statuses = (400, 401, 403, 404, 408, 410, 416, 418, 425, 429, 500, 502, 503, 504)
    faults = {f"status {status}": {"status": status} for status in statuses}
    for status in (408, 429, 503):
        headers = {"Retry-After": "86400", "ratelimit": '"api";r=0;t=86400'}
        faults[f"status {status}, come back tomorrow"] = {"status": status, "headers": headers}
    for code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"):
        faults[code] = {"status": 404, "headers": {"X-Error-Code": code}}
    return faults


def _headers(**headers: str) -> dict[str, dict]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"headers": named}


# Everything that a server does wrong, as arguments of `Fault`.
FAULTS: dict[str, dict] = {
    **_statuses(),
    "redirect to itself": {"status": 302, "manner": "to itself"},
    "redirect to nobody": {"status": 302, **_headers(Location="http://127.0.0.1:9/x")},
    "redirect to a file": {"status": 302, **_headers(Location="file:///etc/passwd")},
    "redirect to no address": {"status": 302, **_headers(Location="http://[x")},
    "redirect without end": {
        **_headers(Location="http://127.0.0.1:9/x"),
        "status": 302,
        "manner": "without end",
    },
    "silence": {"manner": "silent"},
    "silence midway": {"manner": "silent midway"},
    "hangs up": {"manner": "hang up"},
    "no HTTP": {"manner": "no HTTP"},
    "first lines that trickle": {"manner": "slow lines"},
    "body that trickles": {"manner": "slow body"},
    "body without end": {"manner": "without end"},
    "compressed body without end": {"manner": "compressed without end"},
    "cut at once": {"cut": 0},
    "cut midway": {"cut": 60},
    "one byte flipped": {"flip": True},
    "empty body": {"body": b""},
    "login page": {"body": b"<html>Please log in</html>"},
    "JSON of another kind": {"body": b"[1]"},
    "JSON null": {"body": b"null"},
    "JSON without end of nesting": {"body": b"[" * 200_000},
    "JSON without files": {"body": b'{"id": "group/sets", "sha": null}'},
    "commit that is a path": {"body": b'{"id": "group/sets", "sha": "../../x", "siblings": []}'},
    "ETag up the tree": _headers(ETag='"../../../../x"', X_Linked_Etag='"../../../../x"'),
    "ETag with a slash": _headers(ETag='"a/b"', X_Linked_Etag='"a/b"'),
    "ETag of dots": _headers(ETag='".."', X_Linked_Etag='".."'),
    "X-Repo-Commit up the tree": _headers(X_Repo_Commit="../../../../x"),
    "no ETag": _headers(ETag="", X_Linked_Etag=""),
    "no X-Repo-Commit": _headers(X_Repo_Commit=""),
}


@dataclass
class Repository:
    kind: str
    name: str
    commit: str
    files: dict[str, bytes]
    gated: bool = False


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".parquet"))


def blob_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class HubServer:
    """Serve repositories and plain files; use it as a context manager.

    Attributes
    ----------
    base:
        Address, for ``HF_ENDPOINT``.
    asked:
        Request lines with their ``Range``, in order: ``GET /x.csv``, ``GET /x.csv bytes=5-``.
    faults:
        Tried in order; the first that fits and is not spent applies.
    files:
        Path to bytes of files outside any repository.
    """

    def __init__(self) -> None:
        self.repositories: list[Repository] = []
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.over = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.respond(self)

            do_HEAD = do_GET

            def log_message(self, *args) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.handle_error = lambda *_: None  # a client that has had enough
        self.base = f"http://127.0.0.1:{self.httpd.server_port}"
        self.elsewhere = f"http://localhost:{self.httpd.server_port}/store/"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.over.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def add(self, kind: str, name: str, commit: str, files: dict[str, bytes]) -> Repository:
        self.repositories.append(Repository(kind, name, commit, files))
        return self.repositories[-1]

    def fetched(self, name: str) -> list[str]:
        """Requests for the bytes of a repository's file or a plain one."""
        bodies = {sha256(repo.files[name]) for repo in self.repositories if name in repo.files}
        return [
            line
            for line in self.asked
            if line.startswith("GET")
            and ("/resolve/" in line or "/api/" not in line)
            and (name in line or any(digest in line for digest in bodies))
        ]

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        wanted = handler.headers.get("Range")
        line = f"{handler.command} {path}"
        self.asked.append(f"{line} {wanted}" if wanted else line)
        fault = next((f for f in self.faults if f.times > 0 and re.search(f.pattern, line)), None)
        if fault is not None:
            fault.times -= 1
        if fault is not None and fault.status is not None:
            answer = Answer(fault.status, dict(fault.headers))
        else:
            answer = _ranged(self.answer(path), wanted)
        if fault is None:
            fault = Fault("")
        body = answer.body if fault.body is None else fault.body
        if fault.flip and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send(handler, fault, Answer(answer.status, {**answer.headers, **fault.headers}, body))

    def send(self, handler: BaseHTTPRequestHandler, fault: Fault, answer: Answer) -> None:
        """Send an answer in the manner of a fault; each ends when the client or the test does."""
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        if fault.manner == "to itself":
            headers["Location"] = handler.path
        endless = fault.manner.endswith("without end")
        if endless:
            del headers["Content-Length"]
            headers |= {"Content-Encoding": "gzip"} if "compressed" in fault.manner else {}
        handler.close_connection = bool(fault.manner) or fault.cut is not None
        if fault.manner in ("silent", "hang up", "no HTTP"):
            if fault.manner == "silent":
                self.over.wait()
            elif fault.manner == "no HTTP":
                handler.wfile.write(b"220 ready\r\n" * 1000)
            return
        handler.send_response(answer.status)
        for key, value in headers.items():
            if value:
                handler.send_header(key, value)
        if fault.manner == "slow lines":
            lines = b"".join(handler._headers_buffer) + b"X-More: 1\r\n" * 10_000
            return self._trickle(handler, lines)
        handler.end_headers()
        if handler.command != "GET":
            return
        if endless:
            block = bytes(1 << 16)
            if "compressed" in fault.manner:
                packer = zlib.compressobj(wbits=31)
                block = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_SYNC_FLUSH)
            while not self.over.is_set():
                handler.wfile.write(block)
        elif fault.manner == "slow body":
            self._trickle(handler, answer.body)
        elif fault.manner == "silent midway":
            handler.wfile.write(answer.body[: len(answer.body) // 2])
            self.over.wait()
        else:
            handler.wfile.write(answer.body[: fault.cut])

    def _trickle(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        for number in body:
            handler.wfile.write(bytes([number]))
            if self.over.wait(0.02):
                break

    def answer(self, path: str) -> Answer:
        if path.startswith("/store/"):
            digest = path.removeprefix("/store/")
            for repo in self.repositories:
                for body in repo.files.values():
                    if sha256(body) == digest:
                        return Answer(body=body, headers={"ETag": f'"{digest}"'})
        if path.lstrip("/") in self.files:
            return Answer(body=self.files[path.lstrip("/")])
        for repo in self.repositories:
            if path.startswith(f"/api/{repo.kind}s/{repo.name}/revision/"):
                return self.information(repo, path.rpartition("/revision/")[2])
            if path.startswith(f"/api/{repo.kind}s/{repo.name}/tree/"):
                return self.tree(repo)
            place = f"/{PREFIX[repo.kind]}{repo.name}/resolve/"
            if path.startswith(place):
                revision, _, name = path.removeprefix(place).partition("/")
                return self.file(repo, revision, name)
        return Answer(404, {"X-Error-Code": "RepoNotFound"})

    def information(self, repo: Repository, revision: str) -> Answer:
        if revision not in ("main", repo.commit):
            return Answer(404, {"X-Error-Code": "RevisionNotFound"})
        siblings = []
        for name, body in repo.files.items():
            entry = {"rfilename": name, "size": len(body), "blobId": blob_sha1(body)}
            if is_large(name):
                entry["lfs"] = {"sha256": sha256(body), "size": len(body), "pointerSize": 134}
            siblings.append(entry)
        record = {"id": repo.name, "sha": repo.commit, "siblings": siblings}
        return Answer(
            headers={"Content-Type": "application/json"}, body=json.dumps(record).encode()
        )

    def tree(self, repo: Repository) -> Answer:
        entries = []
        for name, body in repo.files.items():
            entry = {"type": "file", "path": name, "size": len(body), "oid": blob_sha1(body)}
            if is_large(name):
                entry["lfs"] = {"oid": sha256(body), "size": len(body), "pointerSize": 134}
            entries.append(entry)
        return Answer(
            headers={"Content-Type": "application/json"}, body=json.dumps(entries).encode()
        )

    def file(self, repo: Repository, revision: str, name: str) -> Answer:
        if repo.gated:
            return Answer(401, {"X-Error-Code": "GatedRepo"})
        if revision not in ("main", repo.commit):
            return Answer(404, {"X-Error-Code": "RevisionNotFound"})
        headers = {"X-Repo-Commit": repo.commit}
        if name not in repo.files:
            return Answer(404, {"X-Error-Code": "EntryNotFound", **headers})
        body = repo.files[name]
        if is_large(name):
            headers |= {
                "X-Linked-Etag": f'"{sha256(body)}"',
                "X-Linked-Size": str(len(body)),
                "Location": f"{self.elsewhere}{sha256(body)}",
            }
            return Answer(302, headers)
        return Answer(headers={"ETag": f'"{blob_sha1(body)}"', **headers}, body=body)


def _ranged(answer: Answer, wanted: str | None) -> Answer:
    match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
    if match is None or answer.status != 200:
        return answer
    start, total = int(match.group(1)), len(answer.body)
    if start >= total:
        return Answer(416, {"Content-Range": f"bytes */{total}"})
    headers = {**answer.headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}
    return Answer(206, headers, answer.body[start:])


# --- what the tests put on it -------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOBODY = "http://127.0.0.1:9"
DATA = HubDataset("m", repo="group/sets", config="m")
FIRST, SECOND = "m/train-00000-of-00002.parquet", "m/train-00001-of-00002.parquet"
CSV = b"date,y,z\n2020-01-01 00:00:00,1.5,4\n2020-01-01 01:00:00,,5\n2020-01-01 02:00:00,3,6\n"


def shard(*ids: str) -> bytes:
    days = [[datetime(2020, 1, day) for day in (1, 2, 3)]] * len(ids)
    table = pa.table(
        {
            "id": list(ids),
            "timestamp": days,
            "target": [[1.0, 2.0, 3.0]] * len(ids),
            "category": ["c"] * len(ids),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def waits(monkeypatch):
    """Record the waits between attempts instead of waiting."""
    waited = []
    monkeypatch.setattr(download.time, "sleep", waited.append)
    return waited


@pytest.fixture
def server():
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(server, tmp_path, checkpoint_dir, monkeypatch):
    """A hub with a data set and a small model, code and pickles beside them; an empty cache."""
    server.add(
        "dataset",
        "group/sets",
        COMMIT,
        {
            "README.md": b"sets",
            FIRST: shard("b", "c"),
            SECOND: shard("a"),
            "m/old/train-00000-of-00001.parquet": shard("y"),
            "other/train-00000-of-00001.parquet": shard("z"),
            "sets.py": b"raise SystemExit('remote code was run')",
        },
    )
    server.add(
        "model",
        "group/tiny",
        COMMIT,
        {
            "config.json": (checkpoint_dir / "config.json").read_bytes(),
            "model.safetensors": (checkpoint_dir / "model.safetensors").read_bytes(),
            "pytorch_model.bin": b"a pickle",
            "modeling_chronos.py": b"raise SystemExit('remote code was run')",
        },
    )
    monkeypatch.setenv("HF_ENDPOINT", server.base)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return server


def url_spec(base: str, **checksum: str) -> UrlDataset:
    checksum = checksum or {"sha256": sha256(CSV)}
    files = (SourceFile("one", "one.csv", f"{base}/one.csv", **checksum),)
    return UrlDataset("d", folder="box", files=files, timestamp="date", targets=("y", "z"))


@pytest.fixture
def csv(server):
    server.files["one.csv"] = CSV
    return server


def refused(action, *words: str) -> str:
    """Run what must fail with one line that holds all of these words, and return the line."""
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    return text
