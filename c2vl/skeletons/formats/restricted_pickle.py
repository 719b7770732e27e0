"""Pickles of plain containers and NumPy arrays, read without Python's unpickler.

A pickle is a program. This is a machine of its own for the few instructions that containers,
strings, numbers and arrays take (protocols 2 to 5, of NumPy 1 and 2): it calls nothing, imports
nothing, and knows eleven names only as words. Strings and the numbers of arrays are not copied:
they stay in the file (:mod:`.stored_values`), so that a pickle of gigabytes that is mapped takes
little memory, and a length that it declares is held against the bytes that are there before
anything is made of it. What remains to a malicious file is to be refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from c2vl.skeletons.formats.stored_values import (
    BYTES,
    LATIN1,
    TEXT,
    Blob,
    StoredArray,
    array_of,
    text_of,
)
from c2vl.skeletons.rejected import RejectedError

_MOST_STEPS = 16_000_000  # NTU RGB+D 120 takes some 7 million
_MOST_AXES = 8
_MOST_INTEGER = 16  # bytes
_DTYPE = re.compile(r"(b1|[iu][1248]|f[248]|S[1-9]\d{0,3}|U[1-9]\d{0,3})")


@dataclass(slots=True)
class _Dtype:
    code: str
    order: str = ""


@dataclass(frozen=True, slots=True)
class _Name:
    """One of the names that may stand in a pickle."""

    name: str


_NAMES = {
    f"{module} {name}": _Name(known)
    for modules, name, known in (
        ("numpy.core.multiarray numpy._core.multiarray", "_reconstruct", "array"),
        ("numpy.core.multiarray numpy._core.multiarray", "scalar", "scalar"),
        ("numpy.core.numeric numpy._core.numeric", "_frombuffer", "frombuffer"),
        ("numpy", "ndarray", "ndarray"),
        ("numpy", "dtype", "dtype"),
        ("collections", "OrderedDict", "dict"),
        ("_codecs", "encode", "encode"),
        ("builtins __builtin__", "bytes", "bytes"),
        ("builtins __builtin__", "bytearray", "bytes"),
        ("builtins __builtin__", "set", "set"),
        ("builtins __builtin__", "frozenset", "set"),
    )
    for module in modules.split()
}
_MARK = object()


class Pickle:
    """The content of a pickle.

    Attributes:
        root: lists, dicts with text keys, tuples, numbers, None, :class:`Blob` for strings and
            bytes, and :class:`StoredArray`. Containers may be within themselves.

    Args:
        data: the file.

    Raises:
        RejectedError: it is damaged, or holds anything else.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.root: Any = _Machine(data).run()

    def text(self, value: Any) -> str:
        """Return a string.

        Raises:
            RejectedError: it is none.
        """
        return text_of(self._data, value)

    def texts(self, value: Any) -> list[str]:
        """Return a list of strings, or a one-dimensional array of them.

        Raises:
            RejectedError: it is neither.
        """
        if isinstance(value, StoredArray) and value.dtype.lstrip("<>")[:1] in ("S", "U"):
            try:
                words = self.array(value).ravel().tolist()
            except ValueError:  # no code points
                raise RejectedError("a list of names is damaged") from None
            return [word.decode("latin-1") if isinstance(word, bytes) else word for word in words]
        if not isinstance(value, list | tuple) or isinstance(value, Blob):
            raise RejectedError("a list of names is none")
        return [self.text(each) for each in value]

    def array(self, value: Any) -> NDArray[Any]:
        """Return the numbers of an array.

        Raises:
            RejectedError: it is none, or its shape does not account for its bytes.
        """
        if not isinstance(value, StoredArray) or value.data is None:
            raise RejectedError("an array is none")
        return array_of(self._data, value)


