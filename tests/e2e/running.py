"""`fleetd run` as a process on the fleet's network, and what its log tells while it runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import yaml

from tests.e2e.admin import FLEETD, Admin

DAY = 86400


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; `at` in seconds of the clock that `time.time()` tells."""

    name: str
    at: float
    fields: Mapping[str, Any]

    @property
    def node(self) -> str:
        return str(self.fields.get("node", ""))

    @property
    def why(self) -> str:
        return str(self.fields.get("why", ""))


@dataclass
class Running:
    """A service, and all that it has said so far."""

    process: Popen[str]
    log: Path
    """Where all of it is kept, for people."""
    events: list[Event] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    """What is no line of the log."""
    more: threading.Condition = field(default_factory=threading.Condition)

    def read(self) -> None:
        """Take the log as it comes, to its end."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.log.open("a") as log:
                log.write(line)
            with self.more:
                try:
                    fields = json.loads(line)
                    at = datetime.fromisoformat(fields.pop("timestamp")).timestamp()
                    self.events.append(Event(fields.pop("event"), at, fields))
                except (ValueError, KeyError):
                    self.other.append(line)
                self.more.notify_all()

    def since(self, at: float, node: str = "") -> list[Event]:
        """What was said after that moment, about one node only when it is named."""
        with self.more:
            return [event for event in self.events if event.at >= at and node in {"", event.node}]

    def wait(
        self, wanted: Callable[[Event], bool], what: str, *, since: float = 0.0, timeout: float = 60
    ) -> Event:
        """The first such event after a moment; fails when it does not come."""
        until = time.monotonic() + timeout
        at = 0
        with self.more:
            while True:
                for event in self.events[at:]:
                    if event.at >= since and wanted(event):
                        return event
                at = len(self.events)
                left = until - time.monotonic()
                if left <= 0 or (not self.more.wait(left) and self.process.poll() is not None):
                    break
            said = [event for event in self.events if event.at >= since][-40:]
        told = "\n".join(map(str, said)) + "".join(self.other[-20:])
        raise AssertionError(f"still waiting for {what}; it ended {self.process.poll()}\n{told}")

    def state(self, node: str, state: str, *, since: float = 0.0, timeout: float = 60) -> Event:
        """Wait until a node is watched so."""
        return self.wait(
            lambda event: (
                event.name == "stream" and event.node == node and event.fields["state"] == state
            ),
            f"the stream of {node} to be {state}",
            since=since,
            timeout=timeout,
        )

    def done(self, node: str, *, since: float, timeout: float = 60) -> Event:
        """Wait until something was done on a node, and done well."""
        return self.wait(
            lambda event: (
                event.name == "action_ended"
                and event.node == node
                and event.fields["outcome"] == "done"
            ),
            f"an action on {node}",
            since=since,
            timeout=timeout,
        )


@contextmanager
def service(admin: Admin, **settings: Any) -> Iterator[Running]:
    """Run the service over an admin's state, with its whole log, until the end of the block.

    Unless told otherwise nothing is looked at but for a reason.
    """
    config = admin.directory / "fleetd.yaml"
    asked = {"fullLookSeconds": DAY, "pollSeconds": DAY, "logFormat": "json", **settings}
    config.write_text(yaml.safe_dump({"service": asked}))
    argv = admin.argv("run")
    argv[argv.index(str(FLEETD)) + 1 : 1] = ["--config", str(config), "--debug"]
    process = admin.fleet.start_coordinator(argv, env=admin.env, cwd=admin.directory)
    running = Running(process, admin.directory / "service.log")
    reader = threading.Thread(target=running.read, daemon=True)
    reader.start()
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(30)
        finally:
            running.process.kill()
            reader.join(10)
            for pipe in (running.process.stdout, running.process.stderr):
                if pipe is not None:
                    pipe.close()
