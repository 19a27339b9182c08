"""A registry that serves a directory over HTTP, to be pulled from and nothing else.

    python registry.py DIRECTORY ADDRESS PORT...

DIRECTORY/manifests/REPOSITORY/TAG holds a digest, DIRECTORY/blobs/DIGEST its bytes. A program of
its own, since it has to run on the fleet's network; files may be added while it runs.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


class Registry(BaseHTTPRequestHandler):
    """Answers `GET` and `HEAD` of manifests and blobs."""

    protocol_version = "HTTP/1.1"
    directory: Path

    def do_GET(self) -> None:  # the names are http.server's
        words = self.path.partition("?")[0].strip("/").split("/")
        if words == ["v2"]:
            return self._send(200, b"{}", "application/json")
        found = self._find("/".join(words[1:-2]), words[-2], words[-1]) if len(words) > 3 else None
        if found is None:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": f"no {self.path}"}]}
            return self._send(404, json.dumps(error).encode(), "application/json")
        kind = MANIFEST if words[-2] == "manifests" else "application/octet-stream"
        return self._send(200, found.read_bytes(), kind, found.name)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _find(self, repository: str, what: str, reference: str) -> Path | None:
        tag = self.directory / "manifests" / repository / reference
        if what == "manifests" and tag.is_file():
            reference = tag.read_text()
        blob = self.directory / "blobs" / reference
        return blob if blob.is_file() else None

    def _send(self, code: int, body: bytes, kind: str, digest: str = "") -> None:
        self.send_response(code)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    directory, address, *ports = sys.argv[1:]
    Registry.directory = Path(directory)
    servers = [ThreadingHTTPServer((address, int(port)), Registry) for port in ports]
    for server in servers[1:]:
        Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
