from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleetd.core.facts import (
    Clock,
    ContainerSeen,
    Deviation,
    FileDeviation,
    Former,
    HostFacts,
    Known,
    LedgerCopy,
    Observation,
    Owner,
    Role,
    Runtime,
    Slot,
    UnitState,
    Unknown,
)
from fleetd.core.meta import Key
from fleetd.host import parts
from fleetd.host.replies import (
    LIMIT,
    Failed,
    Lost,
    Ok,
    Pulled,
    Refused,
    Reply,
    after_begin,
    parse,
    render_reply,
)
from fleetd.host.requests import Adopt, Observe, Pull, Request, Wanted
from fleetd.ports import Output

NONCE = "ab" * 8
LOOK = Observe("f", engine=True, facts=True)


def recorded(name: str) -> bytes:
    return (Path(__file__).parent / "replies" / f"{name}.txt").read_bytes()


def read(stdout: bytes, request: Request = LOOK, status: int | None = 0) -> Reply:
    return parse(Output(status, stdout), NONCE, request)


def seen(reply: Reply) -> Observation:
    assert isinstance(reply, Ok | Failed)
    assert reply.observation is not None
    return reply.observation


# ------------------------------------------------------------------------------ real replies


def test_an_observation_of_a_real_host() -> None:
    observation = seen(read(recorded("observe")))
    unit = "fleetd-mon.ag.main.a.service"
    assert observation.owner == Known(Owner("f", 1))
    assert observation.files == Known(())
    assert isinstance(observation.ledger, Known)
    (copy,) = observation.ledger.value
    assert (copy.ds, copy.slot, copy.revision, copy.complete) == (
        Key("mon", "ag"),
        Slot.A,
        "rev1",
        True,
    )
    assert copy.units[unit] is Role.MAIN
    assert f"/etc/systemd/system/{unit}" in copy.files
    assert isinstance(observation.units, Known)
    main = {state.id: state for state in observation.units.value}[unit]
    assert (main.load, main.active, main.sub) == ("loaded", "active", "running")
    assert main.stamp_revision == "rev1"
    assert main.stamp_invocation == main.invocation
    assert main.probe is True
    assert main.active_for_s is not None
    assert 0 < main.active_for_s < 60
    assert not main.job
    assert isinstance(observation.engine, Known)
    (container,) = observation.engine.value
    assert (container.name, container.running, container.ours) == (copy.containers[0], True, True)
    assert isinstance(observation.facts, Known)
    assert observation.facts.value.arch == "amd64"
    assert observation.facts.value.podman == "4.3.1"


def test_facts_that_were_not_told_are_missed_only_after_another_boot() -> None:
    whole = seen(read(recorded("observe")))
    assert isinstance(whole.clock, Known)
    silent = render_reply(NONCE, Ok(replace(whole, facts=None)))
    same = Observe("f", engine=True, facts=True, boot=whole.clock.value.boot_id)
    assert seen(read(silent, same)).facts is None
    assert isinstance(seen(read(silent, replace(same, boot="another"))).facts, Unknown)


def test_adopt_tells_the_key_of_a_real_host() -> None:
    reply = read(recorded("adopt"), Adopt())
    assert isinstance(reply, Ok)
    assert reply.owner_key == "key"
    assert seen(reply).owner == Known(Owner("f", 1))


def test_a_real_refusal_names_the_owner() -> None:
    assert read(recorded("refused")) == Refused(Owner("f", 1), "this host belongs to fleet f")


def test_a_real_failure_names_its_step_and_observes() -> None:
    reply = read(recorded("failed"))
    assert isinstance(reply, Failed)
    assert reply.step == "verify"
    assert "Unknown key 'Fooo'" in reply.message
    assert isinstance(seen(reply).units, Known)


def test_pulls_of_a_real_host() -> None:
    reply = read(recorded("pull"), Pull("f", 1, Runtime.PODMAN, ()))
    assert isinstance(reply, Ok)
    present, failed = reply.pulled
    assert (present.state, present.digest) == ("present", "")
    assert present.platform == "linux/amd64"
    assert len(present.id) == 64
    assert failed.state == "failed"
    assert "connection refused" in failed.message


# ---------------------------------------------------------------- nothing from half a reply


@pytest.mark.parametrize("name", ["observe", "adopt", "refused", "failed", "pull"])
def test_a_reply_cut_anywhere_is_lost(name: str) -> None:
    whole = recorded(name)
    end = whole.index(b" END rc=") + len(b" END rc=")
    for length in range(end):
        assert isinstance(read(whole[:length]), Lost), length


def test_a_reply_without_an_exit_status_is_lost() -> None:
    reply = parse(Output(None, recorded("observe"), error="connection reset"), NONCE, LOOK)
    assert reply == Lost("connection reset", sent=True)


