"""Pickles of plain containers and NumPy arrays, by an unpickler that knows nothing else.

A pickle is a program. This takes the unpickler that Python has in Python, with an allow-list of its
instructions (protocols 2 to 5) and of the names that arrays of NumPy 1 and 2 need; a name stands
for a function of ours, so that nothing of NumPy or Python is called or imported. Strings and the
numbers of arrays are not copied: they stay in the file (:mod:`.stored_values`), so that a mapped
pickle of gigabytes takes little memory, and no length is believed that the file does not have.

The unpickler in C, which ``pickle.Unpickler`` is, would read four times as fast, but allocates what
a file declares (five bytes ask for 64 GB of memo) and hashes keys that stand for 2^5000 values.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from c2vl.skeletons.formats.stored_values import BYTES, LATIN1, TEXT, Blob, StoredArray, text_of
from c2vl.skeletons.rejected import RejectedError

_MOST_STEPS = 16_000_000  # NTU RGB+D 120 takes some 7 million
_MOST_AXES = 8
_DTYPE = re.compile(r"(b1|[iu][1248]|f[248]|S[1-9]\d{0,3}|U[1-9]\d{0,3})")


def load(data: memoryview) -> Any:
    """Parse a pickle.

    It may hold lists, dicts with text keys, tuples, numbers, None, :class:`Blob` for strings and
    bytes, and :class:`StoredArray`; sets become lists. Containers may contain themselves.
    """
    return _Unpickler(data).load()


@dataclass(slots=True)
class _Dtype:
    code: str
    order: str = ""


@dataclass(frozen=True, slots=True)
class _Name:
    """An allowed name in a pickle, and the function of ours that stands for it."""

    make: Callable[..., Any]


_Python: Any = pickle._Unpickler  # its instructions, one method each, are in no type stubs


class _Unpickler(_Python):  # type: ignore[misc]
    def __init__(self, data: memoryview) -> None:
        super().__init__(io.BytesIO())
        self.data = data
        self.at = 0
        self.keys: dict[Blob, str] = {}

    def load(self) -> Any:
        """Run the instructions as the base does, up to :data:`_MOST_STEPS`."""
        if bytes(self.data[:1]) != pickle.PROTO or not 2 <= int.from_bytes(self.data[1:2]) <= 5:
            raise RejectedError(
                "not a pickle of protocol 2 to 5; an older one is written anew by "
                "pickle.dump(x, file, protocol=4)"
            )
        self.stack: list[Any] = []
        self.metastack: list[list[Any]] = []
        self.append = self.stack.append
        try:
            for _ in range(_MOST_STEPS):
                code = self.data[self.at]
                self.at += 1
                if code == pickle.STOP[0]:
                    (root,) = self.stack
                    if self.metastack:
                        raise IndexError
                    return root
                _DISPATCH[code](self)
        except RejectedError:
            raise
        except (
            AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError, struct.error,
            pickle.UnpicklingError,
        ):  # fmt: skip
            raise RejectedError(f"the pickle is damaged at byte {self.at}") from None
        raise RejectedError("the pickle has too many parts")

    def read(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise EOFError
        return bytes(self.data[start : self.at])

    def readline(self) -> bytes:
        line, end, _ = bytes(self.data[self.at : self.at + 200]).partition(b"\n")
        self.at += len(line) + 1
        if not end:
            raise EOFError
        return line + end

    def text(self, value: Any) -> str:
        return text_of(self.data, value)

    def load_frame(self) -> None:
        self.read(8)  # a hint for buffered reading alone

    def load_blob(self, kind: int, width: int) -> None:
        length = int.from_bytes(self.read(width), "little")
        if length > len(self.data) - self.at:
            raise RejectedError(f"{length} bytes are declared at byte {self.at}, past the end")
        self.append(Blob(kind, self.at, length))
        self.at += length

    # Containers: only dicts take keys, and only text is one

    def load_setitem(self) -> None:
        items = [self.stack.pop(-2), self.stack.pop()]
        self._fill_dict(self.stack[-1], items)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._fill_dict(self.stack[-1], items)

    def _fill_dict(self, target: Any, items: list[Any]) -> None:
        if type(target) is not dict:
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not Blob:  # and not hashed: a tuple's hash could take for ever
                raise RejectedError("a key is no text")
            if key not in self.keys:  # the same string each time the file uses it again
                self.keys[key] = self.text(key)
            target[self.keys[key]] = value

    # Names, and what they stand for

    def find_class(self, module: str, name: str) -> _Name:
        known = _NAMES.get(f"{module} {name}")
        if known is None:
            raise RejectedError(
                f"the pickle asks for {module[:60]}.{name[:60]}, which plain arrays do not need; "
                "it is not read"
            )
        return known

    def load_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.append(self.find_class(self.text(module), self.text(name)))

    def load_reduce(self) -> None:
        args, name = self.stack.pop(), self.stack.pop()
        if type(name) is not _Name or type(args) is not tuple:
            raise TypeError
        self.append(name.make(self, *args))

    def load_build(self) -> None:
        """Fill an array or a dtype that was just made; nothing else has a state."""
        state = self.stack.pop()
        made = self.stack[-1]
        if type(state) is not tuple:
            raise TypeError
        if type(made) is StoredArray and made.data is None:
            version, shape, dtype, fortran, data = state
            if version != 1 or type(fortran) is not bool:
                raise TypeError
            self._fill_array(made, data, dtype, shape, fortran)
        elif type(made) is _Dtype and not made.order:
            version, order, *rest = state
            if version != 3 or rest[:3] != [None] * 3 or list(map(type, rest[3:])) != [int] * 3:
                raise RejectedError("an array has a dtype that is no plain number or string")
            made.order = self.text(order)
            if made.order not in ("<", ">", "|", "="):
                raise TypeError
        else:
            raise TypeError

    def _fill_array(
        self, array: StoredArray, data: Any, dtype: Any, shape: Any, fortran: bool
    ) -> None:
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

    def make_array(self, kind: Any, shape: Any, code: Any) -> StoredArray:
        if type(kind) is not _Name:
            raise TypeError
        return StoredArray()

    def make_dtype(self, code: Any, align: Any = False, copy: Any = True) -> _Dtype:
        word = self.text(code)
        if not _DTYPE.fullmatch(word):
            raise RejectedError(f"an array of {word[:20]}, no plain numbers or strings")
        return _Dtype(word)

    def make_scalar(self, dtype: Any, data: Any) -> StoredArray:
        made = StoredArray()
        self._fill_array(made, data, dtype, (), False)
        return made

    def make_from_buffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> StoredArray:
        made = StoredArray()
        self._fill_array(made, data, dtype, shape, self.text(order) == "F")
        return made

    def make_encoded(self, text: Any, codec: Any) -> Blob:
        if type(text) is not Blob or text.kind != TEXT or self.text(codec) != "latin1":
            raise TypeError
        return text._replace(kind=LATIN1)

    def make_bytes(self) -> Blob:
        return Blob(BYTES, 0, 0)

    def make_set(self, values: Any = ()) -> list[Any]:
        if type(values) is not list and values != ():
            raise TypeError
        return values or []  # not a copy: a file could ask for thousands of them

    def make_ordered(self) -> dict[str, Any]:
        return {}

    def make_nothing(self, *args: Any) -> None:
        raise TypeError


_NAMES = {
    f"{module} {name}": _Name(make)
    for modules, name, make in (
        ("numpy.core.multiarray numpy._core.multiarray", "_reconstruct", _Unpickler.make_array),
        ("numpy.core.multiarray numpy._core.multiarray", "scalar", _Unpickler.make_scalar),
        ("numpy.core.numeric numpy._core.numeric", "_frombuffer", _Unpickler.make_from_buffer),
        ("numpy", "ndarray", _Unpickler.make_nothing),
        ("numpy", "dtype", _Unpickler.make_dtype),
        ("collections", "OrderedDict", _Unpickler.make_ordered),
        ("_codecs", "encode", _Unpickler.make_encoded),
        ("builtins __builtin__", "bytes", _Unpickler.make_bytes),
        ("builtins __builtin__", "set", _Unpickler.make_set),
        ("builtins __builtin__", "frozenset", _Unpickler.make_set),
    )
    for module in modules.split()
}


def _refused(self: _Unpickler) -> None:
    raise RejectedError(
        f"byte {self.at - 1} of the pickle is instruction 0x{self.data[self.at - 1]:02x}, which "
        "plain arrays do not need"
    )


def _blob(kind: int, width: int) -> Callable[[_Unpickler], None]:
    return lambda self: self.load_blob(kind, width)


_AS_PYTHON_DOES = """
    PROTO NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT MARK POP POP_MARK
    EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT
    BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL
