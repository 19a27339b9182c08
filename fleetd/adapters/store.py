"""The state in one SQLite file: plain SQL, numbered migrations, and a reader that leaves no trace.

Invariants:
- A commit is one transaction, on the disk when `commit` returns (WAL, synchronous=FULL).
- The reading form writes nothing at all, not even SQLite's own side files. It reads beside a
  writer, after a crash, where the directory may not be written, and an older schema (from a copy
  in memory). It takes no lock that a writer could wait for.
- The file and its side files are for their owner only (0600): secrets are in them.

`get` starts here, so that nothing but the standard library and the records is imported.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from fleetd import __version__
from fleetd.adapters.rows import ROWS, Rows
from fleetd.core.records import Record
from fleetd.errors import Refused, StateBroken
from fleetd.ports import Change, Put

R = TypeVar("R", bound=Record)
Status = tuple[int, int, int] | None
Signature = tuple[Status, Status, Status]

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_TIMEOUT_MS = 10_000
READ_ATTEMPTS = 20
READ_PAUSE_S = 0.01
WAL_HEADER = 32
"""Bytes of a -wal in which no transaction has begun."""


class SqliteStore:
    """`ports.Store` over one file; see there for what the methods promise.

    `StateBroken` is raised when the file cannot be read or written, or is of a newer fleetd;
    `Refused` when the reading form is asked to write.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        """Open the file, made (with its directory) and migrated as needed unless `readonly`.

        A reader takes a file that is not there for an empty state.
        """
        self._path = path
        self._reader = _Reader(path) if readonly else None
        self._writer = None if readonly else _open_writer(path)

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        rows: Rows[R] = ROWS[kind]
        statement, values = rows.read(where)
        if self._reader:
            found = self._reader.query(statement, values)
        else:
            with _translated(self._path):
                found = self._connection.execute(statement, values).fetchall()
        return tuple(rows.record(row) for row in found)

    def commit(self, changes: Iterable[Change]) -> None:
        with _translated(self._path), _transaction(self._connection) as connection:
            for change in changes:
                if isinstance(change, Put):
                    rows = ROWS[type(change.record)]
                    connection.execute(rows.put, rows.values(change.record))
                else:
                    connection.execute(*ROWS[change.kind].drop(change.where))

    def next_version(self) -> int:
        with _translated(self._path), _transaction(self._connection) as connection:
            connection.execute(
                "UPDATE counters SET value = value + 1 WHERE name = 'resource_version'"
            )
            return int(
                connection.execute(
                    "SELECT value FROM counters WHERE name = 'resource_version'"
                ).fetchone()[0]
            )

    def close(self) -> None:
        if self._reader:
            self._reader.close()
        if self._writer:
            self._writer.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._writer is None:
            raise Refused(f"the state in {self._path} was opened for reading only")
        return self._writer


class _Reader:
    """Queries that leave no trace.

    Beside a live or killed writer there are SQLite's -wal and -shm files, and reading through them
    needs no write. After a clean end there are none, and SQLite would make them: then the file is
    read as immutable, and what was read counts only if the files are the same before and after.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._frozen: Signature | None = None

    def query(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        trouble = "it keeps changing"
        for attempt in range(READ_ATTEMPTS):
            time.sleep(READ_PAUSE_S * attempt)
            try:
                rows = self._opened().execute(statement, values).fetchall()
            except sqlite3.ProgrammingError:
                raise
            except sqlite3.DatabaseError as error:
                # Perhaps a writer came or went while we looked.
                trouble = str(error)
                self.close()
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                    break
            else:
                if not self._moved():
                    return rows
        raise StateBroken(f"{self._path} cannot be read: {trouble}")

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _moved(self) -> bool:
        return self._frozen is not None and self._frozen != _signature(self._path)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None or self._moved():
            self.close()
            signature: Signature | None
            signature = _signature(self._path)
            database, wal, shm = signature
            if database is None:
                self._connection = sqlite3.connect(":memory:", isolation_level=None)
            elif not wal or wal[1] <= WAL_HEADER:
                # Nothing is in the -wal. A writer killed while it made the -shm leaves one that
                # cannot be used read-only, and SQLite would wait for that writer.
                self._connection = _connect(self._path, "mode=ro&immutable=1")
            elif shm:
                self._connection = _connect(self._path, "mode=ro&readonly_shm=1")
                signature = None
            else:
                # Only a copy from elsewhere has a -wal without -shm: SQLite has to make that anew.
                self._connection = _connect(self._path, "mode=ro")
                signature = None
            if _version(self._connection, self._path) < len(_migrations()):
                signature = _signature(self._path)
                self._connection = _migrated_copy(self._connection, self._path)
            self._frozen = signature
        return self._connection


def _signature(path: Path) -> Signature:
    """How the file, its -wal and its -shm are just now."""
    return _status(str(path)), _status(f"{path}-wal"), _status(f"{path}-shm")


def _status(name: str) -> Status:
    """Inode, size and time of change; None for a file that is not there."""
    try:
        status = os.stat(name)  # noqa: PTH116 - pathlib is several times slower to import and call
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateBroken(f"{name} cannot be read: {error.strerror}") from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _open_writer(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StateBroken(f"{path} cannot be opened for writing: {error.strerror}") from error
    with _translated(path):
        connection = _connect(path, "mode=rw")
        try:
            _version(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the file or the disk into a `StateBroken` that names the file."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise StateBroken(f"{path} cannot be used: {error}") from error


def _migrations() -> tuple[Path, ...]:
    return _numbered(MIGRATIONS)


@cache
def _numbered(directory: Path) -> tuple[Path, ...]:
    return tuple(sorted(directory.glob("[0-9]*.sql")))


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The number of the schema; a newer one than known raises `StateBroken`."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    known = len(_migrations())
    if version > known:
        maker = connection.execute(
            "SELECT fleetd FROM migrations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        raise StateBroken(
            f"{path} was made by fleetd {maker[0]} (schema {version}); this is fleetd "
            f"{__version__} (up to schema {known}): use fleetd {maker[0]} or newer"
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up, each step in one transaction together with its number."""
    for number, migration in enumerate(_migrations(), 1):
        with _transaction(connection):
            if _version(connection, path) >= number:
                continue
            # Which fleetd made a schema is kept outside the migrations: an older fleetd reads it.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations "
                "(number INTEGER NOT NULL PRIMARY KEY, fleetd TEXT NOT NULL)"
            )
            for statement in _statements(migration.read_text()):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (number, __version__))
            connection.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script: `executescript` would end our transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), "a migration ends in the middle of a statement"


def _migrated_copy(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    with closing(connection):
        copy = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(copy)
        # A copy in memory cannot have a WAL; its header still asks for one.
        copy.execute("PRAGMA journal_mode = MEMORY")
        _migrate(copy, path)
    return copy
