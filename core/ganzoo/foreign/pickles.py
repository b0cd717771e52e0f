"""Pickles, read without executing them.

A pickle is a program for a stack machine that may import and call anything. The machine here builds an inert graph
instead: an imported name becomes a `Global`, a call an `Object` that records what would have been called, a persistent
id a `Reference`. Nothing is imported or called. Names must be on a list of full names, those that weights of GANs need.
`ganzoo.foreign.rebuild` interprets the graph.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn, cast

from ganzoo.errors import CheckpointError
from ganzoo.io import budgets

DICT, SET, FROZENSET = "builtins dict", "builtins set", "builtins frozenset"


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the pickle would import, as "module qualname"."""

    name: str


@dataclass(eq=False)
class Object:
    """A call that the pickle would make: name, arguments, and what would be put into the result.

    Dictionaries and sets are Objects too, since their keys must not be hashed before they are checked.
    """

    name: str
    args: Any = ()
    state: Any = None
    pairs: list[tuple[Any, Any]] = field(default_factory=list)  # from SETITEMS
    added: list[Any] = field(default_factory=list)  # from APPENDS and ADDITEMS


@dataclass(frozen=True, eq=False)
class Reference:
    """A persistent id, which refers to data stored beside the pickle."""

    pid: Any


@dataclass
class Pickled:
    """An inert graph, and the persistent ids in it."""

    value: Any
    references: list[Reference]


MARK = object()  # the beginning of a group of values on the stack


def quoted(text: object) -> str:
    """Quote text of a file for a message, on one line of at most 80 characters."""
    line = " ".join(str(text).split())
    return f"'{line if len(line) <= 80 else line[:77] + '...'}'"


def refuse(sentence: str) -> NoReturn:
    """Raise CheckpointError with a sentence, before which the caller puts the file's path."""
    raise CheckpointError(sentence)


def load(stream: IO[bytes], allowed: frozenset[str]) -> Pickled:
    """Read a pickle up to its STOP. Raises CheckpointError for a name that is not allowed and for any damage."""
    machine = _Machine(allowed)
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(cast("IO[bytes]", _Bounded(stream)))):
            if count >= budgets.PICKLE_STEPS:
                refuse(f"its pickle has more than {budgets.PICKLE_STEPS:,} steps, which no GAN's weights need.")
            if opcode.name == "STOP":
                return Pickled(machine.pop(), machine.references)
            machine.step(opcode.name, arg)
    except CheckpointError:
        raise
    except Exception as err:  # a damaged stream provokes any exception in the disassembler
        refuse(f"its pickle is cut off or damaged ({quoted(err)}).")
    refuse("its pickle is cut off: it has no end.")


class _Bounded:
    """The part of a stream that the disassembler reads, with limits on each item and on their sum."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.position = stream.tell()
        self.left = budgets.PICKLE_BYTES

    def tell(self) -> int:
        """Position, in bytes."""
        return self.position

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes. Refuses items that are too long."""
        if size > budgets.PICKLE_ITEM_BYTES:
            refuse(f"its pickle holds a text or a storage of {size:,} bytes, above {_mib(budgets.PICKLE_ITEM_BYTES)}.")
        return self._counted(self.stream.read(size))

    def readline(self) -> bytes:
        """Read a line. Refuses lines that are too long."""
        line = self.stream.readline(budgets.PICKLE_LINE_BYTES + 1)
        if len(line) > budgets.PICKLE_LINE_BYTES:
            refuse(f"its pickle holds a line of more than {budgets.PICKLE_LINE_BYTES:,} bytes, the limit.")
        return self._counted(line)

    def _counted(self, data: bytes) -> bytes:
        self.position += len(data)
        self.left -= len(data)
        if self.left < 0:
            refuse(f"its pickle holds more than the limit of {_mib(budgets.PICKLE_BYTES)} of text and storages.")
        return data


def _mib(size: int) -> str:
    return f"{size >> 20:,} MiB"


