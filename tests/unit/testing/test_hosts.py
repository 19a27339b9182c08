from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from fleetd.core.actions import Mode
from fleetd.core.bundle import (
    Bundle,
    BundleFile,
    BundleUnit,
    Check,
    CheckKind,
    Inline,
    OnChange,
    SecretBytes,
)
from fleetd.core.facts import (
    Deviation,
    Former,
    Known,
    Observation,
    Owner,
    Role,
    Runtime,
    Slot,
    UnitState,
)
from fleetd.core.image import PullPolicy
from fleetd.core.meta import Key
from fleetd.host import replies, wire
from fleetd.host.replies import Failed, Ok, Refused
from fleetd.host.requests import (
    Adopt,
    Apply,
    Exec,
    Logs,
    Observe,
    Pull,
    Purge,
    Remove,
    Request,
    Wanted,
)
from fleetd.testing.commands import PowerCut
from fleetd.testing.hosts import SimHost
from fleetd.testing.images import Registry
from fleetd.testing.units import NEVER_STARTS, Behaviour, SimUnit

DS = Key("default", "agent")
MAIN = "fleetd-default.agent.main.a.service"
PROBE = "fleetd-default.agent.main.a.probe.service"
UNIT_FILE = f"/etc/systemd/system/{MAIN}"
CONFIG = "/etc/agent.conf"
SECRET = "/etc/agent.token"
NONCE = "0123456789abcdef"


@dataclass
class World:
    """A host, its time, and typed requests through the wire."""

    now: float = 1000.0
    faults: dict[str, Behaviour] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.host = SimHost("web", lambda: self.now, faults=self.faults, registry=Registry())

    def ask(self, request: Request) -> replies.Reply:
        return replies.parse(self.host.answer(wire.encode(request, NONCE)).output, NONCE, request)

    def see(self) -> Observation:
        reply = self.ask(Observe("fleet", engine=True, facts=True))
        assert isinstance(reply, Ok)
        assert reply.observation is not None
        return reply.observation

    def unit(self, name: str = MAIN) -> UnitState:
        units = self.see().units
        assert isinstance(units, Known)
        return next(unit for unit in units.value if unit.id == name)

    def apply(self, bundle: Bundle, term: int = 1, mode: Mode = Mode.START) -> replies.Reply:
        request = Apply(
            *("fleet", "key", term, bundle, {"FLEETD_NAME": "agent"}, mode),
            secrets={"default/token/value": b"\xfftop"},
        )
        return self.ask(request)


def bundle_of(
    revision: str = "r1",
    config: str = "a=1",
    on_change: OnChange = OnChange.RESTART,
    text: str = "",
) -> Bundle:
    return Bundle(
        *(DS, "a", revision, Runtime.SYSTEMD),
        files=(
            BundleFile(UNIT_FILE, 0o644, Inline(text or f"[Service] stamp={revision}")),
            BundleFile(CONFIG, 0o644, Inline(config), on_change=on_change),
            BundleFile(SECRET, 0o600, SecretBytes("default", "token", "value", "digest")),
        ),
        units=(BundleUnit(MAIN, Role.MAIN), BundleUnit(PROBE, Role.PROBE)),
    )


def test_an_applied_copy_is_seen_as_it_was_applied() -> None:
    world = World()
    reply = world.apply(bundle_of())
    assert isinstance(reply, Ok)
    assert reply.changed
    world.now += 12
    seen = world.see()
    assert seen.owner == Known(Owner("fleet", 1))
    assert isinstance(seen.ledger, Known)
    (copy,) = seen.ledger.value
    assert (copy.ds, copy.slot, copy.revision, copy.complete) == (DS, Slot.A, "r1", True)
    assert copy.bundle == bundle_of().digest()
    assert seen.files == Known(())
    unit = world.unit()
    assert (unit.active, unit.active_for_s, unit.restarts, unit.probe) == ("active", 12.0, 0, True)
    assert (unit.stamp_revision, unit.stamp_invocation) == ("r1", unit.invocation)


