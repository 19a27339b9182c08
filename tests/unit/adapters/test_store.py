"""What the contract does not say of the store on disk: crashes, readers, schemas, modes, speed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fleetd import __version__
from fleetd.adapters import store as module
from fleetd.adapters.rows import TABLES
from fleetd.adapters.store import SqliteStore
from fleetd.core.records import IDENTITY, AuditRecord, Setting
from fleetd.errors import Refused, StateBroken
from fleetd.ports import Drop, Put

# Each transaction writes the same number into many rows and drops those of the one before, and
# tells on stdout when it is durable.
WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from fleetd.adapters.store import SqliteStore
    from fleetd.core.records import Setting
    from fleetd.ports import Drop, Put
    store = SqliteStore(Path(sys.argv[1]))
    number = int((store.read(Setting) or (Setting("", "0"),))[0].value)
    while True:
        number += 1
        rows = [Put(Setting(f"{number} {row}", str(number))) for row in range(40)]
        store.commit([Drop(Setting), *rows])
        print(number, store.next_version(), flush=True)
""")


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def crash(path: Path, transactions: int) -> tuple[int, int]:
    """Let a writer commit so many times, kill it, and return the last number and version told."""
    with writer(path) as process:
        assert process.stdout
        for _ in range(transactions):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        told = process.stdout.read().split()
    return (int(told[-2]), int(told[-1])) if told else (0, 0)


def test_a_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    draw = random.Random(7)
    version = 0
    for _ in range(12):
        told, told_version = crash(path, draw.randrange(1, 12))
        with closing(SqliteStore(path, readonly=True)) as reader:
            seen = reader.read(Setting)
        with closing(SqliteStore(path)) as store:
            rows = store.read(Setting)
            assert {row.value for row in rows} == {str(rows[0].value)}
            assert len(rows) == 40
            assert seen == rows
            assert int(rows[0].value) >= told
            next_version = store.next_version()
            assert next_version > max(version, told_version)
            version = next_version


def test_a_writer_killed_while_it_makes_the_file_can_be_started_again(tmp_path: Path) -> None:
    draw = random.Random(11)
    for turn in range(10):
        path = tmp_path / str(turn) / "fleetd.db"
        with writer(path) as process:
            while not path.exists():
                assert process.poll() is None
                time.sleep(0.001)
            time.sleep(draw.random() / 100)
            process.kill()
            process.wait()
        with closing(SqliteStore(path, readonly=True)) as reader:
            assert len(reader.read(Setting)) in {0, 40}
        with closing(SqliteStore(path)) as store:
            store.commit([Put(Setting("a", "b"))])
            assert Setting("a", "b") in store.read(Setting)


def test_a_reader_beside_a_writer_sees_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    with writer(path) as process, closing(SqliteStore(path, readonly=True)) as reader:
        assert process.stdout
        last = 0
        for _ in range(30):
            told = int(process.stdout.readline().split()[0])
            rows = reader.read(Setting)
            assert len(rows) == 40
            assert len({row.value for row in rows}) == 1
            last, before = int(rows[0].value), last
            assert last >= max(told, before)


def test_a_reader_follows_writers_that_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    with closing(SqliteStore(path, readonly=True)) as reader:
        assert reader.read(Setting) == ()
        for value in ("1", "2", "3"):
            with closing(SqliteStore(path)) as store:
                store.commit([Put(Setting("a", value))])
                assert reader.read(Setting) == (Setting("a", value),)
            assert reader.read(Setting) == (Setting("a", value),)


def test_a_reader_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "state" / "fleetd.db"
    with closing(SqliteStore(path, readonly=True)) as reader:
        assert reader.read(Setting) == ()
    assert names_in(tmp_path) == set()
    with closing(SqliteStore(path)) as store:
        store.commit([Put(Setting("a", "b"))])
    before = {name: (path.parent / name).read_bytes() for name in names_in(path.parent)}
    with closing(SqliteStore(path, readonly=True)) as reader:
        assert reader.read(Setting) == (Setting("a", "b"),)
    assert {name: (path.parent / name).read_bytes() for name in names_in(path.parent)} == before
    assert set(before) == {"fleetd.db"}


