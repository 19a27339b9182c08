"""Published manifests run as they are: each is started, and what runs is compared field by field.

`MANIFESTS=DIR` takes the files of another directory. All files share a few hosts, which take the
next one as they become free; a file's test is the reading of its outcome. A table of all outcomes
is left in build/manifests.txt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Literal, cast, get_args

import pytest

from tests.e2e.lab import Fleet, Host, HostSpec
from tests.e2e.manifests.course import Outcome, run_on
from tests.e2e.manifests.images import images_of
from tests.e2e.manifests.manifest import Manifest
from tests.e2e.manifests.report import table
from tests.e2e.manifests.yard import Yard

pytestmark = pytest.mark.timeout(900)

Engine = Literal["podman", "docker"]
Chosen = tuple[Engine, str]
Outcomes = Mapping[Chosen, Future[Outcome]]

#: Our own, which use every field there is, and what guides show.
OWN: Final = ("tests/e2e/manifests/own", "tests/unit/documents/guides")
REPORT: Final = Path(__file__).parents[2] / "build" / "manifests.txt"
#: How many hosts of each engine take manifests.
HOSTS: Final[Mapping[Engine, int]] = {"podman": 4, "docker": 3}


def files() -> dict[str, Path]:
    """The files of the directories and of those below them, by their path in it."""
    root = Path(__file__).parents[2]
    asked = os.environ.get("MANIFESTS")
    tops = [Path(asked).absolute()] if asked else [root / each for each in OWN]
    found = {str(path.relative_to(top)): path for top in tops for path in top.rglob("*.y*ml")}
    return dict(sorted(found.items()))


FILES: Final = files()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """Every chosen file on every chosen engine, under way."""
    chosen: set[Chosen] = {
        (cast("Engine", item.callspec.params["engine"]), str(item.callspec.params["file"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_it_runs_as_asked"
    }
    manifests = {file: Manifest.read(FILES[file]) for _, file in chosen}
    images = images_of(manifests.values())
    specs = [
        HostSpec(f"{engine}-{number}", runtime=engine, curl=True)
        for engine, most in HOSTS.items()
        for number in range(min(most, sum(each == engine for each, _ in chosen)))
    ]
    with Fleet(specs) as fleet, ThreadPoolExecutor(len(specs)) as pool, Yard(fleet, images):
        free: dict[str, SimpleQueue[Host]] = {engine: SimpleQueue() for engine in HOSTS}
        for host in fleet.hosts.values():
            free[host.spec.runtime].put(host)

        def run(engine: Engine, file: str) -> Outcome:
            host = free[engine].get()
            try:
                return run_on(fleet, host, manifests[file], images)
            finally:
                free[engine].put(host)

        by_file = sorted(chosen, key=lambda each: each[1])
        started = {each: pool.submit(run, *each) for each in by_file}
        yield started
        done = [each.result() for each in started.values() if each.done()]
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(table(done))


@pytest.mark.parametrize("engine", get_args(Engine))
@pytest.mark.parametrize("file", FILES)
def test_it_runs_as_asked(outcomes: Outcomes, engine: Engine, file: str) -> None:
    outcome = outcomes[engine, file].result()
    if outcome.skipped:
        # The lab's docker is old, and the table says what it cannot run: podman has to run it.
        assert engine == "docker", outcome.skipped
        assert not outcomes["podman", file].result().skipped
        return
    if outcome.problems:
        pytest.fail("\n".join([f"{file} on {engine}:", *outcome.problems]), pytrace=False)
