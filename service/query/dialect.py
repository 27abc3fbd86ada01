"""ADQL as a dialect of sqlglot: the few words that ADQL has, and nothing that it has not."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.tokenizer_core import TokenType

NAMES = {TokenType.VAR}
TYPES = {
    "SMALLINT": TokenType.SMALLINT,
    "INTEGER": TokenType.INT,
    "INT": TokenType.INT,
    "BIGINT": TokenType.BIGINT,
    "REAL": TokenType.FLOAT,
    "DOUBLE PRECISION": TokenType.DOUBLE,
    "CHAR": TokenType.CHAR,
    "VARCHAR": TokenType.VARCHAR,
    "TIMESTAMP": TokenType.TIMESTAMP,
}
WORDS = {
    **{
        word: TokenType[word]
        for word in (
            "SELECT", "DISTINCT", "ALL", "TOP", "FROM", "WHERE", "HAVING", "OFFSET", "JOIN", "NATURAL",
            "INNER", "LEFT", "RIGHT", "FULL", "OUTER", "CROSS", "ON", "USING", "UNION", "EXCEPT",
            "INTERSECT", "WITH", "AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ILIKE", "IS", "NULL",
            "EXISTS", "ASC", "DESC",
        )
    },
    "AS": TokenType.ALIAS,
    "GROUP BY": TokenType.GROUP_BY,
    "ORDER BY": TokenType.ORDER_BY,
}  # fmt: skip
OPERATORS = {
    "||": TokenType.DPIPE,
    "<>": TokenType.NEQ,
    "!=": TokenType.NEQ,
    "<=": TokenType.LTE,
    ">=": TokenType.GTE,
}


class ADQL(Dialect):
    """Every function stays an anonymous call that functions.py explains; CAST alone is sqlglot's."""

    NULL_ORDERING = "nulls_are_large"
    TYPED_DIVISION = True

    class Tokenizer(tokens.Tokenizer):
        KEYWORDS: ClassVar[dict[str, TokenType]] = {**WORDS, **OPERATORS, **TYPES}
        COMMENTS: ClassVar = ["--"]
        COMMANDS: ClassVar[set[TokenType]] = set()

    class Parser(parser.Parser):
        FUNCTIONS: ClassVar = {}
        NO_PAREN_FUNCTIONS: ClassVar = {}
        NO_PAREN_FUNCTION_PARSERS: ClassVar = {}
        FUNCTION_PARSERS: ClassVar = {"CAST": parser.Parser.FUNCTION_PARSERS["CAST"]}
        SUBQUERY_PREDICATES: ClassVar = {
            TokenType.EXISTS: parser.Parser.SUBQUERY_PREDICATES[TokenType.EXISTS]
        }
        ID_VAR_TOKENS: ClassVar = NAMES
        TABLE_ALIAS_TOKENS: ClassVar = NAMES
        ALIAS_TOKENS: ClassVar = NAMES
        FUNC_TOKENS: ClassVar = NAMES | {TokenType.EXISTS, TokenType.IDENTIFIER}
        SET_OP_MODIFIERS: ClassVar = {"order", "offset"}  # TOP stays with its own SELECT

        def _parse_join(self, *args: Any, **more: Any) -> exp.Join | None:
            """A JOIN without ON is told from a comma."""
            comma = self._curr.token_type is TokenType.COMMA
            join = super()._parse_join(*args, **more)
            if isinstance(join, exp.Join) and not comma and not join.kind:
                join.set("kind", "INNER")
            return join
