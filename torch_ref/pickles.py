"""What a pickle holds, as plain data: nothing is imported, called or built while it is read.

A pickle is a program for a small stack machine. This machine knows no functions: what the program wants to import is
kept as a name, and what it wants to call as a note of that name and the arguments. `pickletools` takes the program
apart, and checks each claimed length against what is there.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

__all__ = ["Inert", "unpickle"]

Call = Callable[[str, tuple[Any, ...]], Any]
Key = str | int | float | bytes | None


@dataclass(eq=False, repr=False)
class Inert:
    """A class or function that a pickle names, or what it would have made with it.

    Attributes:
        name: Of the class or function, with its module.
        arguments: That it was to be called with; None where it is only named.
        state: That the object was to be given afterwards.
        items: That were put into it as into a dictionary.
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    state: Any = None
    items: dict[Key, Any] = field(default_factory=dict)


def unpickle(stream: IO[bytes], call: Call = Inert, persistent: Callable[[Any], Any] = Inert) -> Any:
    """Reads one pickle, and leaves the stream behind it.

    Args:
        stream: Where it begins; lengths that it claims are asked for as they are, so a stream of known size.
        call: What a call of a name with arguments stands for.
        persistent: What an object outside the pickle, known by an id, stands for.

    Raises:
        ValueError: This is no pickle, or a damaged one; what `call` and `persistent` raise comes through as well.
    """
    machine = _Machine(call, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            if opcode.name in LITERALS:
                machine.stack.append(argument)
            elif opcode.name not in IGNORED:
                STEPS[opcode.name](machine, argument)
    except (LookupError, TypeError, AttributeError) as error:  # too little on the stack, or of another kind
        raise ValueError(f"not a whole pickle ({type(error).__name__})") from error
    raise ValueError("not a whole pickle (it does not stop)")


class _Machine:
    """The stack, the marks in it and the memo; sets are lists here, so that nothing of the file is hashed but keys."""

    def __init__(self, call: Call, persistent: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self.below_marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.call_name, self.persistent = call, persistent

    def mark(self) -> None:
        self.below_marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below_marks.pop()
        return items

    def top(self, count: int) -> list[Any]:
        items = [self.stack.pop() for _ in range(count)]
        return items[::-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def call(self, function: Any, arguments: Any) -> None:
        if not (isinstance(function, Inert) and function.arguments is None and isinstance(arguments, tuple | list)):
            raise TypeError("only a name is called")
        self.push(self.call_name(function.name, tuple(arguments)))

    def remember(self, number: int | None) -> None:
        self.memo[len(self.memo) if number is None else number] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):  # an object's items of this kind are never a model's tensors
            self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        pairs = zip(items[::2], items[1::2], strict=True)
        known = {key: value for key, value in pairs if isinstance(key, Key)}
        (target.items if isinstance(target, Inert) else target).update(known)

    def build(self, state: Any) -> None:
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state

    def named(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a name is text")
        self.push(Inert(f"{module}.{name}"))

    def old_object(self, items: list[Any]) -> None:
        self.call(items[0], items[1:])

    def dictionary(self, items: list[Any]) -> None:
        self.push({})
        self.update(items)


LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
IGNORED = frozenset({"PROTO", "FRAME"})
STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_SET": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.stack.pop() if m.stack else m.since_mark(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "TUPLE1": lambda m, _: m.push(tuple(m.top(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.top(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.top(3))),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "FROZENSET": lambda m, _: m.push(m.since_mark()),
    "DICT": lambda m, _: m.dictionary(m.since_mark()),
    "APPEND": lambda m, _: m.extend(m.top(1)),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.update(m.top(2)),
    "SETITEMS": lambda m, _: m.update(m.since_mark()),
    "BUILD": lambda m, _: m.build(m.stack.pop()),
    "GLOBAL": lambda m, name: m.named(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.named(*m.top(2)),
    "REDUCE": lambda m, _: m.call(*m.top(2)),
    "NEWOBJ": lambda m, _: m.call(*m.top(2)),
    "NEWOBJ_EX": lambda m, _: m.call(*m.top(3)[:2]),
    "INST": lambda m, name: m.old_object([Inert(name.replace(" ", ".")), *m.since_mark()]),
    "OBJ": lambda m, _: m.old_object(m.since_mark()),
    "PERSID": lambda m, name: m.push(m.persistent(name)),
    "BINPERSID": lambda m, _: m.push(m.persistent(m.stack.pop())),
    **{name: lambda m, number: m.remember(number) for name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")},
    **{name: lambda m, number: m.push(m.memo[number]) for name in ("GET", "BINGET", "LONG_BINGET")},
}
