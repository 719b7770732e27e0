"""Optuna's storage, waited for: a study that is locked or away for a while loses nothing.

Two parts. :class:`PatientStorage` repeats what failed because the database is locked, or its server
away, until patience is at an end. :class:`Order` does a study's work in one thread, in the order in
which it was asked for, so that whoever drives trainings goes on with them meanwhile.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

import sqlalchemy.exc
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from c2vl.support.errors import UserError
from c2vl.support.extras import need_extra
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
            return PatientStorage(uri, options, patience)
        except (ImportError, sqlalchemy.exc.SQLAlchemyError) as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise UserError(f"study: {shown(uri)} cannot be used: {_reason(error)}") from None
            time.sleep(0.5)


def _reason(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return reason(cause)


class PatientStorage(RDBStorage):
    """A relational storage whose reads and writes are repeated while it is locked or away.

    Attributes:
        interruptions: how many calls had to be repeated so far.
    """

    def __init__(self, uri: str, options: dict[str, Any], patience: float) -> None:
        self._patience, self._shown = patience, shown(uri)
        self._closed = threading.Event()
        self._inside = threading.local()
        self.interruptions = 0
        super().__init__(uri, engine_kwargs=options)

    def give_up(self) -> None:
        """Wait no longer, now or later."""
        self._closed.set()

    def _repeat(self, call: Callable[[int], T]) -> T:
        if getattr(self._inside, "call", False):  # a call within a call is repeated with it
            return call(0)
        began, attempt, pause = time.monotonic(), 0, 0.2
        self._inside.call = True
        try:
            while True:
                try:
                    result = call(attempt)
                    if attempt:
                        log.warning("study: there again after %.0f s", time.monotonic() - began)
                    return result
                except Exception as error:
                    reason = away(error)
                    waited = time.monotonic() - began
                    if reason is None:
                        raise
                    if waited > self._patience or self._closed.is_set():
                        raise UserError(
                            f"study: {self._shown} has been away for {waited:.0f} s "
                            f"(study_patience): {reason}. Nothing that was trained is lost; resume "
                            "the sweep when it is back"
                        ) from None
                    if attempt == 0:
                        log.warning(
                            "study: %s; waiting up to %.0f s, training goes on",
                            reason,
                            self._patience,
                        )
                    self.interruptions += 1
                attempt += 1
                self._closed.wait(pause)
                pause = min(2 * pause, 5.0)
        finally:
            self._inside.call = False

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        plain = super().set_trial_state_values

        def call(attempt: int) -> bool:
            try:
                return plain(trial_id, state, values)
            except UpdateFinishedTrialError:
                # The connection may have been lost between the commit and its answer.
                if attempt and self.get_trial(trial_id).state == state:
                    return True
                raise

        return self._repeat(call)


def _patient(name: str) -> Callable[..., Any]:
    plain = getattr(RDBStorage, name)

    @functools.wraps(plain)
    def method(self: PatientStorage, *words: Any, **options: Any) -> Any:
        return self._repeat(lambda _: plain(self, *words, **options))

    return method


# All that Optuna's cache asks of the storage behind it
for _name in (
    *("create_new_study", "get_study_id_from_name", "get_study_name_from_id", "get_all_studies"),
    *("get_study_directions", "get_study_user_attrs", "get_study_system_attrs"),
    *("set_study_user_attr", "set_study_system_attr", "delete_study", "_create_new_trial"),
    *("get_trial_id_from_study_id_trial_number", "_get_best_trial_id", "_get_trials"),
    *("get_trial", "get_trial_param", "get_trial_user_attrs", "get_trial_system_attrs"),
    *("_set_trial_param", "set_trial_intermediate_value"),
    *("set_trial_user_attr", "set_trial_system_attr"),
):
    setattr(PatientStorage, _name, _patient(_name))


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