"""
_OURS = {
    pickle.FRAME: _Unpickler.load_frame,
    pickle.SHORT_BINUNICODE: _blob(TEXT, 1),
    pickle.BINUNICODE: _blob(TEXT, 4),
    pickle.BINUNICODE8: _blob(TEXT, 8),
    pickle.SHORT_BINBYTES: _blob(BYTES, 1),
    pickle.BINBYTES: _blob(BYTES, 4),
    pickle.BINBYTES8: _blob(BYTES, 8),
    pickle.BYTEARRAY8: _blob(BYTES, 8),  # NumPy's in-band buffers of protocol 5
    pickle.SHORT_BINSTRING: _blob(BYTES, 1),  # the strings of Python 2
    pickle.BINSTRING: _blob(BYTES, 4),
    pickle.EMPTY_SET: _Python.dispatch[pickle.EMPTY_LIST[0]],  # sets, as lists: nothing is hashed
    pickle.ADDITEMS: _Python.dispatch[pickle.APPENDS[0]],
    pickle.FROZENSET: _Python.dispatch[pickle.LIST[0]],
    pickle.SETITEM: _Unpickler.load_setitem,
    pickle.SETITEMS: _Unpickler.load_setitems,
    pickle.STACK_GLOBAL: _Unpickler.load_stack_global,
    pickle.REDUCE: _Unpickler.load_reduce,
    pickle.BUILD: _Unpickler.load_build,
}
_DISPATCH: dict[int, Callable[[_Unpickler], None]] = dict.fromkeys(range(256), _refused)
for _word in _AS_PYTHON_DOES.split():
    _DISPATCH[getattr(pickle, _word)[0]] = _Python.dispatch[getattr(pickle, _word)[0]]
_DISPATCH |= {code[0]: load for code, load in _OURS.items()}