def test_the_same_apply_again_touches_nothing() -> None:
    world = World()
    world.apply(bundle_of())
    before = world.unit().invocation
    reply = world.apply(bundle_of(), term=5)
    assert isinstance(reply, Ok)
    assert not reply.changed
    assert world.unit().invocation == before
    assert world.host.owner == Owner("fleet", 1)


def test_another_revision_restarts_it() -> None:
    world = World()
    world.apply(bundle_of())
    before = world.unit().invocation
    world.apply(bundle_of("r2"))
    assert (world.unit().stamp_revision, world.unit().invocation != before) == ("r2", True)
    events = [(moment.event, moment.revision) for moment in world.host.history]
    assert events == [("start", "r1"), ("stop", "r1"), ("start", "r2")]


def test_a_file_that_asks_for_a_reload_only_stamps() -> None:
    world = World()
    first = bundle_of(on_change=OnChange.RELOAD, text="same")
    world.apply(first)
    before = world.unit().invocation
    world.apply(bundle_of("r2", "a=2", OnChange.RELOAD, "same"))
    assert (world.unit().stamp_revision, world.unit().invocation) == ("r2", before)


@pytest.mark.parametrize(
    ("fleet", "term", "owner"),
    [("other", 9, Owner("fleet", 3)), ("fleet", 2, Owner("fleet", 3))],
    ids=["another fleet", "older term"],
)
@pytest.mark.parametrize("verb", ["apply", "remove", "purge"])
def test_an_order_that_is_not_its_owners_is_refused(
    fleet: str, term: int, owner: Owner, verb: str
) -> None:
    world = World()
    world.apply(bundle_of(), term=3)
    requests: dict[str, Request] = {
        "apply": Apply(fleet, "key", term, replace(bundle_of("r2"), files=()), {}, Mode.START),
        "remove": Remove(fleet, term, DS),
        "purge": Purge(fleet, term),
    }
    reply = world.ask(requests[verb])
    assert isinstance(reply, Refused)
    assert reply.owner == owner
    assert world.unit().stamp_revision == "r1"


def test_what_is_missing_on_the_host_fails_before_anything_is_touched() -> None:
    world = World()
    world.host.missing_paths.add("/dev/gpu")
    needs = replace(bundle_of(), checks=(Check(CheckKind.CHAR_DEVICE, "/dev/gpu"),))
    reply = world.apply(needs)
    assert isinstance(reply, Failed)
    assert (reply.step, "/dev/gpu" in reply.message) == ("check", True)
    assert (world.see().ledger, world.host.owner) == (Known(()), None)


def test_a_crash_is_restarted_after_its_pause() -> None:
    world = World()
    world.apply(bundle_of())
    before = world.unit().invocation
    world.host.crash(MAIN)
    assert world.unit().active == "activating"
    world.now += 6
    unit = world.unit()
    assert (unit.active, unit.restarts, unit.invocation != before) == ("active", 1, True)
    assert unit.stamp_invocation == unit.invocation


@pytest.mark.parametrize(
    ("behaviour", "after", "active", "restarts"),
    [
        (NEVER_STARTS, 1, "activating", 0),
        (NEVER_STARTS, 11, "activating", 2),
        (Behaviour(dies_after_s=3), 2, "active", 0),
        (Behaviour(dies_after_s=3), 4, "activating", 0),
        (Behaviour(dies_after_s=3), 9, "active", 1),
    ],
    ids=["never, early", "never, late", "dies, alive", "dies, dead", "dies, again"],
)
def test_bad_revisions_loop_and_never_fail(
    behaviour: Behaviour, after: float, active: str, restarts: int
) -> None:
    world = World(faults={"stamp=bad": behaviour})
    world.apply(bundle_of("bad"))
    world.now += after
    assert (world.unit().active, world.unit().restarts) == (active, restarts)


def test_a_program_that_is_not_ready_fails_its_probe() -> None:
    world = World(faults={"stamp=slow": Behaviour(ready_after_s=20)})
    world.apply(bundle_of("slow"))
    world.now += 19
    assert world.unit().probe is False
    world.now += 2
    assert world.unit().probe is True


