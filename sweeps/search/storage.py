"""Optuna's storage, waited for: a study that is locked or away for a while loses nothing.

Two parts. :class:`PatientStorage` repeats what failed because the database is locked, or its server
away, until patience is at an end. :class:`Order` does a study's work in one thread, in the order in
which it was asked for, so that whoever drives trainings goes on with them meanwhile.
"""

from __future__ import annotations

import abc
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

import sqlalchemy.exc
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from c2vl.support.errors import UserError
from c2vl.support.extras import need_extra
from sweeps.search.optuna_internals import cached
from sweeps.spec.store_addresses import reason, shown, sqlite_file

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_SECONDS = 5  # how long SQLite itself waits for a lock
GRACE_SECONDS = 5.0  # how long a training waits for what the study says of its last epoch
READING_PATIENCE = 30.0  # of commands that only look
_AWAY = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.DisconnectionError,
    sqlalchemy.exc.TimeoutError,
)
_LASTING = ("no such table", "no such column", "does not exist", "password", "unable to open")


def open_storage(uri: str, patience: float) -> PatientStorage:
    """Open a study's storage; one that is locked is waited for, one that is not there is not.

    Args:
        uri: as SQLAlchemy takes it.
        patience: seconds.

    Raises:
        UserError: it cannot be reached; a password in ``uri`` is not shown.
    """
    try:
        driver = make_url(uri).drivername
    except (sqlalchemy.exc.ArgumentError, ValueError):  # the latter for a port that is no number
        raise UserError(
            f"study: {shown(uri)} is no address of a database; write for example "
            "sqlite:///study.db or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    if driver == "postgresql+psycopg":
        need_extra("postgres", f"study: {shown(uri)}")
    options: dict[str, Any] = {"pool_pre_ping": True}  # a connection that has died is replaced
    if (file := sqlite_file(uri)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": BUSY_SECONDS}}
    deadline = time.monotonic() + patience
    while True:
        try:
            return PatientStorage(uri, options, patience)  # type: ignore[abstract]
        except (ImportError, sqlalchemy.exc.SQLAlchemyError) as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise UserError(f"study: {shown(uri)} cannot be used: {_reason(error)}") from None
            time.sleep(0.5)


def _reason(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return reason(cause)


class Delegate(BaseStorage):
    """A storage that hands every call of Optuna's interface to the storage behind it.

    Args:
        inner: the storage behind it.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self._inner = inner

    def call(self, name: str, *words: Any, **options: Any) -> Any:
        """Call the method ``name`` of the storage behind."""
        return getattr(self._inner, name)(*words, **options)


def _delegated(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(BaseStorage, name), updated=())  # not abstract any more
    def method(self: Delegate, *words: Any, **options: Any) -> Any:
        return self.call(name, *words, **options)

    return method


for _name, _member in vars(BaseStorage).items():
    if callable(_member) and not _name.startswith("_"):
        setattr(Delegate, _name, _delegated(_name))
abc.update_abstractmethods(Delegate)  # type: ignore[type-abstract]


class PatientStorage(Delegate):
    """A relational storage that repeats reads and writes while it is locked or away.

    Attributes:
        interruptions: how many calls it had to repeat so far.
    """

    def __init__(self, uri: str, options: dict[str, Any], patience: float) -> None:
        self._patience, self._shown = patience, shown(uri)
        self._closed = threading.Event()
        self.interruptions = 0
        super().__init__(cached(RDBStorage(uri, engine_kwargs=options)))

    def give_up(self) -> None:
        """Wait no longer, now or later."""
        self._closed.set()

    def call(self, name: str, *words: Any, **options: Any) -> Any:
        """Call a method, again and again while the database does not answer.

        Raises:
            UserError: patience is at an end.
        """
        began, attempt, pause = time.monotonic(), 0, 0.2
        while True:
            try:
                result = super().call(name, *words, **options)
            except UpdateFinishedTrialError:
                # The connection may have been lost between the commit and its answer.
                if attempt and name == "set_trial_state_values" and self._has(*words, **options):
                    return True
                raise
            except Exception as error:
                waited = time.monotonic() - began
                if (reason := away(error)) is None:
                    raise
                if waited > self._patience or self._closed.is_set():
                    raise UserError(
                        f"study: {self._shown} has been away for {waited:.0f} s "
                        f"(study_patience): {reason}. Nothing that was trained is lost; resume "
                        "the sweep when it is back"
                    ) from None
                if attempt == 0:
                    log.warning(
                        "study: %s; waiting up to %.0f s, training goes on", reason, self._patience
                    )
                self.interruptions += 1
            else:
                if attempt:
                    log.warning("study: there again after %.0f s", time.monotonic() - began)
                return result
            attempt += 1
            self._closed.wait(pause)
            pause = min(2 * pause, 5.0)

    def _has(self, trial_id: int, state: TrialState, values: object = None) -> bool:
        return bool(self.get_trial(trial_id).state == state)


def away(error: BaseException) -> str | None:
    """Return why a database did not answer, or None where asking again will not help."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, _AWAY) or getattr(found, "connection_invalidated", False):
            reason = _reason(found)
            return None if any(word in reason for word in _LASTING) else reason
        found = found.__cause__ or found.__context__
    return None


class Order:
    """Work that one thread does in the order in which it was asked for.

    After a failure nothing more is done: whoever waits for anything is told the first reason.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        self._failure: BaseException | None = None
        self._late: Future[Any] | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="study")
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Ask for work."""
        future: Future[T] = Future()
        self._queue.put((work, future))
        return future

    def wait(self, future: Future[Any]) -> bool:
        """Wait a little, and say whether it is done; behind work that is late, do not wait.

        Raises:
            Exception: what the work raised, or work before it.
        """
        behind = self._late is not None and not self._late.done()
        try:
            future.result(timeout=0 if behind else GRACE_SECONDS)
        except NotYet:
            if not behind:
                self._late = future
            return False
        return True

    def drain(self) -> None:
        """Wait until all is done that was asked for.

        Raises:
            Exception: what some of it raised.
        """
        self.submit(lambda: None).result()

    def _work(self) -> None:
        while True:
            work, future = self._queue.get()
            try:
                if self._failure is not None:
                    raise self._failure
                future.set_result(work())
            except BaseException as error:
                self._failure = error
                future.set_exception(error)
