"""A local HTTP server that speaks the Hugging Face hub's protocol, with faults on demand.

Large files (``*.safetensors``, ``*.parquet``) are served as the hub serves them: the repository's
address answers with a redirect that states size and SHA-256, to another host that sends the bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

PREFIX = {"model": "", "dataset": "datasets/"}


@dataclass
class Fault:
    """What happens instead of an answer to requests whose line fits a pattern, `times` times.

    Either `status` (with `headers`) is answered, or the right answer goes wrong: its body is cut
    after `cut` bytes and the connection closed, or its first byte is `flip`ped.
    """

    pattern: str
    times: float = float("inf")
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    flip: bool = False


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
        self.base = f"http://127.0.0.1:{self.httpd.server_port}"
        self.elsewhere = f"http://localhost:{self.httpd.server_port}/store/"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
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
        body = answer.body
        if fault is not None and fault.flip and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        handler.send_response(answer.status)
        for key, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            handler.send_header(key, value)
        handler.end_headers()
        if handler.command == "GET":
            cut = fault.cut if fault is not None else None
            handler.wfile.write(body[:cut])
            handler.close_connection = handler.close_connection or cut is not None

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
