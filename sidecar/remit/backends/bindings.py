"""What the places of a plan's text are bound to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from remit.core.view.model import Binding, Cell, Constant, HashPad, Parameter, TokenArray
from remit.ports import DatabaseFailed, Failure, Tokenizer

Tokens = Sequence[tuple[Sequence[str], Sequence[str]]]
"""Of each token query the raw values and their tokens."""


def bound(
    bindings: Sequence[Binding], parameters: Mapping[str, Cell], tokenizer: Tokenizer, tokens: Tokens = ()
) -> list[Any]:
    """The values in the order of their places. Raises DatabaseFailed where the agent sent no such parameter."""
    return [_value(each, parameters, tokenizer, tokens) for each in bindings]


def _value(binding: Binding, parameters: Mapping[str, Cell], tokenizer: Tokenizer, tokens: Tokens) -> Any:
    match binding:
        case Parameter(name):
            if name not in parameters:
                raise DatabaseFailed(Failure.BAD_STATEMENT, f"no value was sent for :{name}")
            return parameters[name]
        case Constant(value):
            return value
        case HashPad(domain, which):
            return tokenizer.pad(domain, which)
        case TokenArray(query, which):
            return list(tokens[query][0 if which == "raw" else 1])
