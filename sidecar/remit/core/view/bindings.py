"""SQL that is written as text: quoted names, and numbered places for every value of policy's and of the agent's."""

from __future__ import annotations

from remit.core.view.model import Binding, Constant, Dialect, Parameter, Scalar, Text

_SIGILS = {Dialect.POSTGRES: "$", Dialect.SQLITE: "?"}


class Bindings:
    """The numbered places of one text, and what each is bound to.

    A parameter has one place however often it is named, so that PostgreSQL infers one type for it, as it would for the
    agent's own `$1`. Every constant has its own: 1, 1.0 and TRUE are equal in Python, and are not to be mixed up.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._bindings: list[Binding] = []
        self._parameters: dict[str, str] = {}
        self._functions: set[str] = set()

    def new(self, binding: Binding, type: str = "") -> str:
        """A place of its own; `type` says what PostgreSQL is to take it for, where the context would not tell it."""
        self._bindings.append(binding)
        place = f"{_SIGILS[self.dialect]}{len(self._bindings)}"
        return f"CAST({place} AS {type})" if type and self.dialect is Dialect.POSTGRES else place

    def constant(self, value: Scalar, type: str = "") -> str:
        """The place of a value of policy's."""
        return self.new(Constant(value), type)

    def parameter(self, name: str) -> str:
        """The place of an agent's parameter."""
        if name not in self._parameters:
            self._parameters[name] = self.new(Parameter(name))
        return self._parameters[name]

    def alone(self, name: str, type: str = "") -> str:
        """Another place of an agent's parameter, whose type is inferred by itself."""
        return self.new(Parameter(name), type)

    def call(self, name: str, *arguments: str) -> str:
        """A call of a function; it is remembered for `Plan.functions`."""
        self._functions.add(name)
        return f"{name}({', '.join(arguments)})"

    @property
    def functions(self) -> frozenset[str]:
        """The names of the functions that were called, lower case."""
        return frozenset(self._functions)

    def text(self, sql: str) -> Text:
        """The finished text."""
        return Text(sql, tuple(self._bindings))


def quoted(name: str) -> str:
    """A name as both databases take it as it is."""
    return '"' + name.replace('"', '""') + '"'
