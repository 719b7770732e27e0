"""Optional parts of the installation: what each needs, and the message where it is absent."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

from c2vl.support.errors import UserError

EXTRAS: dict[str, tuple[str, ...]] = {
    "serving": ("faiss", "fastapi", "uvicorn", "mmh3"),  # the last three: of ray[serve]
    "video": ("av",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "postgres": ("psycopg",),
}
"""Extra of pyproject.toml → the modules that it brings and that we import."""


def to_install(extra: str) -> str:
    """Return what an extra asks pip for, quoted for a shell; works where no index has c2vl."""
    try:
        lines = [line.partition(";") for line in requires("c2vl") or ()]
    except PackageNotFoundError:  # the code of a job, on an image without c2vl
        return f"'.[{extra}]'"
    return " ".join(f"'{what.strip()}'" for what, _, when in lines if f'"{extra}"' in when)


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
            f"pip install {to_install(extra)}"
        )
