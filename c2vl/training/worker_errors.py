"""Which error of a group of workers is the cause, and which only says that another worker left."""

from __future__ import annotations

from collections.abc import Mapping

from c2vl.support.errors import first_line


class Stopped(BaseException):
    """The trial has ended the training at a report: no error, and none that a loop catches."""


class WorkersFailed(RuntimeError):
    """The workers failed too often; the last line names the rank and its error."""


def says_peer_gone(error: BaseException) -> bool:
    """Tell whether an error only says that another worker of the group went away."""
    from torch.distributed import DistError

    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    says = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return says or isinstance(error, DistError)


def true_error(error: BaseException) -> str:
    """Return the rank and the first line of the error behind an error of Ray Train's.

    Args:
        error: a ``ray.train.TrainingFailedError``.
    """
    if failures := getattr(error, "worker_failures", {}):
        return cause(failures)
    return first_line(getattr(error, "controller_failure", error))


def cause(failures: Mapping[int, BaseException]) -> str:
    """Return the rank and the first line of the error that explains the others.

    Args:
        failures: the error of each rank that failed.
    """
    rank = min(failures, key=lambda one: (says_peer_gone(failures[one]), one))
    error = getattr(failures[rank], "health_check_failure", failures[rank])
    return f"rank {rank}: {type(error).__name__}: {first_line(error)}"
