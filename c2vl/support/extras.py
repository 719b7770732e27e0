"""Optional parts of the installation: what each needs, and the message where it is absent."""

from __future__ import annotations

from importlib.util import find_spec

from c2vl.support.errors import UserError

EXTRAS: dict[str, tuple[str, ...]] = {
    "serving": ("faiss", "fastapi", "uvicorn", "mmh3"),  # the last three: of ray[serve]
    "video": ("av",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "postgres": ("psycopg",),
}
"""Extra of pyproject.toml → the modules that it brings and that we import."""


def require_extra(extra: str, wanted_by: str, *modules: str) -> None:
    """Check that an extra is installed; imports nothing, so it can come before heavy imports.

    Args:
        wanted_by: the command or option that needs it, for the message.
        modules: those that are needed; default: all that the extra brings.

    Raises:
        UserError: a module is absent; the message says what to install.
    """
    missing = [name for name in modules or EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{wanted_by}: needs {', '.join(missing)}, not installed here; "
            f"pip install 'c2vl[{extra}]'"
        )
