from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, strategies as st

from fleetd.core.fields import Plain
from fleetd.documents.yaml import MAX_BYTES, dump, parse


def data_of(text: str) -> Plain:
    parsed = parse(text.encode(), "a.yaml")
    assert parsed.problems == ()
    (document,) = parsed.documents
    return document.data


def only_problem(text: str | bytes) -> str:
    parsed = parse(text if isinstance(text, bytes) else text.encode(), "a.yaml")
    (problem,) = parsed.problems
    return str(problem)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("0644", 0o644, id="octal"),
        pytest.param("0o644", 0o644, id="new octal"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("0b11", 3, id="binary"),
        pytest.param("1_000", 1000, id="underscore"),
        pytest.param("-7", -7, id="negative"),
        pytest.param("1e3", 1000, id="exponent"),
        pytest.param("1.50", 1.5, id="float"),
        pytest.param("on", True, id="on"),
        pytest.param("Yes", True, id="Yes"),
        pytest.param("OFF", False, id="OFF"),
        pytest.param("y", "y", id="y is a letter"),
        pytest.param("~", None, id="tilde"),
        pytest.param("12:30", "12:30", id="no base 60"),
        pytest.param("2024-01-02", "2024-01-02", id="no dates"),
        pytest.param("1.2.3", "1.2.3", id="version"),
        pytest.param("10.0.0.1", "10.0.0.1", id="address"),
        pytest.param("'on'", "on", id="quoted"),
        pytest.param("!!str 12", "12", id="tagged"),
        pytest.param("0" * 64, 0, id="a digest of zeros"),
        pytest.param("1e999", "1e999", id="no infinity"),
    ],
)
def test_plain_scalars_mean_what_they_mean_to_kubectl(written: str, meant: Plain) -> None:
    value = data_of(f"v: {written}")["v"]
    assert (value, type(value)) == (meant, type(meant))


def test_every_value_has_its_line() -> None:
    (document,) = parse(b"a:\n  b:\n    - c: 1\n    - 2\nx.y/z: {k: 1}\n", "a.yaml").documents
    lines = {path: document.line_of(path) for path in ("a", "a.b[0].c", "a.b[1]", "[x.y/z].k")}
    assert lines == {"a": 1, "a.b[0].c": 3, "a.b[1]": 4, "[x.y/z].k": 5}


def test_a_missing_field_has_the_line_of_what_is_around_it() -> None:
    (document,) = parse(b"a:\n  b:\n    c: 1\n", "a.yaml").documents
    assert document.line_of("a.b.missing[3].deeper") == 2


def test_documents_are_apart_and_know_their_lines() -> None:
    documents = parse(b"a: 1\n---\n# nothing\n---\nb: 2\n", "a.yaml").documents
    assert [(d.data, d.line) for d in documents][::2] == [({"a": 1}, 1), ({"b": 2}, 5)]
    assert documents[1].data is None


def test_anchors_aliases_and_merge_keys() -> None:
    data = data_of("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nagain: *b\n")
    assert data["use"] == {"x": 1, "y": 3}
    assert data["again"] == {"x": 1, "y": 2}


def test_a_key_given_twice_names_both_lines() -> None:
    assert only_problem("a: 1\nb: 2\na: 3\n") == (
        "a.yaml:3: a: given twice, first on line 1; keep one"
    )


def test_all_double_keys_are_told() -> None:
    assert len(parse(b"a: {b: 1, b: 2}\nc: {d: 1, d: 2}\n", "a.yaml").problems) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: [1\n", "a.yaml:2: not valid YAML", id="open bracket"),
        pytest.param("a:\n\tb: 1\n", "indent with spaces", id="tab"),
        pytest.param("a: *nobody\n", "*nobody has no anchor", id="alias of nothing"),
        pytest.param("on: 1\n", 'write "on" in quotes', id="key that is a boolean"),
        pytest.param("[a]: 1\n", "a key must be a plain word", id="key that is a list"),
        pytest.param("a: !ruby/object 1\n", "is not known here", id="foreign tag"),
        pytest.param("a: {<<: 3}\n", "<< must merge a map", id="merge of a number"),
        pytest.param(b"a: \xff\n", "a.yaml:1: not UTF-8", id="not UTF-8"),
        pytest.param("a: \x00\n", "does not allow", id="NUL"),
        pytest.param("[" * 300 + "]" * 300, "nested deeper than 100", id="deep"),
        pytest.param(b"#" * (MAX_BYTES + 1), "larger than 16 MiB", id="large"),
    ],
)
def test_what_cannot_be_read_is_told(text: str | bytes, words: str) -> None:
    assert words in only_problem(text)


def test_documents_before_a_syntax_error_are_read() -> None:
    parsed = parse(b"a: 1\n---\nb: [\n", "a.yaml")
    assert [document.data for document in parsed.documents] == [{"a": 1}]


def test_an_alias_bomb_is_bounded() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    assert "aliases counted at each use" in only_problem(bomb)


def test_json_with_surrogate_pairs_is_read() -> None:
    assert data_of('{"a": "\\ud83d\\ude00"}') == {"a": "😀"}


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text("abc/.-", max_size=5), below)
    ),
    max_leaves=12,
)


@given(_plain)
def test_json_means_the_same(value: Plain) -> None:
    assert data_of(json.dumps({"v": value})) == {"v": value}


@given(st.text(max_size=60))
def test_any_text_is_read_or_told(text: str) -> None:
    data = text.encode(errors="surrogatepass")
    parsed = parse(data, "a.yaml")
    assert all(problem.source == "a.yaml" for problem in parsed.problems)


def test_text_of_several_lines_is_written_as_a_block_and_long_lines_stay_whole() -> None:
    line = "word " * 40 + "end"
    assert dump({"unit": "[Service]\nExecStart=/x\n", "line": line}) == (
        f"unit: |\n  [Service]\n  ExecStart=/x\nline: {line}\n"
    )


@given(st.dictionaries(st.text(max_size=5), st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_is_written_reads_back(value: dict[str, str]) -> None:
    assert yaml.safe_load(dump(value, allow_unicode=False)) == value