def test_drift_is_seen_and_repaired() -> None:
    world = World()
    world.apply(bundle_of())
    world.host.edit(CONFIG, b"a=9")
    world.host.edit(SECRET, None)
    world.host.mask(MAIN)
    found = world.see().files
    assert isinstance(found, Known)
    kinds = [(file.path, file.kind) for file in found.value]
    assert kinds == [
        *((CONFIG, Deviation.EDITED), (SECRET, Deviation.MISSING)),
        (UNIT_FILE, Deviation.EDITED),
    ]
    assert (world.unit().load, world.unit().active) == ("masked", "inactive")
    world.apply(bundle_of())
    assert world.see().files == Known(())
    assert (world.unit().load, world.unit().active) == ("loaded", "active")


def test_a_reboot_starts_enabled_units_anew() -> None:
    world = World()
    world.apply(bundle_of())
    seen = world.see().clock
    world.host.reboot(down_s=30)
    ups = [world.host.up]
    world.now += 31
    assert [*ups, world.host.up] == [False, True]
    assert (world.unit().active, world.unit().active_for_s) == ("active", 1.0)
    assert world.see().clock != seen


@pytest.mark.parametrize("step", ["check", "record", "files", "units", "done"])
def test_an_apply_that_was_cut_at_any_step_is_finished_by_the_next(step: str) -> None:
    world = World()
    world.apply(bundle_of())
    world.host.cut_at = step
    with pytest.raises(PowerCut):
        world.apply(bundle_of("r2"))
    world.now += 60
    world.apply(bundle_of("r2"))
    assert world.unit().stamp_revision == "r2"
    seen = world.see()
    assert isinstance(seen.ledger, Known)
    assert [(copy.revision, copy.complete) for copy in seen.ledger.value] == [("r2", True)]
    reply = world.apply(bundle_of("r2"))
    assert isinstance(reply, Ok)
    assert not reply.changed


def test_a_removed_copy_leaves_nothing() -> None:
    world = World()
    world.apply(bundle_of())
    reply = world.ask(Remove("fleet", 1, DS))
    assert isinstance(reply, Ok)
    assert reply.changed
    seen = world.see()
    assert (seen.ledger, seen.units, seen.engine) == (Known(()), Known(()), Known(()))
    assert world.host.files == {}
    again = world.ask(Remove("fleet", 1, DS))
    assert isinstance(again, Ok)
    assert not again.changed


def test_a_purged_host_belongs_to_nobody() -> None:
    world = World()
    world.apply(bundle_of())
    world.ask(Purge("fleet", 1))
    assert world.see().owner == Known(None)


def test_adopt_tells_the_key_and_changes_nothing() -> None:
    world = World()
    world.apply(bundle_of())
    reply = world.ask(Adopt())
    assert isinstance(reply, Ok)
    assert (reply.owner_key, reply.observation is not None) == ("key", True)


def test_a_borrowed_unit_gets_its_former_state_back() -> None:
    world = World()
    chrony = SimUnit("chrony.service", "web", "/lib/systemd/system/chrony.service")
    world.host.own_units[chrony.name] = chrony
    borrowed = replace(bundle_of(), files=(), units=(BundleUnit("chrony.service", Role.BORROWED),))
    world.apply(borrowed)
    assert (chrony.enabled, world.unit("chrony.service").active) == (True, "active")
    world.ask(Remove("fleet", 1, DS))
    assert (chrony.enabled, chrony.started_at) == (False, None)


def container_bundle() -> Bundle:
    name = MAIN.removesuffix(".service")
    return replace(bundle_of(), runtime=Runtime.PODMAN, images=("agent:1",), containers=(name,))


def test_a_pull_goes_on_until_the_image_is_there() -> None:
    world = World()
    pull = Pull("fleet", 1, Runtime.PODMAN, (Wanted("agent:1"),), wait_s=1)
    first = world.ask(pull)
    assert isinstance(first, Ok)
    assert [pulled.state for pulled in first.pulled] == ["pulling"]
    refused = world.apply(container_bundle())
    assert isinstance(refused, Failed)
    assert refused.step == "image"
    world.now += 1
    second = world.ask(pull)
    assert isinstance(second, Ok)
    assert [pulled.state for pulled in second.pulled] == ["present"]
    assert second.pulled[0].digest.startswith("agent@sha256:")


