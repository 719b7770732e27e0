"""Every command on every page parses: commands, options, settings, presets, targets and links."""

from __future__ import annotations

import functools
import re
import shlex

import click
import pytest

from c2vl.commands.main import c2vl
from c2vl.config.reading import setting_names
from c2vl.support.errors import UserError
from cluster.cli import c2vl_cluster
from sweeps.commands.main import sweep
from sweeps.spec.sweep import SweepSettings
from tests.docs.pages import PAGES, ROOT, blocks

PROGRAMS: dict[str, click.Command] = {
    "c2vl": c2vl,
    "c2vl-sweep": sweep,
    "c2vl-cluster": c2vl_cluster,
}
_ABSENT = re.compile(r"does not exist|no such|not found|cannot be (read|imported)", re.IGNORECASE)
_INLINE = re.compile(r"(?<!`)`((?:c2vl|c2vl-sweep|c2vl-cluster|make) [^`]+)`(?!`)")


def _all(language: str) -> list[tuple[str, str]]:
    """Return (page:line, command) of all blocks, also of those that are not run."""
    return [
        (f"{page}:{line}", command)
        for page in PAGES
        for block in blocks(page)
        if block.language == language
        for line, command in block.commands()
    ]


def _words(command: str) -> list[list[str]]:
    """Return the words of each simple command of a line, without variables before it."""
    lexed = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=";&|<>()")
    lexed.whitespace_split = True
    lexed.commenters = ""
    found: list[list[str]] = [[]]
    for word in lexed:
        if set(word) <= set(";&|()"):
            found.append([])
        else:
            found[-1].append(word)
    for words in found:
        while words and (words[0] in ("do", "then") or re.match(r"[A-Z_]+=", words[0])):
            words.pop(0)
        if ">" in words:
            del words[words.index(">") :]
    return [words for words in found if words]


def _parse(command: click.Command, words: list[str], name: str, *, whole: bool) -> None:
    """Parse as the console does, and call nothing.

    Args:
        whole: nothing may lack, as in a block; prose names a command in part.
    """
    try:
        context = command.make_context(name, list(words), resilient_parsing=False)
    except (click.MissingParameter, click.exceptions.NoArgsIsHelpError, click.BadOptionUsage):
        if whole:
            raise
        return
    except click.exceptions.Exit:
        return  # --help
    except (click.BadParameter, UserError) as error:
        if not _ABSENT.search(str(error)):
            raise
        return
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest or re.fullmatch(r"[A-Z]+|…", rest[0]):  # `c2vl evaluate PROTOCOL ENCODER`
            assert not whole, f"{name}: no command"
            return
        _, inner, rest = command.resolve_command(context, rest)
        assert inner is not None
        _parse(inner, rest, f"{name} {inner.name}", whole=whole)
        return
    for key in ("overrides", "changes"):
        _settings(context.params.get(key) or (), "sweep" in name or "cluster" in name)


@functools.cache
def _known() -> tuple[set[str], set[str]]:
    settings = set(setting_names({}))
    return settings, set(SweepSettings.model_fields)


def _settings(overrides: tuple[str, ...], swept: bool) -> None:
    settings, keys = _known()
    rooms = {name.partition(".")[0] for name in settings}
    for override in overrides:
        key, equals, _ = override.partition("=")
        assert equals, f"{override}: expected KEY=VALUE"
        first = key.partition(".")[0]
        known = key in settings or (first in rooms and key.endswith((".name", ".hidden")))
        known |= any(name.startswith(f"{key}.") for name in settings)
        assert known or (swept and first in keys) or first == "model", f"{key}: no such setting"


def _check(words: list[str], *, whole: bool) -> None:
    for word in words:
        for preset in re.findall(r"(?:c2vl|sweeps)/presets/[\w/.-]+\.yaml", word):
            assert (ROOT / preset).exists(), f"{preset} is not there"
        for name in re.findall(r"^(?:base=)?preset:([\w/-]+)$", word):
            presets = [ROOT / f"{room}/presets/{name}.yaml" for room in ("c2vl", "sweeps")]
            assert any(path.exists() for path in presets), f"preset:{name} is not there"
    if words[0] in PROGRAMS:
        _parse(PROGRAMS[words[0]], words[1:], words[0], whole=whole)
    elif words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        for target in words[1:]:
            assert "=" in target or target in targets, f"make has no target {target}"
    elif words[:2] == ["python", "-m"] and words[2].startswith(("tests.", "sweeps")):
        module = ROOT / words[2].replace(".", "/")
        assert module.is_dir() or module.with_suffix(".py").exists(), words[2]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(page: str) -> None:
    wrong = []
    commands = [(at, line, True) for at, line in _all("sh") if at.startswith(f"{page}:")]
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    commands += [(page, re.sub(r"[\n\[\]]", " ", line), False) for line in _INLINE.findall(prose)]
    for at, command, whole in commands:
        for words in _words(command):
            try:
                _check(words, whole=whole)
            except (AssertionError, click.ClickException, UserError) as error:
                said = error.message if isinstance(error, click.ClickException) else str(error)
                wrong.append(f"{at}: {' '.join(words)}: {said.splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page}: {target}"
