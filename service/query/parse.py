"""Text → one sqlglot tree, refused with line, column and what was expected where it is not ADQL."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from registry_metadata.reserved import RESERVED
from service.errors import UsageFault
from service.query.dialect import ADQL, OPERATORS, TYPES, WORDS

MAX_CHARACTERS = 1_000_000  # long lists of identifiers are fine
MAX_DEPTH = 60  # of parentheses; each level costs stack
ALLOWED = frozenset(
    {
        *WORDS.values(), *TYPES.values(), *OPERATORS.values(),
        TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER,
        TokenType.L_PAREN, TokenType.R_PAREN, TokenType.COMMA, TokenType.DOT, TokenType.STAR, TokenType.SLASH,
        TokenType.PLUS, TokenType.DASH, TokenType.EQ, TokenType.LT, TokenType.GT, TokenType.SEMICOLON,
        TokenType.L_BRACKET, TokenType.R_BRACKET, TokenType.COLON,
    }
)  # fmt: skip
OPENING, CLOSING = (TokenType.L_PAREN, TokenType.L_BRACKET), (TokenType.R_PAREN, TokenType.R_BRACKET)
FIRST = (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN)
NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
NOT_AFTER_COMMA = (TokenType.COMMA, TokenType.FROM, TokenType.R_PAREN, TokenType.WHERE, TokenType.SEMICOLON)
KINDS = frozenset(TYPES.values())
CLAUSES = (
    TokenType.SELECT, TokenType.FROM, TokenType.JOIN, TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING,
    TokenType.ORDER_BY, TokenType.OFFSET,
)  # fmt: skip
SETS = (TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT)
REGIONS = ("POINT", "CIRCLE", "POLYGON")
HINTS = {
    "LIMIT": "ADQL has no LIMIT; write SELECT TOP n",
    "FETCH": "ADQL has no FETCH; write SELECT TOP n",
    "CASE": "ADQL has no CASE",
    "OVER": "ADQL has no window functions",
    "INTO": "results cannot be stored in tables",
}
GLUED = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|[A-Za-z_]\w*|((?:\d+\.?\d*|\.\d+)[eE]\d+)(?=[+-])""")
_DIALECT = ADQL()


def parse_adql(text: str) -> exp.Query:
    """The syntax tree of exactly one query; one semicolon may end it (ADQL 2.1, appendix A)."""
    if len(text) > MAX_CHARACTERS:
        raise UsageFault(f"the query has {len(text)} characters; {MAX_CHARACTERS} are allowed")
    try:
        tokens = tokenized(text)
    except TokenError:
        raise UsageFault(_unclosed(text)) from None
    check_tokens(tokens)
    check_clauses(tokens)
    try:
        trees = _DIALECT.parser().parse(tokens, text)
    except ParseError as error:
        raise UsageFault(_told(error)) from None
    except RecursionError:
        raise UsageFault("the query is nested too deeply") from None
    if len(trees) != 1 or trees[0] is None:
        raise UsageFault("expected exactly one query, which begins with SELECT or WITH")
    if not isinstance(tree := trees[0], exp.Query):
        raise UsageFault("the query is not ADQL: expected SELECT or WITH at its beginning")
    return tree


def tokenized(text: str) -> list[Token]:
    """The tokens of a text. sqlglot takes the sign in 1e5+2 for one of the exponent: it is given a blank
    before the sign, of which the places of the tokens tell nothing."""
    cuts = [found.end() for found in GLUED.finditer(text) if found[1]]
    if not cuts:
        return list(_DIALECT.tokenize(text))
    spaced = " ".join(text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True))
    blanks = [cut + place for place, cut in enumerate(cuts)]
    tokens = list(_DIALECT.tokenize(spaced))
    for token in tokens:
        before = bisect(blanks, token.start)
        token.col -= before - bisect(blanks, spaced.rfind("\n", 0, token.start))
        token.start, token.end = token.start - before, token.end - before
    return tokens


def check_tokens(tokens: Sequence[Token]) -> None:
    """What the parser would let pass: foreign symbols, bare reserved words, stray commas, deep nesting."""
    if not tokens:
        raise UsageFault("the query is empty; expected SELECT")
    if tokens[0].token_type not in FIRST:
        raise UsageFault(f"{at_token(tokens[0])}: {tokens[0].text} is not ADQL; expected SELECT or WITH")
    depth = brackets = 0
    for place, token in enumerate(tokens):
        kind = token.token_type
        following = tokens[place + 1] if place + 1 < len(tokens) else None
        brackets += (kind is TokenType.L_BRACKET) - (kind is TokenType.R_BRACKET)
        if kind not in ALLOWED or (kind is TokenType.COLON and brackets <= 0):
            raise UsageFault(f"{at_token(token)}: {token.text!r} is not part of ADQL")
        if kind in KINDS and (place == 0 or tokens[place - 1].token_type is not TokenType.ALIAS):
            raise UsageFault(
                f"{at_token(token)}: {token.text} is a reserved word; a type stands only in CAST"
            )
        if kind is TokenType.VAR:
            _check_name(token, following, tokens[place - 1] if place else None)
        if kind in NAMES and place > 1 and all(t.token_type in NAMES for t in tokens[place - 2 : place]):
            raise UsageFault(f"{at_token(token)}: {token.text!r} is not expected after two names")
        if kind is TokenType.NUMBER and following is not None:
            _check_number(token, following)
        if kind is TokenType.COMMA and (following is None or following.token_type in NOT_AFTER_COMMA):
            raise UsageFault(f"{at_token(token)}: expected something after the comma")
        depth += (kind in OPENING) - (kind in CLOSING)
        if depth > MAX_DEPTH:
            raise UsageFault(
                f"{at_token(token)}: parentheses are nested deeper than {MAX_DEPTH} levels, which is allowed"
            )


