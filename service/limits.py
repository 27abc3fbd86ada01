"""The `[limits]` and `[state]` sections of the configuration: what is declared is what is enforced."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows, bytes and seconds that one request may take."""

    default_rows: int = 20_000  # MAXREC where a request names none
    max_rows: int = 20_000_000  # MAXREC at most
    sync_seconds: int = 60
    async_seconds: int = 3600  # executionduration of a new job
    max_async_seconds: int = 4 * 3600
    retention_seconds: int = 7 * 86400  # destruction of a new job
    max_retention_seconds: int = 30 * 86400
    request_bytes: int = 200 * MEGABYTE  # the body of any POST
    upload_bytes: int = 100 * MEGABYTE  # one uploaded table
    upload_rows: int = 2_000_000
    upload_columns: int = 1000
    upload_tables: int = 16
    fetch_seconds: int = 30  # to load an upload from elsewhere
    jobs_per_client: int = 200  # jobs not yet destroyed
    running_jobs: int = 2  # at a time in one process
    waiting_seconds: int = 60  # WAIT=-1 of a job


@dataclass(frozen=True, slots=True)
class StateConfig:
    """Where jobs, upload tokens and statistics live; a directory for their files."""

    url: str = ""  # SQLAlchemy's; empty: SQLite in the directory
    directory: str = "state"
