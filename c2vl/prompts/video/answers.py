"""Which of a model's answers become captions, and what replaces the others.

The rule: what a reasoning model thinks aloud (``<think>``) is no part of its answer. An answer that
was cut off at the limit of tokens keeps its whole sentences. An empty answer, a refusal, and a cut
one without a whole sentence are replaced by the usable answer nearest in time. A sequence with
fewer usable answers than half is rejected. All are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from c2vl.skeletons.rejected import RejectedError

Status = Literal["ok", "cut", "empty", "refusal"]
USABLE = 0.5
"""Least share of usable answers of a sequence."""

_UNABLE = (
    r"i('m| am| was) ((really|very|so|truly|deeply|currently|just|only) )?"
    r"(sorry|afraid|unable|not able|not comfortable|not allowed|an? (ai|language model))\b|"
    r"i (must|have to|need to|will have to) (respectfully )?(decline|refuse|apologi[sz]e)\b|"
    r"i (can ?not|can't|could not|couldn't|would not|wouldn't|won't|will not|don't|do not) "
    r"(?!help (but )?notic)"
)
_OPENING = (
    r"(unfortunately|regrettably|however|(due to|for) [^.,]*,|please note that|"
    r"thank(s| you)\b[^.!,]*[.!,])\W*"
)
_REFUSAL = re.compile(
    rf"^\W*({_OPENING})*({_UNABLE}|(sorry|(my )?apologies|i apologi[sz]e)\b|"
    r"as an? (ai|large language|language|artificial intelligence)\b|"
    r"(it('s| is) )?(not possible|impossible|unable) to\b|it isn't possible to\b|"
    r"there is no (image|picture|person)|no (image|person) (is|was) )",
    re.IGNORECASE,
)
_TAG = r"(\w+:)?(think(ing)?|thoughts?|reasoning)"
# Tags as most models write them, Kimi's ◁think▷, Mistral's [THINK], and the channels of gpt-oss.
_THOUGHT = re.compile(
    rf"^.*([<◁]\s*/\s*{_TAG}\s*[>▷]|(?-i:\[/THINK\])|<\|channel\|>\s*final\s*<\|message\|>)",
    re.IGNORECASE | re.DOTALL,
)
_OPEN_THOUGHT = re.compile(
    rf"[<◁]\s*{_TAG}\b[^>▷]*[>▷]|(?-i:\[THINK\])|<\|channel\|>\s*analysis\b", re.IGNORECASE
)
_APOSTROPHES = str.maketrans("\u2019\u2018\u02bc\u00b4`", "'" * 5)


@dataclass(frozen=True)
class Answer:
    """One answer of a model.

    Attributes:
        text: the raw answer.
        whole: it was not cut off at the limit of tokens.
        error: why there is none, where asking failed; trying again may help.
    """

    text: str
    whole: bool = True
    error: str = ""


class Captioner(Protocol):
    """Answers questions on pictures; pickled to Ray's actors before it loads a model."""

    @property
    def identity(self) -> str:
        """Model and revision, for the record."""

    def answers(self, pictures: Sequence[bytes], questions: Sequence[str]) -> list[Answer]:
        """Answer one question on each picture (a picture file's bytes)."""


def usable_text(answer: Answer) -> tuple[str, Status]:
    """Return the text to use of an answer (empty where none is usable), and its status."""
    said = _THOUGHT.sub("", answer.text)  # chat templates may open the thought in the question
    if _OPEN_THOUGHT.search(said):
        return "", "cut"
    text = " ".join(said.split())
    if not text:
        return "", "empty"
    if _REFUSAL.match(text.translate(_APOSTROPHES)):
        return "", "refusal"
    if answer.whole:
        return text, "ok"
    end = max((match.end() for match in re.finditer(r"[.!?](?=\s|$)", text)), default=0)
    return (text[:end], "cut") if end else ("", "cut")


def captions_of(answers: Sequence[Answer]) -> tuple[list[str], list[Status]]:
    """Return the captions of a sequence, in order of time, and what each answer was.

    Raises:
        RejectedError: asking failed, or too few answers are usable.
    """
    failed = [answer.error for answer in answers if answer.error]
    if failed:
        raise RejectedError(f"{len(failed)} of {len(answers)} questions failed: {failed[0]}")
    texts, status = zip(*(usable_text(answer) for answer in answers), strict=True)
    usable = [i for i, text in enumerate(texts) if text]
    if not usable or len(usable) < USABLE * len(answers):
        counts = ", ".join(f"{n} {what}" for what, n in Counter(status).items() if what != "ok")
        raise RejectedError(f"only {len(usable)} of {len(answers)} answers are usable ({counts})")
    nearest = [min(usable, key=lambda j: abs(i - j)) for i in range(len(answers))]
    return [texts[j] for j in nearest], list(status)