class _Machine:
    """The instructions, one method or branch each; ``run`` is the loop."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.keys: dict[Blob, str] = {}

    def run(self) -> Any:
        if bytes(self.data[:1]) != b"\x80":
            raise RejectedError("not a pickle of protocol 2 to 5")
        try:
            for _ in range(_MOST_STEPS):
                code = self.data[self.at]
                self.at += 1
                if code == 0x2E:  # STOP
                    (root,) = self.stack
                    if root is _MARK:
                        raise RejectedError("the pickle is damaged")
                    return root
                step = _INSTRUCTIONS.get(code)
                if step is None:
                    raise RejectedError(
                        f"byte {self.at - 1} of the pickle is instruction 0x{code:02x}, which "
                        "plain arrays do not need"
                    )
                step(self)
        except (IndexError, KeyError, ValueError, TypeError, struct.error) as error:
            if isinstance(error, RejectedError):
                raise
            raise RejectedError(f"the pickle is damaged at byte {self.at}") from None
        raise RejectedError("the pickle has too many parts")

    # Bytes of the file

    def number(self, width: int) -> int:
        start, self.at = self.at, self.at + width
        if self.at > len(self.data):
            raise IndexError
        return int.from_bytes(self.data[start : self.at], "little")

    def blob(self, kind: int, width: int) -> None:
        length = self.number(width)
        if length > len(self.data) - self.at:
            raise RejectedError(f"{length} bytes are declared at byte {self.at}, past the end")
        self.stack.append(Blob(kind, self.at, length))
        self.at += length

    def proto(self) -> None:
        if not 2 <= self.number(1) <= 5:
            raise RejectedError("not a pickle of protocol 2 to 5")

    def integer(self) -> None:
        value = self.number(4)
        self.stack.append(value - (1 << 32) if value >> 31 else value)

    def long(self, width: int) -> None:
        if width > _MOST_INTEGER:
            raise RejectedError(f"an integer of {width} bytes")
        value = self.number(width)
        negative = width and value >> (8 * width - 1)
        self.stack.append(value - (1 << 8 * width) if negative else value)

    def double(self) -> None:
        self.stack.append(struct.unpack_from(">d", self.data, self.at)[0])
        self.at += 8

    # Containers

    def marked(self) -> list[Any]:
        """Take what was pushed since the last mark, and the mark."""
        stack = self.stack
        at = len(stack) - 1
        while stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError
        taken = stack[at + 1 :]
        del stack[at:]
        return taken

    def append(self) -> None:
        value = self.stack.pop()
        self.target(list).append(value)

    def appends(self) -> None:
        values = self.marked()
        self.target(list).extend(values)

    def group(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.target(dict)[self.key(key)] = value

    def set_items(self) -> None:
        values = self.marked()
        self.fill(self.target(dict), values)

    def make_dict(self) -> None:
        values = self.marked()
        self.stack.append(self.fill({}, values))

    def fill(self, target: Any, values: list[Any]) -> Any:
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[self.key(key)] = value
        return target

    def key(self, value: Any) -> str:
        """Return a dict's key, the same string each time the file uses it again."""
        if type(value) is not Blob:  # and not hashed: a tuple's hash could take for ever
            raise RejectedError("a key is no text")
        if value not in self.keys:
            self.keys[value] = text_of(self.data, value)
        return self.keys[value]

    def target(self, kind: type) -> Any:
        """Return the container on top of the stack, which the instruction fills."""
        if type(self.stack[-1]) is not kind:
            raise TypeError
        return self.stack[-1]

    # The memo: values by number, for those that are used again

    def put(self, number: int) -> None:
        if self.stack[-1] is _MARK:
            raise TypeError
        self.memo[number] = self.stack[-1]

    # Names, and what they stand for

    def name(self) -> None:
        words = bytes(self.data[self.at : self.at + 200]).split(b"\n", 2)
        if len(words) < 3:
            raise IndexError
        self.at += len(words[0]) + len(words[1]) + 2
        self._name(words[0].decode("latin-1"), words[1].decode("latin-1"))

    def stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(text_of(self.data, module), text_of(self.data, name))

    def _name(self, module: str, name: str) -> None:
        known = _NAMES.get(f"{module} {name}")
        if known is None:
            raise RejectedError(
                f"the pickle asks for {module[:60]}.{name[:60]}, which plain arrays do not need; "
                "it is not read"
            )
        self.stack.append(known)

    def reduce(self) -> None:
        args, name = self.stack.pop(), self.stack.pop()
        if type(name) is not _Name or type(args) is not tuple:
            raise TypeError
        self.stack.append(_MAKE[name.name](self, *args))

    def build(self) -> None:
        """Fill an array or a dtype that was just made; nothing else has a state."""
        state = self.stack.pop()
        made = self.stack[-1]
        if type(state) is not tuple:
            raise TypeError
        if type(made) is StoredArray and made.data is None:
            version, shape, dtype, fortran, data = state
            if version != 1 or type(fortran) is not bool:
                raise TypeError
            self._fill(made, data, dtype, shape, fortran)
        elif type(made) is _Dtype and not made.order:
            version, order, *rest = state
            sizes = [type(number) is int for number in rest[3:]]
            if version != 3 or rest[:3] != [None, None, None] or sizes != [True] * 3:
                raise RejectedError("an array has a dtype that is no plain number or string")
            made.order = text_of(self.data, order)
            if made.order not in ("<", ">", "|", "="):
                raise TypeError
        else:
            raise TypeError

    def _fill(self, array: StoredArray, data: Any, dtype: Any, shape: Any, fortran: bool) -> None:
        if type(dtype) is not _Dtype or type(shape) is not tuple or type(data) is not Blob:
            raise RejectedError("an array does not hold plain numbers or strings")
        if len(shape) > _MOST_AXES or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
            raise RejectedError("an array has an impossible shape")
        if data.kind == TEXT:
            raise TypeError
        array.dtype = dtype.order + dtype.code if dtype.order in ("<", ">") else dtype.code
        array.shape, array.fortran, array.data = shape, fortran, data
        most = 2 * array.size if data.kind == LATIN1 else array.size
        if not array.size <= data.length <= most:
            raise RejectedError(f"an array of {shape} has {data.length} bytes")

    def array(self, kind: Any, shape: Any, code: Any) -> StoredArray:
        if kind is not _NAMES["numpy ndarray"]:
            raise TypeError
        return StoredArray()

    def dtype(self, code: Any, align: Any = False, copy: Any = True) -> _Dtype:
        word = text_of(self.data, code)
        if not _DTYPE.fullmatch(word):
            raise RejectedError(f"an array of {word[:20]}, no plain numbers or strings")
        return _Dtype(word)

    def scalar(self, dtype: Any, data: Any) -> StoredArray:
        made = StoredArray()
        self._fill(made, data, dtype, (), False)
        return made

    def frombuffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> StoredArray:
        made = StoredArray()
        self._fill(made, data, dtype, shape, text_of(self.data, order) == "F")
        return made

    def encode(self, text: Any, codec: Any) -> Blob:
        if type(text) is not Blob or text.kind != TEXT or text_of(self.data, codec) != "latin1":
            raise TypeError
        return Blob(LATIN1, text.start, text.length)

    def make_bytes(self, content: Any = None) -> Blob:
        if content is None:
            return Blob(BYTES, 0, 0)
        if type(content) is not Blob or content.kind == TEXT:
            raise TypeError
        return content

    def make_set(self, values: Any = ()) -> list[Any]:
        if type(values) is not list and values != ():
            raise TypeError
        return values or []  # not a copy: a file could ask for thousands of them

    def make_ordered(self) -> dict[str, Any]:
        return {}


