"""What a large multimodal model is asked about a picture."""

from __future__ import annotations

from c2vl.support.errors import UserError, did_you_mean

SETS: dict[str, tuple[str, ...]] = {
    "paper": ("What is she trying to do? Please crop the person.",),
    "body": (
        "In one sentence, say what the person's arms and hands are doing and where they are "
        "relative to the body.",
        "In one sentence, describe the posture and movement of the person's legs, hips and trunk.",
        "In one sentence, name the action that the person is most likely performing, judging by "
        "the pose alone.",
        "In one sentence, describe the pose of the whole body, from head to feet, without "
        "mentioning gender, age, clothes or the room.",
    ),
}
"""Ready sets by name; frames take a set's questions in turn.

``paper`` is C²VL's own (arXiv 2405.20606), word by word. ``body`` presumes no gender and asks for
body parts and motion: it is for the skeleton, which shows neither clothes nor objects.
"""


def questions(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the questions of a named set, or the given ones.

    Raises:
        UserError: one word that is no set's name.
    """
    if not given:
        return SETS["paper"]
    if len(given) == 1 and given[0] in SETS:
        return SETS[given[0]]
    for text in given:
        if " " not in text.strip():
            raise UserError(f'--question "{text}": no set of that name{did_you_mean(text, SETS)}')
    return given
