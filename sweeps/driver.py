"""Runs a sweep: search, choice on validation, scores on the test part, report, registered encoder.

Each stage records what it has done in the sweep's folder and in its study, and a resume does only
what is missing. The folder, ``STORAGE/sweeps/NAME``::

    id  sweep.yaml  study.db what was asked for, and Optuna's record of what was tried
    provenance.json          code, versions and data of each start
    trials/  finals/         the run folders of the trainings
    final.json  results/     the winner with its test scores; the protocols' rows behind them
    encoder/  report/        the winner's encoder; tables and pictures
    final-1.json  encoder-1/ the same before an extension

At a URL lies the same but for the study, which has a database of its own; the driver works on a
copy (:mod:`sweeps.spec.sweep_folder`) and sends what counts before it goes on.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from c2vl.encoder.card import CARD, read_card
from c2vl.encoder.ledger import scorings
from c2vl.support.errors import Interrupted, StorageFull, TrainingError, UserError
from c2vl.training.launch import documented
from sweeps.choosing.candidates import choose, rounds
from sweeps.choosing.disk_cleanup import DiskCleanup
from sweeps.choosing.export import keep_encoder, publish
from sweeps.choosing.final_choice import FinalChoice, former_choices
from sweeps.choosing.final_trainings import Ranked, references
from sweeps.choosing.reliability import told_apart
from sweeps.choosing.scoring import score_on_test
from sweeps.choosing.summary import chosen, marks, metrics, short
from sweeps.choosing.verdict import heading, verdict
from sweeps.planning.cluster_resources import Concurrency, NodeLost, cluster, trial_resources
from sweeps.planning.nodes import require_fit_nodes
from sweeps.report.write import write_report
from sweeps.running import trial
from sweeps.running.claim import Claim, claimed
from sweeps.running.engine import run_trainings
from sweeps.running.failure_limit import FailureLimit
from sweeps.running.metrics import Metrics
from sweeps.running.nodes_wanted import NodesWanted
from sweeps.running.progress import Board, show_table
from sweeps.running.sending import Sending
from sweeps.running.stopping import Stop, heed_signals, stopping
from sweeps.search.study import name_of, no_winner
from sweeps.search.trial_source import TrialSource
from sweeps.spec import provenance
from sweeps.spec.checks import data_needs
from sweeps.spec.lock import locked
from sweeps.spec.reading import public_dump
from sweeps.spec.rungs import rungs_of_all
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import ListedTrainings, Training, TrainingSource
from sweeps.tracking.pages import WINNER
from sweeps.tracking.tracker import Tracker

TRIALS_FAILED, FINAL_FAILED = "trials failed", "a final training failed"  # reasons to stop


def run(spec: SweepSettings, *, address: str | None = None, resume: bool = False) -> FinalChoice:
    """Run a sweep to its end: trials, final trainings, test scores, report, registered encoder.

    Args:
        spec: the checked settings.
        address: of a Ray cluster; default: RAY_ADDRESS, else one of its own on this machine.
        resume: continue a sweep that has begun, rather than start one; a higher number of trials
            goes into its ``sweep.yaml`` as soon as it starts.

    Raises:
        UserError: nothing was started, or nothing useful can come of it; the message says why.
            A start that fails leaves nothing behind. Or the sweep has ended, and MLflow lacks some.
        StorageFull: the disk is full; trials wait, unharmed, for a resume.
        NodeLost: the Ray node that this process runs on is gone, or one that has a trial does not
            share the sweep's folder; likewise.
        TrainingError: more than ``max_failed_trials`` failed.
        Interrupted: a stop was asked for (:mod:`sweeps.running.stopping`).
    """
    base, *others = data_needs(spec)
    data, also = provenance.data_manifest(base), provenance.contents(others)
    with (
        _saying_how_to_go_on(spec) as begins,
        locked(spec.folder, spec.name, make=not resume) as confirm,
        claimed(spec, resume=resume) as claim,
        stopping(spec.folder) as stop,
        cluster(address, documented=lambda: bool(documented(spec.base.train))),
    ):
        heed_signals(stop)
        concurrency = Concurrency(spec.base.train, spec.concurrency, spec.autoscaling)
        require_fit_nodes(spec.storage, [base, *others])
        provenance.require_same(spec.folder, data, also)
        tracker = Tracker(spec, claim.identity, must_answer=not resume)
        source = _open_study(claim, tracker)
        claim.keep()
        begins()
        provenance.record(spec.folder, data, public_dump(spec), also)
        spec.folder.send()
        driver = _Driver(spec, source, tracker, stop, concurrency, confirm)
        try:
            final = driver.run(data)
        except (Interrupted, NodeLost):
            tracker.finish("interrupted")
            raise
        except (StorageFull, KeyboardInterrupt):  # on its database's disk, say; or in a hurry
            tracker.finish("interrupted", patience=5.0)
            raise
        except BaseException:
            tracker.finish("failed")
            raise
        finally:
            source.close()
        if driver.untold:
            raise UserError(f"{spec.name}: has ended, but {driver.untold}")
        return final


@contextmanager
def _saying_how_to_go_on(spec: SweepSettings) -> Iterator[Callable[[], None]]:
    """Turn a second Ctrl-C, which ends at once, into words that fit; call it as the sweep begins.

    Raises:
        Interrupted: at such a Ctrl-C.
    """
    begun = threading.Event()
    try:
        yield begun.set
    except KeyboardInterrupt:
        how = f"go on with: c2vl-sweep resume {spec.words}"
        if not begun.is_set():
            how = "it had changed nothing: give the same command again"
        raise Interrupted(f"stopped at once; {how}") from None


def _open_study(claim: Claim, tracker: Tracker) -> TrialSource:
    try:
        return TrialSource(claim.spec, claim.identity)
    except BaseException:
        if claim.kept:
            tracker.finish("interrupted")
        else:
            tracker.discard()
        raise


class _Driver:
    """One start of a sweep: its stages, in their order.

    Attributes:
        untold: what MLflow lacks of a sweep that has ended, with the remedy; empty if nothing.
    """

    def __init__(
        self,
        spec: SweepSettings,
        source: TrialSource,
        tracker: Tracker,
        stop: Stop,
        concurrency: Concurrency,
        confirm: Callable[[], None],
    ) -> None:
        self._spec, self._source, self._tracker = spec, source, tracker
        self._stop, self._concurrency, self._confirm = stop, concurrency, confirm
        self.untold = ""
        self._metrics = Metrics(spec.name, source.counts(), spec.folder.notes)

    def run(self, data: dict[str, Any]) -> FinalChoice:
        self._tracker.begin(data)
        ranked = self._search()
        final = self._choose(ranked)
        if self._spec.final.test:
            final = self._score(final, ranked)
        self._publish(final)
        return final

    def _search(self) -> Ranked:
        """Run the trials that are still missing, and return those that may win, best first."""
        spec, source = self._spec, self._source
        if len(source):
            spec.folder.set_aside()
        ended = source.ended()
        self._tracker.reconcile(ended)
        self._cleanup = DiskCleanup(spec, ended)
        counts, ranked = source.counts(), source.ranked()
        best = ranked[0][1] if ranked else None
        board = Board(spec.name, spec.trials, counts, spec.objectives[0], best, rungs_of_all(spec))
        limit = FailureLimit(self._stop, spec.max_failed_trials, TRIALS_FAILED, counts["failed"])
        self._train(source, board, limit)
        self._tracker.keep(self._cleanup.encoders())
        if ranked := source.ranked():
            return ranked
        raise UserError(f"{spec.name}: {no_winner(source.counts())}, so no winner was chosen")

    def _choose(self, ranked: Ranked) -> FinalChoice:
        """Train the candidates with other seeds, and choose the winner on validation."""
        for trainings in rounds(self._spec, ranked):
            self._train_finals("candidates", trainings)
        final = choose(self._spec, ranked)
        if len(final.candidate_values) > 1 or len(final.validation) > 1:
            show_table(final.candidates(), f"{self._spec.name}: candidates over their seeds")
        return final

    def _score(self, final: FinalChoice, ranked: Ranked) -> FinalChoice:
        """Train what stands beside the winner, and score all of it on the test part."""
        winner = next(training for training, _ in ranked if training.number == final.trial)
        self._train_finals("references", references(self._spec, ranked, winner))
        final = score_on_test(self._spec, final, ranked, winner, self._stop)
        self._end_if_asked()
        show_table(final.table(), final.title)
        return final

    def _publish(self, final: FinalChoice) -> None:
        """Keep the winner's encoder, write the report, and register the encoder in MLflow."""
        spec, source, tracker = self._spec, self._source, self._tracker
        encoder = keep_encoder(spec, final)
        report = write_report(source, final)
        figures = metrics(final, source.counts())
        folders, place = {"report": report, "encoder": encoder}, spec.folder.place(encoder)
        if spec.final.test:
            folders["results"] = spec.folder.results
            figures["test/scorings"] = float(scorings(folders["results"]))
        tracker.whole(figures, folders)
        try:
            tracker.flush()  # what waits comes first; this shows whether MLflow answers
            version = publish(spec, final, encoder, tracker.runs)
            model, view = version.partition(" ")[0], tracker.view()
        except UserError as error:
            version, model, view = "not registered", "", ""
            self.untold = (
                f"its encoder is not registered: {error}. It stays in {place}; once the cause is "
                f"gone: c2vl-sweep resume {spec.words} (tracking.model=OTHER for another model)"
            )
        marked = marks(spec, final, former_choices(spec.folder))
        origin = read_card(encoder / CARD)["provenance"]
        settings = {WINNER: final.run, **origin.get("experiment", {})}
        tracker.chosen(chosen(spec, final, model), marked, settings, final.values)
        source.budget.note()
        left = tracker.finish("complete")
        self.untold = self.untold or left
        board = Board(spec.name, spec.trials, source.counts(), spec.objectives[0])
        for sentence in (*verdict(final), *told_apart(spec, source.trials("complete"), final)):
            board.say(sentence)
        if count := figures.get("test/scorings"):
            board.say(f"{count:.0f} test scorings, each of an encoder by a protocol")
        drawn = "  ".join(f"{key}={short(value)}" for key, value in final.values.items())
        board.say(f"{heading(final)}: {name_of(spec, final.trial)}  {drawn}")
        board.say(f"encoder: {place}\nreport:  {spec.folder.place(report)}\nmodel:   {version}")
        if view:
            board.say(f"trials:  {view}")

    def _train_finals(self, title: str, trainings: list[Training]) -> None:
        """Run trainings after the search, those that are not done."""
        self._tracker.reconcile([(training, "complete") for training in trainings if training.done])
        if left := [training for training in trainings if not training.done]:
            spec = self._spec
            board = Board(f"{spec.name} {title}", len(left), Counter(), spec.objectives[0])
            board.say(f"{title}: {', '.join(training.name for training in left)}")
            self._train(ListedTrainings(left), board, FailureLimit(self._stop, 0, FINAL_FAILED))

    def _train(self, source: TrainingSource, board: Board, limit: FailureLimit) -> None:
        """Run what a source gives out, on Ray Tune."""
        spec = self._spec
        tune = spec.folder.tune
        if why := documented(spec.base.train):
            if spec.folder.url is not None:
                raise UserError(
                    f"storage: {why}; Ray Train's documented trainer needs a folder, not a URL"
                )
            board.say(f"Ray Train's documented trainer starts new workers for each trial: {why}")
        shutil.rmtree(tune, ignore_errors=True)  # study and run folders hold all that counts
        with board:
            run_trainings(
                source,
                name=spec.name,
                folder=tune,
                trainable=trial.run,
                listeners=[
                    self._tracker,
                    board,
                    limit,
                    self._cleanup,
                    self._source.budget,
                    self._metrics,
                    NodesWanted(spec, board.say),
                    Sending(spec.folder, self._stop),
                ],
                stop=self._stop,
                concurrency=self._concurrency,
                bundles=trial_resources(spec.base, documented=bool(why)),
                max_failures=spec.max_failures,
                reuse=not why,
                shared=(str(spec.folder.place(spec.folder.identity_file)), spec.folder.identity()),
                confirm=self._confirm,
            )
            self._end_if_asked()
        shutil.rmtree(tune, ignore_errors=True)

    def _end_if_asked(self) -> None:
        """End this start, with the command that goes on, if anything asked for a stop."""
        spec, stop = self._spec, self._stop
        if not stop:
            return
        again = f"c2vl-sweep resume {spec.words}"
        if stop.reason == TRIALS_FAILED:
            raise TrainingError(
                f"{spec.name}: more trials failed than max_failed_trials "
                f"({spec.max_failed_trials}) tolerates; their errors are in MLflow. Once the cause "
                f"is gone: {again} max_failed_trials=N"
            )
        if stop.reason == FINAL_FAILED:
            raise TrainingError(
                f"{spec.name}: a training of the final choice failed; its error is in MLflow. Once "
                f"the cause is gone: {again}"
            )
        if stop.error is not None:
            raise type(stop.error)(f"{stop.error}; then: {again}")
        raise Interrupted(f"stopped; go on with: {again}")