def test_an_image_that_the_registry_lacks_fails_its_pull() -> None:
    world = World()
    world.host.registry.missing.add("agent:1")
    reply = world.ask(Pull("fleet", 1, Runtime.PODMAN, (Wanted("agent:1"),), wait_s=30))
    assert isinstance(reply, Ok)
    assert [pulled.state for pulled in reply.pulled] == ["failed"]


def test_a_registry_that_nobody_reaches_leaves_what_is_there() -> None:
    world = World()
    world.host.registry.down = True
    world.host.images.add("agent:1")
    for image, state in (("agent:1", "present"), ("agent:2", "failed")):
        wanted = Wanted(image, PullPolicy.ALWAYS)
        reply = world.ask(Pull("fleet", 1, Runtime.PODMAN, (wanted,), wait_s=30))
        assert isinstance(reply, Ok)
        ((told, message),) = [(pulled.state, pulled.message) for pulled in reply.pulled]
        assert told == state
        assert "no route to host" in message


def test_a_private_image_needs_a_login() -> None:
    world = World()
    world.host.registry.private.add("reg.example/agent:1")
    for logins, state in (((), "failed"), (("{}",), "present")):
        wanted = Wanted("reg.example/agent:1", logins=logins)
        reply = world.ask(Pull("fleet", 1, Runtime.PODMAN, (wanted,), wait_s=30))
        assert isinstance(reply, Ok)
        assert [pulled.state for pulled in reply.pulled] == [state]


def test_containers_are_seen_while_their_unit_runs() -> None:
    world = World()
    world.host.images.add("agent:1")
    world.apply(container_bundle())
    seen = world.see().engine
    assert isinstance(seen, Known)
    (container,) = seen.value
    assert (container.ours, container.ds, container.slot, container.revision) == (
        *(True, DS, Slot.A),
        "r1",
    )
    world.host.stop(MAIN)
    assert world.see().engine == Known(())


@pytest.mark.parametrize("cut", [0, 1, 10, -1], ids=str)
def test_a_torn_request_does_nothing(cut: int) -> None:
    world = World()
    stdin = wire.encode(
        Apply("fleet", "key", 1, replace(bundle_of(), files=()), {}, Mode.START), NONCE
    )
    output = world.host.answer(stdin[:cut]).output
    assert (output.status, output.stdout) == (1, b"")
    assert (world.host.ledger, world.host.owner) == ({}, None)


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("hostname",), 0, b"web\n"),
        (("systemctl", "is-active", MAIN), 0, b"active\n"),
        (("systemctl", "stop", "none.service"), 4, b"Unit none.service could not be found.\n"),
        (("rm", "-rf", "/"), 127, b"rm: not known to a simulated host\n"),
    ],
    ids=["hostname", "is-active", "no such unit", "unknown"],
)
def test_commands(argv: tuple[str, ...], status: int, said: bytes) -> None:
    world = World()
    world.apply(bundle_of())
    output = world.host.answer(wire.encode(Exec(argv), NONCE)).output
    assert (output.status, replies.after_begin(output.stdout, NONCE)) == (status, said)


def test_logs_name_the_unit() -> None:
    world = World()
    world.apply(bundle_of())
    output = world.host.answer(wire.encode(Logs((MAIN,)), NONCE)).output
    assert MAIN.encode() in (replies.after_begin(output.stdout, NONCE) or b"")


def test_facts_are_told_once_in_each_boot() -> None:
    world = World()
    known = Observe("fleet", facts=True, boot=world.host.boot_id)
    told = []
    for _ in range(2):
        reply = world.ask(known)
        assert isinstance(reply, Ok)
        assert reply.observation is not None
        told.append(reply.observation.facts is not None)
        world.host.reboot(down_s=0.0)
    assert told == [False, True]


# ----------------------------------------------------------- units of the host, and triggers

OLD = "old-agent.service"
TIMER = MAIN.replace(".service", ".timer")