def test_a_reader_of_a_killed_writers_files_changes_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    crash(path, 3)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in names_in(tmp_path)}
    with closing(SqliteStore(path, readonly=True)) as reader:
        assert len(reader.read(Setting)) == 40
    after = {name: (tmp_path / name).stat().st_mtime_ns for name in names_in(tmp_path)}
    assert after == before
    assert set(before) == {"fleetd.db", "fleetd.db-wal", "fleetd.db-shm"}


@pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])
def test_a_reader_needs_no_writable_directory(tmp_path: Path, killed: bool) -> None:
    path = tmp_path / "state" / "fleetd.db"
    if killed:
        crash(path, 2)
    else:
        with closing(SqliteStore(path)) as store:
            store.commit([Put(Setting(f"{row}", "x")) for row in range(40)])
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys\n"
        "from pathlib import Path; from fleetd.adapters.store import SqliteStore\n"
        "from fleetd.core.records import Setting\n"
        "def count(): return len(SqliteStore(Path(sys.argv[1]), readonly=True).read(Setting))\n"
        # The program itself may lie where nobody else can read it, so all of it is loaded by now.
        "count(); os.getuid() or (os.setgid(65534), os.setuid(65534)); print(count())"
    )
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    run = [sys.executable, "-c", code, str(path)]
    assert subprocess.run(run, check=False, capture_output=True, text=True).stdout == "40\n"


def test_a_reader_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    SqliteStore(path).close()
    with closing(SqliteStore(path, readonly=True)) as reader:
        with pytest.raises(Refused, match="reading only"):
            reader.commit([Put(Setting("a", "b"))])
        with pytest.raises(Refused, match="reading only"):
            reader.next_version()


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = tmp_path / "state" / "fleetd.db"
        with closing(SqliteStore(path)) as store:
            store.commit([Put(Setting("a", "b"))])
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("fleetd.db", "fleetd.db-wal", "fleetd.db-shm"), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    SqliteStore(path).close()
    path.chmod(0o644)
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("readonly", [False, True], ids=["writer", "reader"])
def test_a_newer_schema_is_refused_with_the_fleetd_that_is_needed(
    tmp_path: Path, readonly: bool
) -> None:
    path = tmp_path / "fleetd.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("INSERT INTO migrations VALUES (99, '7.1.0')")
        raw.execute("PRAGMA user_version = 99")
        raw.commit()
    with pytest.raises(StateBroken, match=r"fleetd 7\.1\.0 .schema 99.*use fleetd 7\.1\.0"):
        SqliteStore(path, readonly=readonly).read(Setting)


def test_an_older_schema_is_brought_up_by_a_writer_and_read_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleetd.db"
    with closing(SqliteStore(path)) as store:
        store.commit([Put(Setting("a", "b"))])
    newer, known = tmp_path / "migrations", len(list(module.MIGRATIONS.iterdir()))
    shutil.copytree(module.MIGRATIONS, newer)
    (newer / "9999_more.sql").write_text(
        "-- A comment; with a semicolon.\nCREATE TABLE more (a TEXT);\n"
        "UPDATE settings SET value = 'migrated';\n"
    )
    monkeypatch.setattr(module, "MIGRATIONS", newer)
    with closing(SqliteStore(path, readonly=True)) as reader:
        assert reader.read(Setting) == (Setting("a", "migrated"),)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (known,)
    with closing(SqliteStore(path)) as store:
        assert store.read(Setting) == (Setting("a", "migrated"),)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (known + 1,)
        assert raw.execute("SELECT number, fleetd FROM migrations").fetchall() == [
            (number, __version__) for number in range(1, known + 2)
        ]


def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleetd.db"
    SqliteStore(path).close()
    newer, known = tmp_path / "migrations", len(list(module.MIGRATIONS.iterdir()))
    shutil.copytree(module.MIGRATIONS, newer)
    (newer / "9999_bad.sql").write_text("CREATE TABLE half (a TEXT);\nNOT SQL AT ALL;\n")
    monkeypatch.setattr(module, "MIGRATIONS", newer)
    with pytest.raises(StateBroken, match="syntax"):
        SqliteStore(path)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (known,)
        assert raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall() == []


