"""Constraints: comparisons of settings and figures, parsed by a small grammar, never executed.

A constraint is ``side <= side`` (or ``>=``, ``<``, ``>``); a side has numbers, names, ``+ - * /``
and brackets. A name is a setting of the experiment, or a figure that training reports. Constraints
on settings alone exclude a draw before it starts. The sampler learns from constraints on figures
when a trial ends, and a trial that breaks one is never chosen.

Example:
    >>> rule = parse_constraint("2 * model.hidden <= 40", figures=["seconds"])
    >>> rule.violation({"model.hidden": 16}), rule.violation({"model.hidden": 24})
    (-8.0, 8.0)
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.config.reading import flatten, setting_names
from c2vl.support.errors import UserError, did_you_mean
from sweeps.spec.training import Row

_TIMES: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
_LOWER, _HIGHER = (ast.Lt, ast.LtE), (ast.Gt, ast.GtE)
_STRICT = 1e-12  # an equality breaks a strict comparison by this


class Undefined(Exception):
    """A name has no number, or a side divides by zero."""


@dataclass(frozen=True)
class Constraint:
    """One comparison.

    Attributes:
        text: as in the sweep file.
        figures: the figures that it names; empty if settings alone decide.
    """

    text: str
    figures: frozenset[str]
    _low: ast.expr
    _high: ast.expr
    _strict: bool

    def violation(self, numbers: Mapping[str, Any]) -> float:
        """Return by how much it is broken: zero or less if it holds (Optuna's convention).

        Args:
            numbers: by name.

        Raises:
            Undefined: it cannot be decided.
        """
        broken = _value(self._low, numbers) - _value(self._high, numbers)
        return _STRICT if broken == 0 and self._strict else broken


def parse_constraint(
    text: str, figures: Collection[str], settings: Collection[str] | None = None
) -> Constraint:
    """Parse a constraint.

    Args:
        text: such as ``objective.temperature >= objective.temperature_intra``.
        figures: names of figures.
        settings: any other name must be one of these; default: an experiment of default parts.

    Raises:
        UserError: it is no constraint; the message quotes the wrong part.
    """
    where = f'constraints: "{text}"'
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise UserError(f"{where} is no comparison; write for example seconds <= 600") from None
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise UserError(f"{where}: write one comparison, such as seconds <= 600, in each line")
    operator = node.ops[0]
    if not isinstance(operator, _LOWER + _HIGHER):
        raise UserError(f"{where}: the comparison must be one of <=, >=, < and >")
    left, right = node.left, node.comparators[0]
    names = {*_names(left, where), *_names(right, where)}
    known = {*figures, *(setting_names() if settings is None else settings)}
    for name in sorted(names - known):
        near = did_you_mean(name, known)
        raise UserError(f"{where}: {name} is neither a setting nor a figure{near}")
    if not names:
        raise UserError(f"{where}: names neither a setting nor a figure")
    low, high = (left, right) if isinstance(operator, _LOWER) else (right, left)
    strict = isinstance(operator, ast.Lt | ast.Gt)
    return Constraint(text, frozenset(names & set(figures)), low, high, strict)


def _names(node: ast.expr, where: str) -> set[str]:
    if isinstance(node, ast.BinOp) and type(node.op) in _TIMES:
        return _names(node.left, where) | _names(node.right, where)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _names(node.operand, where)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return set()
    if isinstance(node, ast.Name | ast.Attribute) and (name := _dotted(node)):
        return {name}
    raise UserError(f"{where}: {ast.unparse(node)} is not a number, a name or a sum of such")


def _dotted(node: ast.expr) -> str:
    """Return ``a.b.c``; nothing for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    before = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{before}.{node.attr}" if before and isinstance(node, ast.Attribute) else ""


def _value(node: ast.expr, numbers: Mapping[str, Any]) -> float:
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, numbers), _value(node.right, numbers)
        try:
            return _TIMES[type(node.op)](left, right)
        except ZeroDivisionError:
            raise Undefined(f"{ast.unparse(node)} divides by zero") from None
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, numbers)
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]  # checked by the parser
    name = _dotted(node)
    value = numbers.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise Undefined(f"{name} is {value}")
    return float(value)


def impossible(constraints: Collection[Constraint], experiment: Experiment) -> str:
    """Return which constraint on settings alone a draw breaks; nothing if it breaks none."""
    numbers = flatten(experiment.model_dump(mode="json"))
    for constraint in constraints:
        if constraint.figures:
            continue
        try:
            broken = constraint.violation(numbers) > 0
        except Undefined as reason:
            return f'constraints: "{constraint.text}" cannot be decided: {reason}'
        if broken:
            return f'constraints: "{constraint.text}" does not hold'
    return ""


def violations(
    constraints: Collection[Constraint], experiment: Experiment, rows: list[Row]
) -> dict[str, float]:
    """Return by how much a trial breaks each constraint on figures.

    ``seconds`` is the sum over a trial's epochs; any other figure is its last finite value. A
    figure that was never reported breaks its constraint by 1.

    Args:
        rows: its figures by epoch.
    """
    numbers = flatten(experiment.model_dump(mode="json"))
    for row in sorted(rows, key=lambda row: row.get("epoch", 0)):
        finite = {k: v for k, v in row.items() if isinstance(v, int | float) and math.isfinite(v)}
        numbers |= finite
    by_epoch = {row["epoch"]: row.get("seconds", 0.0) for row in rows if "epoch" in row}
    numbers["seconds"] = sum(by_epoch.values())
    found = {}
    for constraint in constraints:
        if constraint.figures:
            try:
                found[constraint.text] = constraint.violation(numbers)
            except Undefined:
                found[constraint.text] = 1.0
    return found