def test_a_request_that_was_never_sent_is_told_apart() -> None:
    reply = parse(Output(None, error="no route to host", sent=False), NONCE, LOOK)
    assert reply == Lost("no route to host", sent=False)


def test_a_reply_to_another_request_is_lost() -> None:
    assert isinstance(parse(Output(0, recorded("observe")), "cd" * 8, LOOK), Lost)


def test_sudo_without_a_password_free_rule_is_named() -> None:
    output = Output(1, b"Welcome!\n", b"sudo: a password is required\n")
    reply = parse(output, NONCE, LOOK)
    assert isinstance(reply, Lost)
    assert "NOPASSWD" in reply.why
    assert "a password is required" in reply.why


def test_a_flood_is_lost() -> None:
    assert isinstance(read(recorded("observe") + b"x" * LIMIT), Lost)


PARTS = ("owner", "ledger", "files", "units", "engine", "facts")


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_missing_is_unknown_and_no_other(name: str) -> None:
    text = recorded("observe").decode()
    head, _, rest = text.partition(f"{NONCE} part {name}\n")
    tail = rest.partition(f"{NONCE} end {name} 0\n")[2]
    observation = seen(read((head + tail).encode()))
    assert {part for part in PARTS if isinstance(getattr(observation, part), Unknown)} == {name}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_whose_command_failed_is_unknown(name: str) -> None:
    text = recorded("observe").replace(f" end {name} 0".encode(), f" end {name} 1".encode())
    assert isinstance(getattr(seen(read(text)), name), Unknown)


@pytest.mark.parametrize("name", ["stamps", "probes", "clock"])
def test_units_cannot_be_judged_without(name: str) -> None:
    text = recorded("observe").replace(f" end {name} 0".encode(), f" end {name} 1".encode())
    assert isinstance(seen(read(text)).units, Unknown)


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("owner", b"f\t1\n", b"f\tmany\n"),
        ("ledger", b"copy\tmon/ag\ta\t", b"copy\tmon/ag\tz\t"),
        ("ledger", b"copy\tmon/ag\ta\t", b"copy\t../../etc\ta\t"),
        ("ledger", b"copy\tmon/ag\ta\t", b"copy\tmon/other\ta\t"),
        ("units", b"LoadState=loaded", b"gibberish"),
        ("units", b"NRestarts=0", b"NRestarts=lots"),
        ("facts", b"arch\tamd64", b"arch\t../amd64"),
        ("facts", b"systemd\t252\n", b""),
    ],
)
def test_a_part_that_makes_no_sense_is_unknown(part: str, old: bytes, new: bytes) -> None:
    text = recorded("observe")
    assert old in text
    assert isinstance(getattr(seen(read(text.replace(old, new))), part), Unknown)


@given(st.binary(max_size=200), st.integers(0, 2600))
def test_no_garbage_raises(garbage: bytes, at: int) -> None:
    text = recorded("observe")
    read(text[:at] + garbage + text[at:])
    read(garbage)


@pytest.mark.parametrize("bad", ["\x1b[2J", "\r", "\x9b31m", "\u202e", "\x07"])
def test_nothing_that_a_terminal_would_obey_comes_through(bad: str) -> None:
    text = recorded("failed").replace(b"Unknown key", f"Un{bad}known key".encode())
    reply = read(text)
    assert isinstance(reply, Failed)
    assert reply.message.isprintable()
    assert "Un" in reply.message


def test_one_byte_that_is_not_utf_8_spoils_nothing() -> None:
    reply = read(recorded("failed").replace(b"Unknown key", b"Unknown \xff key"))
    assert isinstance(reply, Failed)
    assert reply.step == "verify"


def test_raw_output_follows_begin_whatever_came_before() -> None:
    noise = b"motd FLEETD1\nFLEETD1 " + NONCE.encode() + b" BEGIN\nout\nput"
    assert after_begin(noise, NONCE) == b"out\nput"
    assert after_begin(b"motd\n", NONCE) is None


# ------------------------------------------------------------------------- simulated replies

words = st.text(string.ascii_letters + string.digits + "._:/@+", min_size=1, max_size=12)
maybe = words | st.just("")
keys = st.builds(
    Key,
    st.from_regex(r"[a-z]{1,5}", fullmatch=True),
    words.map(lambda w: w.replace("/", "")).filter(bool),
)
hundredths = st.integers(0, 10**7).map(lambda n: n / 100)


