from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fleetd.core.daemonset import Secret
from fleetd.core.logins import Login, logins_of, opening
from fleetd.core.validation import validate

CONFIG = "kubernetes.io/dockerconfigjson"
OLD = "kubernetes.io/dockercfg"


def pair(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def config(**auths: Any) -> dict[str, bytes]:
    return {".dockerconfigjson": json.dumps({"auths": auths}).encode()}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param({"auth": pair("me", "a:b")}, ("me", "a:b"), id="auth"),
        pytest.param({"username": "me", "password": "p"}, ("me", "p"), id="username"),
        pytest.param(
            {"username": "x", "password": "y", "auth": pair("me", "p")}, ("me", "p"), id="both"
        ),
    ],
)
def test_an_entry_tells_a_user_and_a_password(entry: Any, expected: tuple[str, str]) -> None:
    (login,) = logins_of(CONFIG, config(**{"reg.example": entry}))
    assert (login.user, login.password) == expected
    (old,) = logins_of(OLD, {".dockercfg": json.dumps({"reg.example": entry}).encode()})
    assert old == login


def test_an_entry_without_a_login_is_left_out() -> None:
    assert logins_of(CONFIG, config(**{"reg.example": {"email": "me@here"}})) == ()


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        pytest.param("Opaque", config(), "its type is Opaque", id="type"),
        pytest.param(CONFIG, {}, "no key .dockerconfigjson", id="key"),
        pytest.param(CONFIG, {".dockerconfigjson": b"swordfish"}, "no Docker", id="no-json"),
        pytest.param(CONFIG, {".dockerconfigjson": b'["swordfish"]'}, "no Docker", id="a-list"),
        pytest.param(CONFIG, config(r={"auth": "swordfish"}), "no Docker", id="no-base64"),
        pytest.param(CONFIG, config(r={"auth": "c3dvcmRmaXNo"}), "no Docker", id="no-pair"),
        pytest.param(CONFIG, config(r="swordfish"), "no Docker", id="no-entry"),
    ],
)
def test_what_is_no_login_is_told_without_its_words(kind: str, data: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as told:
        logins_of(kind, data)
    assert "swordfish" not in str(told.value)


@pytest.mark.parametrize(
    ("place", "image", "opens"),
    [
        pytest.param("reg.example", "reg.example/a:1", True, id="registry"),
        pytest.param("https://reg.example/v2/", "reg.example/a:1", True, id="a-url"),
        pytest.param("reg.example", "reg.example:5000/a:1", False, id="another-port"),
        pytest.param("reg.example:5000", "reg.example:5000/a:1", True, id="port"),
        pytest.param("*.example", "reg.example/a:1", True, id="a-star"),
        pytest.param("*.example", "a.reg.example/a:1", False, id="a-star-is-one-label"),
        pytest.param("*.example", "evil.test/a:1", False, id="another-registry"),
        pytest.param("reg.example/team", "reg.example/team/a:1", True, id="a-part"),
        pytest.param("reg.example/team", "reg.example/teams/a:1", False, id="another-part"),
        pytest.param("https://index.docker.io/v1/", "busybox", True, id="docker's"),
        pytest.param("docker.io", "a/b:1", True, id="docker's-own-name"),
        pytest.param("https://index.docker.io/v1/", "reg.example/a", False, id="docker's-only"),
        pytest.param("reg.example", "busybox", False, id="not-docker's"),
    ],
)
def test_a_login_is_for_its_registry(place: str, image: str, opens: bool) -> None:
    found = logins_of(CONFIG, config(**{place: {"auth": pair("me", "p")}}))
    assert bool(opening(found, image)) is opens


def test_the_more_special_login_is_tried_first() -> None:
    wide, narrow, other = (
        Login(place, place, "p") for place in ("reg.example", "reg.example/team", "x.example")
    )
    found = (wide, other, narrow, wide)
    assert opening(found, "reg.example/team/a:1") == (narrow, wide)


@pytest.mark.parametrize(
    ("image", "keys"),
    [
        pytest.param("reg.example:5000/a:1", ["reg.example:5000"], id="registry"),
        pytest.param("a/b", ["docker.io", "https://index.docker.io/v1/"], id="docker's"),
    ],
)
def test_a_document_holds_one_registry(image: str, keys: list[str]) -> None:
    text = Login("reg.example:5000/a", "me", "p").document(image)
    assert json.loads(text) == {"auths": {key: {"auth": pair("me", "p")} for key in keys}}
    assert "\n" not in text
    assert "\t" not in text


def test_a_login_does_not_show_its_password() -> None:
    assert "swordfish" not in repr(Login("reg.example", "me", "swordfish"))


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        pytest.param(CONFIG, {".dockerconfigjson": b"{}"}, [], id="json"),
        pytest.param(OLD, {".dockercfg": b"{}"}, [], id="old"),
        pytest.param("Opaque", {"a": b"{"}, [], id="opaque"),
        pytest.param(CONFIG, {"a": b"{}"}, ["data[.dockerconfigjson]: a Secret of"], id="no-key"),
        pytest.param(
            OLD, {".dockercfg": b"swordfish"}, ["data[.dockercfg]: is no JSON"], id="no-json"
        ),
        pytest.param(
            CONFIG, {".dockerconfigjson": b"\xff"}, ["data[.dockerconfigjson]: is no"], id="bytes"
        ),
    ],
)
def test_a_secret_of_logins_is_a_json_document(kind: str, data: Any, said: list[str]) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    secret = Secret.model_validate({"metadata": {"name": "s"}, "type": kind, "data": encoded})
    found = [f"{finding.path}: {finding.message}" for finding in validate(secret)]
    assert len(found) == len(said)
    for text, begins in zip(found, said, strict=True):
        assert text.startswith(begins)
        assert "swordfish" not in text