_MAKE: dict[str, Callable[..., Any]] = {
    "array": _Machine.array,
    "scalar": _Machine.scalar,
    "frombuffer": _Machine.frombuffer,
    "dtype": _Machine.dtype,
    "dict": _Machine.make_ordered,
    "encode": _Machine.encode,
    "bytes": _Machine.make_bytes,
    "set": _Machine.make_set,
}

_STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": _Machine.proto,
    b"\x95": lambda m: m.number(8),  # a frame: a hint for buffered reading alone
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"K": lambda m: m.stack.append(m.number(1)),
    b"M": lambda m: m.stack.append(m.number(2)),
    b"J": _Machine.integer,
    b"\x8a": lambda m: m.long(m.number(1)),
    b"\x8b": lambda m: m.long(m.number(4)),
    b"G": _Machine.double,
    b"\x8c": lambda m: m.blob(TEXT, 1),
    b"X": lambda m: m.blob(TEXT, 4),
    b"\x8d": lambda m: m.blob(TEXT, 8),
    b"C": lambda m: m.blob(BYTES, 1),
    b"B": lambda m: m.blob(BYTES, 4),
    b"\x8e": lambda m: m.blob(BYTES, 8),
    b"\x96": lambda m: m.blob(BYTES, 8),  # a bytearray
    b"U": lambda m: m.blob(BYTES, 1),  # the strings of Python 2
    b"T": lambda m: m.blob(BYTES, 4),
    b"(": lambda m: m.stack.append(_MARK),
    b"0": lambda m: m.stack.pop(),
    b"1": _Machine.marked,
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"]": lambda m: m.stack.append([]),
    b"a": _Machine.append,
    b"e": _Machine.appends,
    b"l": lambda m: m.stack.append(m.marked()),
    b"\x8f": lambda m: m.stack.append([]),  # sets, as lists
    b"\x90": _Machine.appends,
    b"\x91": lambda m: m.stack.append(m.marked()),
    b")": lambda m: m.stack.append(()),
    b"t": lambda m: m.stack.append(tuple(m.marked())),
    b"\x85": lambda m: m.group(1),
    b"\x86": lambda m: m.group(2),
    b"\x87": lambda m: m.group(3),
    b"}": lambda m: m.stack.append({}),
    b"s": _Machine.set_item,
    b"u": _Machine.set_items,
    b"d": _Machine.make_dict,
    b"h": lambda m: m.stack.append(m.memo[m.number(1)]),
    b"j": lambda m: m.stack.append(m.memo[m.number(4)]),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"c": _Machine.name,
    b"\x93": _Machine.stack_name,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
}
_INSTRUCTIONS = {code[0]: step for code, step in _STEPS.items()}
