"""The `[limits]` and `[state]` sections of the configuration: what is declared is what is enforced."""

from __future__ import annotations

from dataclasses import dataclass

from index.settings import setting

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows, bytes and seconds that one request may take."""

    default_rows: int = setting(20_000, "MAXREC where a request names none")
    max_rows: int = setting(20_000_000, "MAXREC at most")
    sync_seconds: int = setting(60, "time of a synchronous query")
    sync_queries: int = setting(32, "synchronous TAP queries that a process answers at a time; others wait")
    sync_share: int = setting(8, "of these, what one client (address) has at a time; its others wait")
    async_seconds: int = setting(3600, "executionduration of a new job")
    max_async_seconds: int = setting(4 * 3600, "executionduration at most")
    retention_seconds: int = setting(7 * 86400, "destruction of a new job, from its creation")
    max_retention_seconds: int = setting(30 * 86400, "destruction at the latest")
    request_bytes: int = setting(200 * MEGABYTE, "the body of any POST")
    upload_bytes: int = setting(100 * MEGABYTE, "one uploaded table")
    upload_rows: int = setting(2_000_000, "rows of an uploaded table")
    upload_columns: int = setting(1000, "columns of an uploaded table")
    upload_tables: int = setting(16, "tables uploaded with one query")
    token_seconds: int = setting(7 * 86400, "time for which upload:<token> of a spectrum sent works")
    fetch_seconds: int = setting(30, "time to load an upload from elsewhere")
    jobs_per_client: int = setting(200, "jobs not yet destroyed")
    running_jobs: int = setting(2, "jobs that run at a time in one process")
    waiting_seconds: int = setting(60, "WAIT=-1 of a job")


@dataclass(frozen=True, slots=True)
class StateConfig:
    """Where jobs, upload tokens and statistics live; a directory for their files."""

    url: str = setting("", "SQLAlchemy's URL of the state database; empty: SQLite in the directory")
    directory: str = setting("state", "directory for the files of jobs, relative to this file")
