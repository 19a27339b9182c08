"""What scripts that ask are tested against: a server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from tests.unit.workload.rendering import Rendered, systemd


def probe(**fields: Any) -> Rendered:
    return systemd(unit="[Service]\nExecStart=/bin/x\n", readinessProbe=fields)


@dataclass
class Web:
    """An HTTP server on loopback; `moved` maps a path to where it is now."""

    status: int = 200
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0


@contextmanager
def web(
    status: int = 200, moved: dict[str, str] | None = None, at: str = "127.0.0.1"
) -> Iterator[Web]:
    this = Web(status, moved or {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen = (self.headers[name] for name in ("Host", "X-A", "User-Agent"))
            this.asked.append(" ".join([self.path, *map(str, seen)]))
            if target := this.moved.get(self.path):
                self.send_response(302)
                self.send_header("Location", target)
            else:
                self.send_response(this.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer((at, 0), Handler) as server:
        this.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield this
        finally:
            server.shutdown()
            thread.join()