@st.composite
def units(draw: st.DrawFn) -> UnitState:
    state = UnitState(
        id=draw(words),
        load=draw(words),
        active=draw(st.sampled_from(["active", "inactive", "failed", "activating"])),
        sub=draw(words),
        result=draw(maybe),
        exec_status=draw(st.integers(0, 255)),
        restarts=draw(st.integers(0, 10**6)),
        invocation=draw(words),
        need_reload=draw(st.booleans()),
        file_state=draw(maybe),
        fragment=draw(maybe),
        drop_ins=tuple(draw(st.lists(words, max_size=2))),
        job=draw(st.booleans()),
        stamp_revision=draw(maybe),
        stamp_invocation=draw(maybe),
        probe=draw(st.none() | st.booleans()),
    )
    active = draw(st.integers(0, 99_999).map(lambda n: n / 100))
    return replace(
        state,
        active_for_s=active if state.active == "active" else None,
        probe_message="" if state.probe is None else draw(maybe),
    )


def unique(strategy: st.SearchStrategy[Any], name: str) -> st.SearchStrategy[Any]:
    by = lambda value: getattr(value, name)  # noqa: E731
    return st.lists(strategy, max_size=4, unique_by=by).map(
        lambda values: tuple(sorted(values, key=by))
    )


copies = st.builds(
    LedgerCopy,
    keys,
    st.sampled_from(Slot),
    words,
    words,
    st.sampled_from(Runtime),
    st.dictionaries(words, st.sampled_from(Role), max_size=3),
    st.lists(words, max_size=3).map(tuple),
    st.lists(words, max_size=3).map(tuple),
    st.booleans(),
    st.dictionaries(words, st.builds(Former, words, words), max_size=2),
)
containers = st.builds(
    ContainerSeen,
    words,
    words.filter(lambda name: not name.startswith("/")),
    st.booleans(),
    st.booleans(),
    st.none() | keys,
    st.none() | st.sampled_from(Slot),
    maybe,
)
facts = st.builds(
    HostFacts,
    words,
    words,
    st.sampled_from(["amd64", "arm64", "s390x"]),
    maybe,
    maybe,
    st.integers(0, 300),
    maybe,
    maybe,
    st.integers(1, 2),
    st.booleans(),
)
observations = st.builds(
    Observation,
    st.builds(Clock, words, words, st.integers(10**5, 10**8).map(lambda n: n / 100)).map(Known),
    st.builds(Owner, words, st.integers(0, 2**40)).map(Known) | st.just(Known(None)),
    st.lists(copies, max_size=3, unique_by=lambda copy: (copy.ds, copy.slot)).map(
        lambda found: Known(tuple(found))
    ),
    st.lists(st.builds(FileDeviation, words, st.sampled_from(Deviation)), max_size=3).map(
        lambda found: Known(tuple(found))
    ),
    unique(units(), "id").map(Known),
    unique(containers, "id").map(Known),
    facts.map(Known),
)
replies = st.one_of(
    st.builds(
        Ok, observations, changed=st.booleans(), notes=st.lists(words, max_size=2).map(tuple)
    ),
    st.builds(Failed, words, words, observations),
    st.builds(Refused, st.builds(Owner, words, st.integers(0, 9)), words),
)


@given(replies)
def test_a_simulated_reply_reads_as_it_was_meant(reply: Ok | Failed | Refused) -> None:
    assert read(render_reply(NONCE, reply)) == reply


def test_a_simulated_pull_and_key_read_as_they_were_meant() -> None:
    pulled = Ok(
        pulled=(
            Pulled("i", "pulling"),
            Pulled("j", "present", "id", "j@sha256:1", platform="linux/amd64"),
        )
    )
    pull = Pull("f", 1, Runtime.DOCKER, (Wanted("i"), Wanted("j")))
    assert read(render_reply(NONCE, pulled), pull) == pulled


@given(observations, st.sampled_from(PARTS))
def test_an_unknown_part_stays_unknown(observation: Observation, name: str) -> None:
    broken = replace(observation, **{name: Unknown("the disk is on fire")})
    part = getattr(seen(read(render_reply(NONCE, Ok(broken)))), name)
    assert isinstance(part, Unknown)
    assert "the disk is on fire" in part.why


def test_a_pass_counts_from_when_it_began_by_the_hosts_clock() -> None:
    probes = parts.read_probes(["a.service\ti1\tok@40\t-", "b.service\ti1\tok\t-"])
    rows = [
        row
        for name in ("a.service", "b.service")
        for row in (
            f"Id={name}",
            "LoadState=loaded",
            "ActiveState=active",
            "SubState=running",
            "InvocationID=i1",
            "",
        )
    ]
    a, b = parts.read_units(rows, 100.0, {}, probes)
    assert (a.probe, a.passing_for_s) == (True, 60.0)
    assert (b.probe, b.passing_for_s) == (True, None)
