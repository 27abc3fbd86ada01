"""Requests that went wrong on their way: valid ones, changed at random but repeatably."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

HOSTILE = (
    "", " ", "0", "-1", "1e999", "-Inf", "NaN", "inf/inf", "/", "//", "1/2/3", ",", ",,,", "1,2,3;GALACTIC",
    "99999999999999999999", "1e-400", "0x10", "1_000", "٣", "½", "\x00", "\x1b[31m", "\ud800", "a" * 5000,
    "'", "''", "\"", "';DROP TABLE spectra;--", "' OR 1=1 --", "{{7*7}}", "${7*7}", "%s%n", "<b>&amp;</b>",
    "]]>",
    "../../etc/passwd", "..%2f..%2fetc", "file:///etc/passwd", "upload:", "upload:../x", "ivo://", "ivo:",
    "2012-13-45", "0000", "9999-12-31/0001-01-01", "2012-02-30T25:61:61", "nan nan", "Inf -Inf", "1 2 3",
    "physics; teff:NaN", "; z00:-1", ":", "optical:", "physics;;", "metadata", "all,all", "text/html;q=0.1",
    "application/x-votable+xml;serialization=binary2", "image/*", "x" * 70, "\U0001f52d", "\u202egnp.vot",
    "[1,2]", "null", "None", "1" * 400, "1/1e308", "-1e308/1e308", "180,91", "-1,0", "360.0000001,0", "1;2;3",
)  # fmt: skip

POSTS = 0.1  # share of the requests that come by POST


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; the query string is as it goes over the wire."""

    method: str
    path: str
    query: bytes
    body: bytes = b""
    content_type: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{self.query[:300]!r} {self.body[:80]!r}"


Pairs = list[tuple[str, str]]


def replaced(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> None:
    """A hostile value in the place of a good one."""
    place = draw.randrange(len(pairs))
    pairs[place] = (pairs[place][0], draw.choice(HOSTILE))


def edited(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> None:
    """Characters of a value dropped, doubled or changed."""
    place = draw.randrange(len(pairs))
    name, value = pairs[place]
    letters = list(value) or ["x"]
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(letters))
        letters[at] = draw.choice(
            ("", letters[at] * 2, chr(draw.randrange(1, 0x2FF)), draw.choice("/,;:+-. '%#&"))
        )
    pairs[place] = (name, "".join(letters))


def added(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> None:
    """A parameter that the service knows, with a value that it may not."""
    pairs.append((draw.choice(names), draw.choice(HOSTILE)))


def repeated(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> None:
    pairs += [draw.choice(pairs)] * draw.randint(1, 30)


def removed(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> None:
    del pairs[draw.randrange(len(pairs))]


def joined(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> None:
    """Two values in one."""
    place = draw.randrange(len(pairs))
    between = draw.choice((",", "/", ";", " ", ""))
    pairs[place] = (pairs[place][0], pairs[place][1] + between + draw.choice((*HOSTILE, pairs[place][1])))


def renamed(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> None:
    place = draw.randrange(len(pairs))
    name, value = pairs[place]
    pairs[place] = (
        draw.choice((name.lower(), name + " ", name[::-1], "", "$" + name, draw.choice(names))),
        value,
    )


CHANGES: tuple[Callable[[random.Random, Pairs, Sequence[str]], None], ...] = (
    replaced, edited, added, repeated, removed, joined, renamed,
)  # fmt: skip


def mutated(draw: random.Random, pairs: Pairs, names: Sequence[str]) -> Pairs:
    found = list(pairs)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if found:
            draw.choice(CHANGES)(draw, found, names)
    return found


def encoded(draw: random.Random, pairs: Pairs) -> bytes:
    """The query string, now and then with bytes that are none of UTF-8 or not encoded at all."""
    text = "&".join(
        f"{quote_plus(name, errors='surrogatepass')}={quote_plus(value, errors='surrogatepass')}"
        for name, value in pairs
    )
    odd = draw.random()
    if odd < 0.04:
        return text.encode() + draw.choice((b"%ff%fe", b"%", b"%zz", b"&&&=", b"=", b"&=%00", b"+" * 50))
    return text.encode()


def requests(
    path: str,
    seeds: Sequence[Mapping[str, str]],
    names: Sequence[str],
    count: int,
    seed: int,
    posts: float = POSTS,
) -> Iterator[Asked]:
    """`count` requests, a share of them by POST."""
    draw = random.Random(f"{path} {seed}")
    for _ in range(count):
        query = encoded(draw, mutated(draw, list(draw.choice(seeds).items()), names))
        if draw.random() < posts:
            yield Asked("POST", path, b"", query, "application/x-www-form-urlencoded")
        else:
            yield Asked("GET", path, query)


def paths(
    prefix: str, dids: Sequence[str], suffixes: Sequence[str], count: int, seed: int
) -> Iterator[Asked]:
    """Requests whose path is what is changed."""
    draw = random.Random(f"{prefix} {seed}")
    for _ in range(count):
        pairs = mutated(draw, [("path", draw.choice(dids) + draw.choice(suffixes))], ("path",))
        text = pairs[0][1] if pairs else ""
        yield Asked(
            "GET", prefix + (text if draw.random() < 0.2 else quote(text, safe="", errors="ignore")), b""
        )


def damaged(draw: random.Random, content: bytes) -> bytes:
    """A file with some bytes changed, now and then cut short."""
    body = bytearray(content)
    for _ in range(draw.choice((0, 1, 2, 20))):
        body[draw.randrange(len(body))] = draw.randrange(256)
    return bytes(body[: draw.randrange(len(body))] if draw.random() < 0.3 else body)


def bodies(
    path: str, files: Sequence[bytes], params: Sequence[str], count: int, seed: int
) -> Iterator[Asked]:
    """Damaged files, and parameters that do not fit them."""
    draw = random.Random(f"{path} {seed}")
    for _ in range(count):
        body = damaged(draw, draw.choice(files))
        pairs = [(draw.choice(params), draw.choice(HOSTILE)) for _ in range(draw.choice((0, 0, 1, 2)))]
        yield Asked("POST", path, encoded(draw, pairs), body, "application/octet-stream")