def check_clauses(tokens: Sequence[Token]) -> None:
    """The clauses of a query have one order; ORDER BY and OFFSET of an operand stand in parentheses with it
    (ADQL 2.1, appendix A)."""
    last: list[Token | None] = [None]  # the clause that is open, for each level of parentheses
    for token in tokens:
        kind, before = token.token_type, last[-1]
        if kind is TokenType.L_PAREN:
            last.append(None)
        elif kind is TokenType.R_PAREN and len(last) > 1:
            last.pop()
        elif kind is TokenType.SEMICOLON:
            last = [None]
        elif kind in CLAUSES or kind in SETS:
            if before is not None and not _may_follow(kind, before.token_type):
                raise UsageFault(
                    f"{at_token(token)}: {token.text.upper()} does not follow {before.text.upper()}"
                )
            last[-1] = None if kind in SETS else token


def _may_follow(kind: TokenType, before: TokenType) -> bool:
    if kind in SETS:
        return before not in (TokenType.ORDER_BY, TokenType.OFFSET)
    again = kind is before is TokenType.JOIN
    return again or CLAUSES.index(kind) > CLAUSES.index(before)


def _check_name(token: Token, following: Token | None, before: Token | None) -> None:
    if following is not None and following.token_type is TokenType.L_PAREN:
        return
    if before is not None and before.token_type is TokenType.ALIAS and token.text.upper() in REGIONS:
        return  # CAST(… AS POINT)
    word = token.text.upper()
    if word in RESERVED:
        hint = HINTS.get(word, f'as a name it must be written "{token.text}"')
        raise UsageFault(f"{at_token(token)}: {token.text} is a reserved word; {hint}")
    if word in HINTS and following is not None and following.token_type in (*NAMES, TokenType.NUMBER):
        raise UsageFault(f"{at_token(token)}: {HINTS[word]}")


def _check_number(token: Token, following: Token) -> None:
    touching = following.start == token.end + 1
    if touching and following.token_type in (*NAMES, TokenType.NUMBER, TokenType.STRING):
        raise UsageFault(
            f"{at_token(token)}: {token.text}{following.text} is neither a number nor a name; "
            "numbers are written 12, 1.5 or 1e-7"
        )


def at_token(token: Token) -> str:
    return position(token.line, token.col - (token.end - token.start))


def position(line: int, column: int) -> str:
    return f"line {line}, column {max(column, 1)}"


def at(node: exp.Expr) -> str:
    """Where a node stands in the text: its own position or that of the first part that has one."""
    for part in node.walk():
        place = part.meta if part._meta else {}
        if "line" in place:
            return position(place["line"], place["col"] - (place["end"] - place["start"]))
    return "in the query"


def fault(node: exp.Expr, message: str) -> UsageFault:
    """A UsageFault that begins with the place."""
    return UsageFault(f"{at(node)}: {message}")


def _told(error: ParseError) -> str:
    found = error.errors[0] if error.errors else {}
    word, line, column = found.get("highlight") or "", found.get("line"), found.get("col")
    if line is None or column is None:
        return "the query is not ADQL"
    where = position(line, column - max(len(word) - 1, 0))
    description = str(found.get("description") or "")
    if description.startswith("Required") and not found.get("end_context"):
        return f"{where}: the query ends too early, with {word}"
    before = (found.get("start_context") or "").split()
    hint = HINTS.get(before[-1].upper()) if before else None
    if hint is None and description.startswith("Expecting"):
        hint = "expected " + description.removeprefix("Expecting").strip()
    hint = hint or (f"{word!r} is not expected here" if word else "the query ends too early")
    return f"{where}: {hint}"


def _unclosed(text: str) -> str:
    """The tokenizer fails only where a quote is not closed."""
    quote, start = "", 0
    for place, character in enumerate(text):
        if character in "'\"" and (not quote or quote == character):
            quote, start = ("" if quote else character), place
    line = text.count("\n", 0, start) + 1
    column = start - text.rfind("\n", 0, start)
    kind = "identifier" if quote == '"' else "string"
    return f"{position(line, column)}: the {kind} that begins here is not closed; expected {quote or chr(39)}"
