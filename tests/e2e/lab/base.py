"""The disk images that hosts start from, one a release, built once a machine by `base.sh`.

Cached under $FLEETD_LAB_CACHE or /var/cache/fleetd-lab by release and the hash of the recipe. An
image is built under a temporary name and renamed, so that a name that exists is complete; a file
lock makes the second of two runs wait for the first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

from tests.e2e.lab.machine import LabError, locked, run

Release = Literal["bullseye", "bookworm", "trixie", "focal", "jammy"]
RELEASES: Final = get_args(Release)
RECIPE: Final = Path(__file__).with_name("base.sh")


def usual() -> Release:
    """What hosts are installed with where a test does not say: $FLEETD_LAB_RELEASE or Debian 12."""
    named = os.environ.get("FLEETD_LAB_RELEASE", "bookworm")
    if named not in RELEASES:
        raise LabError(f"FLEETD_LAB_RELEASE is {named!r}, none of {', '.join(RELEASES)}")
    return cast("Release", named)


def cache() -> Path:
    return Path(os.environ.get("FLEETD_LAB_CACHE", "/var/cache/fleetd-lab"))


@dataclass(frozen=True, slots=True)
class Base:
    """A complete image: `root` is only ever a lower layer and never written to again."""

    root: Path

    @classmethod
    def built(cls, release: Release = "bookworm") -> Base:
        """The image of a release by the present recipe, built now when there is none."""
        key = hashlib.sha256(RECIPE.read_bytes()).hexdigest()[:12]
        store = cache()
        store.mkdir(parents=True, exist_ok=True)
        final = store / f"base-{release}-{key}"
        with locked(store / f"lock-{release}"):
            if not final.exists():
                _build(final, release)
        return cls(final)


def _build(final: Path, release: Release) -> None:
    building = final.with_suffix(".building")
    log = final.with_suffix(".log")
    print(f"lab: building {final} (about two minutes, once; log in {log})", file=sys.stderr)
    shutil.rmtree(building, ignore_errors=True)
    script = 'exec sh "$0" "$1" "$2" >"$3" 2>&1'
    try:
        run(
            ["unshare", "--mount", "sh", "-c", script, RECIPE, building, release, log], timeout=1200
        )
    except LabError:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise LabError(f"the base image cannot be built; the end of {log}:\n{tail}") from None
    building.rename(final)
