"""Ray's token authentication: on, for every cluster that we start or talk to.

Ray's commands read the token from ``~/.ray/auth_token`` (or where ``RAY_AUTH_TOKEN_PATH`` says),
but only with ``RAY_AUTH_MODE=token``, which Ray reads once, on import.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from c2vl.support.errors import UserError


def enable() -> None:
    """Make this process present the token; call it before the first import of Ray."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")


def token_path() -> Path:
    """Return the file that Ray reads its token from."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def ensure_token() -> None:
    """Create the token if there is none, readable by its owner alone.

    Raises:
        UserError: Ray could not write it.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or token_path().exists():
        return
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ray")), "get-auth-token", "--generate"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # it prints the token
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    path = token_path()
    if done.returncode or not path.exists():
        raise UserError(
            f"{path}: Ray could not make its authentication token "
            f"({done.stderr.strip()[-300:]}); make that folder writable, or set RAY_AUTH_TOKEN"
        )
    path.chmod(0o600)