class _Machine:
    """Stack, memo, and one method for each family of opcodes."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.references: list[Reference] = []
        self.objects = 0  # lists, dictionaries, sets and calls so far

    def step(self, name: str, arg: Any) -> None:
        """Execute one opcode."""
        if name in VALUES:
            if isinstance(arg, int) and arg.bit_length() > budgets.PICKLE_INTEGER_BITS:
                refuse(
                    f"its pickle holds a number of {arg.bit_length():,} bits, more than the "
                    f"{budgets.PICKLE_INTEGER_BITS} that GANs' weights need."
                )
            self.stack.append(bytes(arg) if isinstance(arg, bytearray) else arg)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
            self.count(name in CONTAINERS)
        elif name in STEPS:
            STEPS[name](self, arg)
            self.count(name in CONTAINERS)
        elif name not in IGNORED:
            refuse(f"its pickle uses {name}, which no GAN's weights need.")

    def count(self, objects: int) -> None:
        """Add to the number of objects. Refuses more than PICKLE_OBJECTS."""
        self.objects += objects
        if self.objects > budgets.PICKLE_OBJECTS:
            refuse(f"its pickle makes more than {budgets.PICKLE_OBJECTS:,} objects, the limit.")

    # --- the stack ---

    def pop(self) -> Any:
        """Remove and return the topmost value."""
        value = self.stack.pop() if self.stack else MARK
        return refuse("its pickle is damaged: a value is missing.") if value is MARK else value

    def top(self) -> Any:
        """Return the topmost value."""
        value = self.pop()
        self.stack.append(value)
        return value

    def group(self) -> list[Any]:
        """Remove and return the values above the last mark, and remove the mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        return refuse("its pickle is damaged: a mark is missing.")

    def pop_many(self, count: int) -> list[Any]:
        """Remove and return the topmost values, in order."""
        return [self.pop() for _ in range(count)][::-1]

    # --- the memo ---

    def put(self, index: Any) -> None:
        """Store the topmost value in the memo."""
        place = len(self.memo) if index is None else int(index)
        if place >= budgets.KEY_LIMIT:
            refuse(f"its pickle is damaged: it keeps a value under the number {quoted(place)}.")
        self.memo[place] = self.top()

    def get(self, index: Any) -> None:
        """Push a value of the memo."""
        if int(index) not in self.memo:
            refuse(f"its pickle is damaged: it recalls value {int(index)}, which was never kept.")
        self.stack.append(self.memo[int(index)])

    # --- containers ---

    def extend(self, values: list[Any]) -> None:
        """APPENDS and ADDITEMS: add values to the topmost list or set."""
        target = self.top()
        if not isinstance(target, list | Object):
            refuse(f"its pickle is damaged: it adds values to a {type(target).__name__}.")
        (target if isinstance(target, list) else target.added).extend(values)

    def assign(self, values: list[Any]) -> None:
        """SETITEMS: add keys and values to the topmost dictionary."""
        target = self.top()
        if not isinstance(target, Object) or len(values) % 2:
            refuse("its pickle is damaged: keys and values do not pair up in a dictionary.")
        target.pairs.extend(zip(values[::2], values[1::2]))

    def dictionary(self, _: Any) -> None:
        """DICT: make a dictionary of the values above the mark."""
        values = self.group()
        self.stack.append(Object(DICT))
        self.assign(values)

    # --- names and calls ---

    def name(self, full: Any) -> None:
        """GLOBAL: push a name, if it is allowed."""
        self.stack.append(self.named(full))

    def named(self, full: Any) -> Global:
        """Return a name as an inert value. Refuses names that are not allowed."""
        if full not in self.allowed or full.count(" ") != 1 or "." in full.partition(" ")[2]:
            reason = "which no known format of GAN weights needs and which could run code; nothing was run."
            if full.startswith("dnnlib.tflib"):
                reason = "a network of TensorFlow: convert it with NVlabs' legacy.py first."
            refuse(f"its pickle names {quoted(full)}, {reason}")
        return Global(full)

    def stack_global(self, _: Any) -> None:
        """STACK_GLOBAL: push the name that the two topmost values give."""
        module, name = self.pop_many(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            refuse("its pickle is damaged: it names something by what is no text.")
        self.name(f"{module} {name}")

    def call(self, function: Any, args: Any) -> None:
        """Push a record of a call. Refuses functions that are no allowed name."""
        if not isinstance(function, Global) or not isinstance(args, tuple):
            refuse("its pickle calls what is no allowed name; nothing was run.")
        self.stack.append(Object(function.name, args))

    def reduce(self, _: Any) -> None:
        """REDUCE and NEWOBJ: function and arguments are topmost."""
        self.call(*self.pop_many(2))

    def reduce_keywords(self, _: Any) -> None:
        """NEWOBJ_EX, without keyword arguments."""
        function, args, keywords = self.pop_many(3)
        if not isinstance(keywords, Object) or keywords.name != DICT or keywords.pairs:
            refuse("its pickle makes an object with keyword arguments, which no GAN's weights need.")
        self.call(function, args)

    def obj(self, _: Any) -> None:
        """OBJ: class and arguments above the mark."""
        function, *args = self.group() or [None]
        self.call(function, tuple(args))

    def inst(self, full: Any) -> None:
        """INST: arguments above the mark."""
        self.call(self.named(full), tuple(self.group()))

    def build(self, _: Any) -> None:
        """BUILD: record the state that __setstate__ would get."""
        state, target = self.pop(), self.top()
        if not isinstance(target, Object) or target.state is not None:
            refuse("its pickle is damaged: it gives a state to what can have none.")
        target.state = state

    def persistent(self, _: Any) -> None:
        """BINPERSID: push a reference to data beside the pickle."""
        self.references.append(Reference(self.pop()))
        self.stack.append(self.references[-1])


VALUES = frozenset(
    (  # noqa: SIM905 (a list would take a line for each)
        "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
        "SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
    ).split()
)
CONTAINERS = frozenset(
    (  # noqa: SIM905
        "EMPTY_LIST EMPTY_DICT EMPTY_SET LIST DICT FROZENSET REDUCE NEWOBJ NEWOBJ_EX OBJ INST BINPERSID"
    ).split()
)
IGNORED = frozenset(("PROTO", "FRAME"))
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": lambda: Object(DICT),
    "EMPTY_SET": lambda: Object(SET),
    "MARK": lambda: MARK,
}
STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "POP": lambda m, _: m.stack.pop() if m.stack else m.pop(),
    "POP_MARK": lambda m, _: m.group(),
    "DUP": lambda m, _: m.stack.append(m.top()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "LIST": lambda m, _: m.stack.append(m.group()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.group())),
    "TUPLE1": lambda m, _: m.stack.append((m.pop(),)),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.pop_many(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.pop_many(3))),
    "DICT": _Machine.dictionary,
    "FROZENSET": lambda m, _: m.stack.append(Object(FROZENSET, added=m.group())),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.group()),
    "ADDITEMS": lambda m, _: m.extend(m.group()),
    "SETITEM": lambda m, _: m.assign(m.pop_many(2)),
    "SETITEMS": lambda m, _: m.assign(m.group()),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.reduce_keywords,
    "OBJ": _Machine.obj,
    "INST": _Machine.inst,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