def replacing(world: World, revision: str = "r1", slot: str = "a", ds: Key = DS) -> replies.Reply:
    bundle = replace(bundle_of(revision), ds=ds, slot=slot, units=())
    order = Apply("fleet", "key", 1, bundle, {}, Mode.START, {"default/token/value": b"s"}, (OLD,))
    return world.ask(order)


def with_old_agent() -> World:
    world = World()
    old = SimUnit(OLD, "web", fragment=f"/etc/systemd/system/{OLD}", enabled=True)
    old.start(0.0)
    world.host.own_units[OLD] = old
    return world


def test_a_replaced_unit_is_put_away_remembered_and_given_back() -> None:
    world = with_old_agent()
    reply = replacing(world)
    assert isinstance(reply, Ok)
    assert reply.notes == (f"{OLD} was stopped and disabled: this copy takes its place",)
    assert (world.unit(OLD).active, world.unit(OLD).file_state) == ("inactive", "disabled")
    ledger = world.see().ledger
    assert isinstance(ledger, Known)
    assert ledger.value[0].replaced == {OLD: Former("enabled", "active")}
    reply = world.ask(Remove("fleet", 1, DS))
    assert isinstance(reply, Ok)
    assert reply.notes == (f"{OLD} is as it was before: enabled, active",)
    old = world.host.own_units[OLD]
    assert (old.enabled, old.started_at is not None) == (True, True)


def test_an_update_and_another_slot_remember_how_a_replaced_unit_was() -> None:
    world = with_old_agent()
    replacing(world)
    again = replacing(world)
    assert isinstance(again, Ok)
    assert (again.changed, again.notes) == (False, ())
    replacing(world, "r2")
    replacing(world, "r3", slot="b")
    world.ask(Remove("fleet", 1, DS, Slot.A))
    assert not world.host.own_units[OLD].enabled
    world.ask(Remove("fleet", 1, DS, Slot.B))
    assert world.host.own_units[OLD].enabled


def test_a_replaced_unit_that_is_back_is_put_away_again() -> None:
    world = with_old_agent()
    replacing(world)
    world.host.own_units[OLD].enabled = True
    reply = replacing(world)
    assert isinstance(reply, Ok)
    assert reply.changed
    assert not world.host.own_units[OLD].enabled


def test_what_another_daemonset_has_replaced_is_not_replaced_again() -> None:
    world = with_old_agent()
    replacing(world)
    reply = replacing(world, ds=Key("default", "other"))
    assert isinstance(reply, Failed)
    assert (reply.step, "default/agent" in reply.message) == ("check", True)


def test_what_a_timer_starts_is_started_by_nobody_else() -> None:
    world = World()
    units = (BundleUnit(MAIN, Role.TRIGGERED, enable=False), BundleUnit(TIMER, Role.TRIGGER))
    for revision in ("r1", "r2"):
        reply = world.apply(replace(bundle_of(revision), units=units))
        assert isinstance(reply, Ok)
        assert (world.unit(TIMER).active, world.unit(TIMER).file_state) == ("active", "enabled")
        assert (world.unit().active, world.unit().file_state) == ("inactive", "static")
    assert [moment.event for moment in world.host.history] == ["start", "stop", "start"]


def test_an_init_container_has_ended_and_its_unit_stays_active() -> None:
    world = World()
    first = "fleetd-default.agent.first.a.service"
    unit = BundleFile(f"/etc/systemd/system/{first}", 0o644, Inline("[Service]\n"))
    whole = bundle_of()
    pod = replace(
        whole,
        runtime=Runtime.PODMAN,
        images=(),
        files=(unit, *whole.files),
        units=(BundleUnit(first, Role.INIT), *whole.units),
        containers=tuple(name.removesuffix(".service") for name in (first, MAIN)),
    )
    world.apply(pod)
    assert (world.unit(first).active, world.unit(first).sub) == ("active", "exited")
    assert world.unit().sub == "running"
    engine = world.see().engine
    assert isinstance(engine, Known)
    assert [container.name for container in engine.value] == [MAIN.removesuffix(".service")]
    world.host.reboot()
    world.now += 60
    assert world.unit(first).sub == "exited"
