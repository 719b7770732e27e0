"""A pickle of plain containers and NumPy arrays, whose strings and numbers stay in the file."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from c2vl.skeletons.formats.restricted_pickle import load
from c2vl.skeletons.formats.stored_values import Blob, StoredArray, array_of, text_of
from c2vl.skeletons.rejected import RejectedError


class Pickle:
    """A parsed pickle.

    Attributes:
        root: what :func:`.restricted_pickle.load` returns.

    Raises:
        RejectedError: it is damaged, or holds what plain arrays do not need.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.root: Any = load(data)

    def text(self, value: Any) -> str:
        """Decode a string.

        Raises:
            RejectedError: it is no string.
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
            RejectedError: it is no array, or its shape does not account for its bytes.
        """
        if not isinstance(value, StoredArray) or value.data is None:
            raise RejectedError("an array is none")
        return array_of(self._data, value)

    def label(self, value: Any, classes: int) -> int:
        """Return a class number below ``classes``, which may be a NumPy scalar; else -1.

        Raises:
            RejectedError: the scalar is damaged.
        """
        if isinstance(value, StoredArray) and value.shape == ():
            value = self.array(value).item()
        return value if type(value) is int and 0 <= value < classes else -1
