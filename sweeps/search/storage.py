"""Optuna's storage for a database that may be locked or unreachable for a while.

:class:`PatientStorage` repeats the calls that fail meanwhile. :class:`Order` makes a study's calls
in one thread, in order, so that trainings continue while one of them waits.
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

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from c2vl.support.errors import UserError
from sweeps.search.database import asked_again, away, engine_options
from sweeps.search.optuna_internals import cached
from sweeps.spec.store_addresses import shown

log = logging.getLogger(__name__)
T = TypeVar("T")

GRACE_SECONDS = 5.0  # a training waits so long for the pruner's decision on its last epoch


def open_storage(uri: str, patience: float) -> PatientStorage:
    """Open a study's storage; waits for one that is locked, and not for one that is absent.

    Args:
        uri: an SQLAlchemy address; a password in it is never shown.
        patience: seconds.

    Raises:
        UserError: it cannot be reached.
    """
    options = engine_options(uri)
    return asked_again(
        uri,
        patience,
        lambda: PatientStorage(uri, options, patience),  # type: ignore[abstract]
    )


class Delegate(BaseStorage):
    """A storage that passes every call of Optuna's interface on to another one.

    Args:
        inner: the other storage.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self._inner = inner

    def call(self, name: str, *words: Any, **options: Any) -> Any:
        """Call the method ``name`` of the other storage."""
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
    """A database that is asked again while it is locked or unreachable.

    Attributes:
        interruptions: how many calls it had to repeat so far.
    """

    def __init__(self, uri: str, options: dict[str, Any], patience: float) -> None:
        self._patience, self._shown = patience, shown(uri)
        self._closed = threading.Event()
        self.interruptions = 0
        super().__init__(cached(RDBStorage(uri, engine_kwargs=options)))

    def give_up(self) -> None:
        """Stop waiting, now and later."""
        self._closed.set()

    def call(self, name: str, *words: Any, **options: Any) -> Any:
        """Call a method, and repeat it while the database does not answer.

        Raises:
            UserError: it did not answer for the seconds of patience.
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


class Order:
    """A thread that does work in the order of submission.

    After a failure it does no more work: all that wait are told the first error.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        self._failure: BaseException | None = None
        self._late: Future[Any] | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="study")
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue work."""
        future: Future[T] = Future()
        self._queue.put((work, future))
        return future

    def wait(self, future: Future[Any]) -> bool:
        """Wait a little, and say whether the work is done; behind late work, do not wait.

        Raises:
            Exception: the error of this work, or of work before it.
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
        """Wait until all queued work is done.

        Raises:
            Exception: the first error.
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