def test_the_schema_has_a_column_for_every_field_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as raw:
        columns = {
            kind: {row[1]: row[5] for row in raw.execute(f"PRAGMA table_info({table})")}
            for kind, table in TABLES.items()
        }
    assert {kind: set(found) for kind, found in columns.items()} == {
        kind: {field.name for field in fields(kind)} for kind in IDENTITY
    }
    assert {
        kind: tuple(sorted((name for name, place in found.items() if place), key=found.__getitem__))
        for kind, found in columns.items()
    } == IDENTITY


AUDITED = AuditRecord(1.0, "ann", "cordon", "Node n1", "", "n1")


def test_the_audit_can_only_grow(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    with closing(SqliteStore(path)) as store:
        store.commit([Put(AUDITED)])
        with pytest.raises(sqlite3.IntegrityError, match="the audit is append-only"):
            store.commit([Put(Setting("a", "b")), Drop(AuditRecord)])
        assert store.read(Setting) == (), "nor does anything else of that transaction happen"
        with closing(sqlite3.connect(path)) as raw:
            for statement in (
                "UPDATE audit SET who = 'nobody'",
                "UPDATE audit SET outcome = 'failed'",
                "DELETE FROM audit",
            ):
                with pytest.raises(sqlite3.IntegrityError, match="the audit is append-only"):
                    raw.execute(statement)
            raw.rollback()
        again = replace(AUDITED, outcome="failed")
        store.commit([Put(AUDITED), Put(again)])
        assert store.read(AuditRecord) == (AUDITED, again)


def test_the_same_entry_again_leaves_the_first_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path)) as raw:
        store.commit([Put(AUDITED), Put(replace(AUDITED, who="bob"))])
        store.commit([Put(AUDITED)])
        assert raw.execute("SELECT rowid, who FROM audit ORDER BY rowid").fetchall() == [
            (1, "ann"),
            (2, "bob"),
        ]


def test_the_audit_keeps_the_newest_million_whatever_the_clock_says(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.db"
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path)) as raw:
        far = replace(AUDITED, at=4e9, detail="with a clock that had jumped")
        store.commit([Put(AUDITED), Put(far), Put(replace(AUDITED, at=2.0))])
        assert len(store.read(AuditRecord)) == 3
        raw.execute(
            "INSERT INTO audit (rowid, at, who, verb, subject, detail, node, revision, outcome)"
            " VALUES (1000001, 3.0, '', '', '', '', '', '', '')"
        )
        raw.commit()
        assert [row.at for row in store.read(AuditRecord)] == [2.0, 3.0, 4e9]
        store.commit([Put(replace(AUDITED, at=4.0))])
        assert [row.at for row in store.read(AuditRecord)] == [2.0, 3.0, 4.0]


def test_an_audit_of_an_older_schema_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, older = tmp_path / "fleetd.db", tmp_path / "migrations"
    shutil.copytree(module.MIGRATIONS, older)
    for file in older.iterdir():
        if file.name >= "0006":
            file.unlink()
    with monkeypatch.context() as then:
        then.setattr(module, "MIGRATIONS", older)
        SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("INSERT INTO audit VALUES (1.0, 'ann', 'cordon', 'Node n1', 'why')")
        raw.commit()
    SqliteStore(path).close()
    with closing(SqliteStore(path, readonly=True)) as store:
        assert store.read(AuditRecord) == (AuditRecord(1.0, "ann", "cordon", "Node n1", "why"),)


@pytest.mark.parametrize("readonly", [False, True], ids=["writer", "reader"])
def test_a_damaged_file_is_named(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "fleetd.db"
    path.write_bytes(b"this is not a database at all, though it is long enough to look at" * 20)
    with pytest.raises(StateBroken, match=r"fleetd\.db cannot be .*not a database"):
        SqliteStore(path, readonly=readonly).read(Setting)


def test_a_place_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateBroken, match=r"file/fleetd\.db"):
        SqliteStore(tmp_path / "file" / "fleetd.db")


def test_reading_starts_without_pydantic() -> None:
    code = (
        "import sys; from pathlib import Path; from fleetd.adapters.store import SqliteStore\n"
        "from fleetd.core.records import NodeRecord\n"
        "SqliteStore(Path('/nonexistent/fleetd.db'), readonly=True).read(NodeRecord)\n"
        "print(sorted({'pydantic', 'asyncio', 'asyncssh', 'yaml', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("[]\n", "")
