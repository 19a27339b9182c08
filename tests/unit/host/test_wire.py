from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given, strategies as st

from fleetd.core.actions import Mode
from fleetd.core.bundle import (
    Bundle,
    BundleFile,
    BundleUnit,
    BundleUser,
    Check,
    CheckKind,
    Inline,
    OnChange,
    SecretBytes,
)
from fleetd.core.facts import Role, Runtime, Slot
from fleetd.core.image import PullPolicy
from fleetd.core.meta import Key
from fleetd.host.requests import (
    Adopt,
    Apply,
    Exec,
    Load,
    Logs,
    Observe,
    Pull,
    Purge,
    Remove,
    Request,
    Wanted,
)
from fleetd.host.wire import decode, encode

NONCE = "0123456789abcdef"

words = st.text(string.ascii_letters + string.digits + "._:/@+äß ", min_size=1, max_size=12)
maybe = words | st.just("")
numbers = st.integers(0, 10**6)
keys = st.builds(Key, st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.just("agent.v1"))
modes = st.integers(0, 0o7777)
inline = st.builds(Inline.of, st.binary(max_size=40) | st.just(b"data\n\ndata\n"))
files = st.builds(BundleFile, words, modes, inline, words, words, st.sampled_from(OnChange))
bundles = st.builds(
    Bundle,
    ds=keys,
    slot=st.sampled_from("ab"),
    revision=words,
    runtime=st.sampled_from(Runtime),
    files=st.lists(files, max_size=4).map(tuple),
    units=st.lists(
        st.builds(BundleUnit, words, st.sampled_from(Role), st.booleans()), max_size=3
    ).map(tuple),
    directories=st.lists(st.tuples(words, modes), max_size=2).map(tuple),
    checks=st.lists(st.builds(Check, st.sampled_from(CheckKind), words), max_size=2).map(tuple),
    users=st.lists(
        st.builds(BundleUser, words, words, words, st.lists(words, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
    images=st.lists(words, max_size=2).map(tuple),
    containers=st.lists(words, max_size=2).map(tuple),
    stop_s=numbers,
)
wanted = st.builds(
    Wanted, words, st.sampled_from(PullPolicy), maybe, st.lists(words, max_size=2).map(tuple)
)
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(Observe, maybe, st.booleans(), st.booleans(), maybe),
    st.builds(
        Pull,
        words,
        numbers,
        st.sampled_from(Runtime),
        st.lists(wanted, unique_by=lambda each: each.image).map(tuple),
        st.none() | keys,
        numbers,
    ),
    st.builds(
        Load,
        words,
        numbers,
        st.sampled_from(Runtime),
        st.lists(st.tuples(words, words)).map(tuple),
        st.just(0),
        st.just(hashlib.sha256(b"").hexdigest()),
    ),
    st.builds(
        Apply,
        words,
        words,
        numbers,
        bundles,
        st.dictionaries(words, maybe, max_size=3),
        st.sampled_from(Mode),
        replaces=st.lists(words, max_size=2).map(tuple),
    ),
    st.builds(Remove, words, numbers, keys, st.none() | st.sampled_from(Slot)),
    st.builds(Adopt, maybe),
    st.builds(Purge, words, numbers),
    st.builds(Logs, st.lists(words).map(tuple), maybe, st.integers(-1, 100), st.booleans()),
    st.builds(
        Exec,
        st.lists(st.text().filter(lambda text: "\0" not in text), max_size=4).map(tuple),
        maybe,
        st.sampled_from(Runtime),
    ),
)

SECRET = SecretBytes("default", "tls", "key", "hmac")


def with_secret(data: bytes) -> Apply:
    file = BundleFile("/etc/tls.key", 0o600, SECRET, on_change=OnChange.RELOAD)
    bundle = Bundle(Key("default", "web"), "a", "r1", Runtime.SYSTEMD, (file,), ())
    return Apply("fleet", "key", 1, bundle, {}, Mode.START, {"default/tls/key": data})


@given(requests)
def test_a_host_reads_what_was_written(request: Request) -> None:
    assert decode(encode(request, NONCE)) == (NONCE, request)


@given(st.binary(max_size=60))
def test_secret_bytes_travel_as_data(data: bytes) -> None:
    nonce, request = decode(encode(with_secret(data), NONCE))
    assert (nonce, request) == (NONCE, with_secret(data))


def test_a_secret_is_not_shown_by_its_request() -> None:
    assert "swordfish" not in repr(with_secret(b"swordfish"))


def test_a_request_cut_anywhere_is_refused() -> None:
    whole = encode(with_secret(b"swordfish"), NONCE)
    for length in range(len(whole)):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever the cut broke
            decode(whole[:length])


def test_a_request_with_one_bit_changed_in_its_body_is_refused() -> None:
    whole = bytearray(encode(with_secret(b"swordfish"), NONCE))
    whole[-1] ^= 1
    with pytest.raises(ValueError, match="sha256"):
        decode(bytes(whole))


@pytest.mark.parametrize(
    "bad",
    ["a\tb", "a\nb", "a\x1bb", "a\u202eb", "-"],
    ids=["tab", "newline", "escape", "bidi", "stands-for-empty"],
)
def test_a_field_that_would_be_misread_is_not_sent(bad: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        encode(Logs(units=(bad,)), NONCE)


def test_an_argument_with_a_nul_is_not_sent() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode(Exec(("a\0b",)), NONCE)


@pytest.mark.parametrize("nonce", ["", "xyz", "0123 567", "../../etc"])
def test_a_nonce_is_hex(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        encode(Adopt(), nonce)


ARCHIVE = b"an image" * 100
LOAD = Load(
    *("fleet", 1, Runtime.DOCKER, (("sha256:1", "agent:v1"),)),
    *(len(ARCHIVE), hashlib.sha256(ARCHIVE).hexdigest()),
)


def test_an_archive_follows_its_request() -> None:
    assert decode(encode(LOAD, NONCE) + ARCHIVE) == (NONCE, LOAD)


@pytest.mark.parametrize(
    "archive",
    [ARCHIVE[:-1], ARCHIVE + b"a", ARCHIVE[::-1], b""],
    ids=["cut", "longer", "another", "none"],
)
def test_an_archive_that_differs_is_refused(archive: bytes) -> None:
    with pytest.raises(ValueError, match="whole"):
        decode(encode(LOAD, NONCE) + archive)


def test_nothing_else_may_follow_a_request() -> None:
    with pytest.raises(ValueError, match="follow the body"):
        decode(encode(Logs(("unit",)), NONCE) + b"a")


def test_a_login_is_not_shown_by_its_request() -> None:
    pull = Pull("f", 1, Runtime.PODMAN, (Wanted("i", logins=("swordfish",)),))
    assert "swordfish" not in repr(pull)
