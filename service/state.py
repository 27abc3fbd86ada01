"""What must outlive releases and processes: jobs, uploaded spectra. SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Dialect,
    Engine,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    create_engine,
    delete,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.schema import CreateColumn

BUSY_MILLISECONDS = 20_000
ATTEMPTS = 5  # to make tables while other processes do the same


class StateError(Exception):
    """The database of the state can not be used; the message is for the operator."""


class Base(DeclarativeBase):
    pass


class Words(TypeDecorator[str]):
    """What clients write: PostgreSQL keeps no NUL in a text, and looks for none."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.replace("\x00", "\ufffd")


class Job(Base):
    """A UWS job; times are seconds since 1970, files lie in the state directory."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(Words, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10), server_default="tap")  # whose job tree it is in
    owner: Mapped[str] = mapped_column(String(80), index=True)  # the client's address
    phase: Mapped[str] = mapped_column(String(12), index=True)
    run_id: Mapped[str | None] = mapped_column(Words)
    created: Mapped[float]
    queued: Mapped[float | None]
    started: Mapped[float | None]
    ended: Mapped[float | None]
    destruction: Mapped[float] = mapped_column(index=True)
    duration: Mapped[int]  # seconds; 0: as long as the hard limit
    parameters: Mapped[str] = mapped_column(Text)  # JSON: [[name, value], …]
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(40))
    lease: Mapped[float | None]  # the worker holds the job until then
    error: Mapped[str | None] = mapped_column(Words)
    fault: Mapped[str | None] = mapped_column(String(30))  # the word for its kind, as in service.errors
    results: Mapped[str | None] = mapped_column(Text)  # JSON: [[name, media type, file name, bytes], …]


class Token(Base):
    """An uploaded spectrum, `upload:<token>`: prepared pixels, to be encoded under any release."""

    __tablename__ = "tokens"

    token: Mapped[str] = mapped_column(Words, primary_key=True)
    created: Mapped[float]
    expires: Mapped[float] = mapped_column(index=True)
    name: Mapped[str] = mapped_column(Words)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class RegistryRecord(Base):
    """What harvesters of the registry were told: when a record came, changed, went. Seconds since 1970."""

    __tablename__ = "registry_records"

    identifier: Mapped[str] = mapped_column(String(200), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    created: Mapped[int] = mapped_column(BigInteger)
    updated: Mapped[int] = mapped_column(BigInteger)
    deleted: Mapped[bool] = mapped_column(default=False)


class State:
    """The state database and its directory; safe for many threads and processes. StateError where the
    database does not answer or is none."""

    def __init__(self, url: str, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.engine = make_engine(url or f"sqlite:///{directory / 'state.sqlite'}")
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        try:
            prepare(self.engine)
        except DatabaseError as error:
            where = self.engine.url.render_as_string(hide_password=True)
            self.engine.dispose()
            raise StateError(f"the state in {where} can not be used: {error.orig}") from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: all of it or nothing."""
        with self._sessions() as session, session.begin():
            yield session

    def job_directory(self, id_: str) -> Path:
        """Where the files of a job lie."""
        return self.directory / "jobs" / id_

    def keep_token(self, name: str, content: bytes, seconds: float) -> str:
        """Stores an upload for some time; the word that stands for it."""
        token, now = secrets.token_urlsafe(16), time.time()
        with self.session() as session:
            session.execute(delete(Token).where(Token.expires < now))
            session.add(Token(token=token, created=now, expires=now + seconds, name=name, content=content))
        return token

    def token(self, token: str) -> Token | None:
        """The upload that a word stands for; None where it is unknown or has expired."""
        with self.session() as session:
            query = select(Token).where(Token.token == token, Token.expires >= time.time())
            return session.scalars(query).one_or_none()

    def close(self) -> None:
        self.engine.dispose()


def prepare(engine: Engine) -> None:
    """Makes the tables and columns that are missing. Where another process does the same, one of the two is
    refused and finds everything done when it looks again."""
    for again in range(ATTEMPTS):
        try:
            Base.metadata.create_all(engine)
            add_columns(engine)
        except (OperationalError, ProgrammingError, IntegrityError):
            if again == ATTEMPTS - 1:
                raise
            time.sleep(0.2 * (again + 1))
        else:
            return


def add_columns(engine: Engine) -> None:
    """A database of an earlier version gets the columns that came since; what it has stays as it is."""
    known = inspect(engine)
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            held = {column["name"] for column in known.get_columns(table.name)}
            for column in table.columns:
                if column.name not in held:
                    told = CreateColumn(column).compile(dialect=engine.dialect)
                    connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {told}"))


def make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(
        url, connect_args={"timeout": BUSY_MILLISECONDS / 1000, "check_same_thread": False}
    )
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    """Readers do not wait for the writer; a commit survives the process, the last ones not a power cut."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_MILLISECONDS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
