"""What became of the actions that were tried, and so when each may be tried again.

By node, DaemonSet, kind of action and revision. A failure, or a thing that is put right again and
again and does not stay so, is tried at longer and longer intervals, for ever: the world may mend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from fleetd.core.actions import Action, Start
from fleetd.core.meta import Key
from fleetd.engine.executor import Outcome, Step
from fleetd.engine.passes import Place, place_of
from fleetd.engine.queue import Backoff, Ramp, Try
from fleetd.ports import Clock

AGAIN = Backoff(2.0, 300.0)
"""Between two tries of an action that failed."""
STARTS = Backoff(0.5, 60.0)
"""Between two tries of a DaemonSet's starts, while none of them has gone well."""
REPEATS = 5
"""What was done this often, and was due again each time within `REPEAT_S`, does not stay right."""
REPEAT_S = 30.0
FORGET_S = 900.0
HOPELESS = 9
"""So many first starts that failed one after the other: it is the workload."""


@dataclass(slots=True)
class Tries:
    """The tries of one loop, and the slow start of each DaemonSet's new copies."""

    clock: Clock
    chance: Random
    tries: dict[Place, Try] = field(default_factory=dict)
    ramps: dict[Key, Ramp] = field(default_factory=dict)

    def wait(self, action: Action) -> float | None:
        """How long an action has to wait; None: not at all, and inf: until another one ends."""
        now = self.clock.monotonic()
        tried = self.tries.get(place_of(action))
        after = tried.after if tried else 0.0
        if isinstance(action, Start):
            ramp = self.ramps.setdefault(action.ds, Ramp())
            after = max(after, ramp.after)
            if after <= now and ramp.running >= ramp.room:
                return float("inf")
        return after - now if after > now else None

    def begin(self, action: Action) -> None:
        """An action is under way."""
        if isinstance(action, Start):
            self.ramps.setdefault(action.ds, Ramp()).begin()

    def give_back(self, actions: Iterable[Action]) -> None:
        """Actions were not tried after all."""
        for action in actions:
            if isinstance(action, Start) and action.ds in self.ramps:
                self.ramps[action.ds].running -= 1

    def end(self, step: Step) -> None:
        """Learn how an action ended."""
        now = self.clock.monotonic()
        good = step.outcome is Outcome.DONE
        tried = self.tries.setdefault(place_of(step.action), Try())
        if good:
            often = tried.done if now - max(tried.ended, tried.after) < REPEAT_S else 0
            tried.done, tried.failed, tried.message = often + 1, 0, ""
            late = tried.done - REPEATS
            tried.after = now + AGAIN.wait(late, self.chance) if late > 0 else 0.0
            tried.ended = now
        else:
            self.fail(place_of(step.action), step.message)
        ramp = self.ramps.get(step.action.ds)
        if isinstance(step.action, Start) and ramp is not None:
            ramp.end(good=good, again=now + STARTS.wait(ramp.failed + 1, self.chance))

    def fail(self, place: Place, message: str) -> None:
        """Something failed, and has to wait."""
        now = self.clock.monotonic()
        tried = self.tries.setdefault(place, Try())
        tried.failed += 1
        tried.message = message
        tried.ended = now
        tried.after = now + AGAIN.wait(tried.failed, self.chance)

    def may(self, place: Place) -> bool:
        """Whether something that is no action of the plan may be tried now."""
        tried = self.tries.get(place)
        return tried is None or tried.after <= self.clock.monotonic()

    def widen(self, ds: Key) -> None:
        """A start takes so long that another one goes beside it."""
        if ds in self.ramps:
            self.ramps[ds].room += 1

    def forgive(self, scope: Collection[Key] | None, *, node: str = "") -> None:
        """Try again at once what failed of these DaemonSets (None: all) on this node ("": any).

        Somebody asks for it, or the node is back.
        """
        for (name, ds, *_), tried in self.tries.items():
            if (scope is None or ds in scope) and node in ("", name):
                tried.failed = tried.done = 0
                tried.after = 0.0
        for ds, ramp in self.ramps.items():
            if (scope is None or ds in scope) and not node:
                ramp.after, ramp.failed = 0.0, 0

    def closed(self) -> frozenset[Key]:
        """DaemonSets of which nothing is started just now, since the first starts failed."""
        now = self.clock.monotonic()
        return frozenset(ds for ds, ramp in self.ramps.items() if ramp.after > now)

    def hopeless(self) -> frozenset[Key]:
        """DaemonSets of which one start after the other has failed, and none gone well."""
        return frozenset(
            ds for ds, ramp in self.ramps.items() if ramp.failed >= HOPELESS and not ramp.good
        )

    def failed(self, action: Action) -> int:
        """How often in a row an action has failed."""
        tried = self.tries.get(place_of(action))
        return tried.failed if tried else 0

    def tidy(self, wanted: Collection[Key]) -> None:
        """Forget what is long over, and slow starts of which nothing is left to start."""
        now = self.clock.monotonic()
        for place, tried in tuple(self.tries.items()):
            if max(tried.ended + FORGET_S, tried.after) < now:
                del self.tries[place]
        for ds, ramp in tuple(self.ramps.items()):
            if not ramp.running and ds not in wanted:
                del self.ramps[ds]

    def failures(self) -> Mapping[Key, Mapping[str, str]]:
        """Why the last try of something failed, by DaemonSet and node."""
        found: dict[Key, dict[str, str]] = {}
        for (node, ds, *_), tried in self.tries.items():
            if tried.message:
                found.setdefault(ds, {})[node] = tried.message
        return found
