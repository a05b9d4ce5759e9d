"""Operators that are kept once their weights are packed, within a memory budget; the least recently used go first."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from dse.networks.layers import LayerOperator

MEMORY_BYTES = 200 * 2**20
"""Packed weights kept at once, where nobody says otherwise."""

Key = tuple[int, int]
"""A layer, and what it is given."""


class PackedOperators:
    """The operators of a bank. Pickled without them: they are made anew where they are needed.

    Args:
        memory_bytes: packed weights kept at once.
        n_least: operators kept even so, those of one design: one a layer.
    """

    def __init__(self, memory_bytes: int, n_least: int):
        self._memory_bytes, self._n_least = memory_bytes, n_least
        self._operators: OrderedDict[Key, LayerOperator] = OrderedDict()
        self.n_bytes = 0

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_operators": OrderedDict(), "n_bytes": 0}

    def __len__(self) -> int:
        return len(self._operators)

    def __iter__(self) -> Iterator[Key]:
        """Keys, the least recently used first."""
        return iter(self._operators)

    def find_or_make(self, key: Key, make: Callable[[], LayerOperator]) -> LayerOperator:
        """The operator of a key, packed now where it is not kept."""
        if key in self._operators:
            self._operators.move_to_end(key)
            return self._operators[key]
        self._operators[key] = operator = make()
        self.n_bytes += operator.sums.n_bytes
        while self.n_bytes > self._memory_bytes and len(self._operators) > self._n_least:
            _, dropped = self._operators.popitem(last=False)
            self.n_bytes -= dropped.sums.n_bytes
        return operator
