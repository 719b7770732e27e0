"""Ways of damaging a file: bytes flipped, cut off, moved, words exchanged, numbers made extreme."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
from collections.abc import Callable

_WORDS = (
    *("0", "-1", "1", "2", "25", "26", "49", "51", "52", "150", "999999999", "1000000000"),
    *("4000000000000", "9223372036854775807", "9223372036854775808", "340282366920938463463374607"),
    *("nan", "NaN", "inf", "-Infinity", "1e308", "1e400", "-1e-400", "1e30", "1001", "0x10", "1_0"),
    *("", " ", "x", "\xff", "\u0663", "null", "true", "[]", "{}", '"', ",", "../../etc/passwd"),
    *("|O", "<f8", "<U5", "True", "(", "(0,)", "(1000000000000,)", "(" * 200, "[" * 3000),
)
_TOKENS = re.compile(rb"[^\s,:\[\]{}()\"']+")
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1)
_PICKLED = (
    b"cos\nsystem\n(X\x04\x00\x00\x00trueB\x00\x00\x00\x00tR",
    b"cnumpy\nload\n",
    b"\x8c\x08builtins\x8c\x04eval\x93",
    b"r\xff\xff\xff\x7f",
    b"q\xff",
    b"j\xff\xff\xff\xff",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"\x94" * 50,
    b"(" * 50,
    b"2" * 50,
    b"\x85" * 500,
    b"R",
    b"b",
    b"\x81",
    b"\x92",
    b"Q",
    b"\x97\x98",
    b"]a",
    b"}u",
    b".",
)


def flip(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(damaged))
        damaged[at] = (
            rng.randrange(256) if rng.random() < 0.5 else damaged[at] ^ 1 << rng.randrange(8)
        )
    return bytes(damaged)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def remove(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice((1, 2, 8, 100)) :]


def splice(content: bytes, rng: random.Random) -> bytes:
    start, at = rng.randrange(len(content)), rng.randrange(len(content))
    return content[:at] + content[start : start + rng.choice((1, 4, 30, 500))] + content[at:]


def tokens(content: bytes, rng: random.Random) -> list[re.Match[bytes]]:
    """Return the words at the start, where a file says what it holds, or those of a piece."""
    if rng.random() < 0.5:
        return list(_TOKENS.finditer(content, 0, 100))
    start = rng.randrange(len(content))
    return list(_TOKENS.finditer(content, start, start + 3000))


def exchange_words(content: bytes, rng: random.Random) -> bytes:
    words = tokens(content, rng)
    if len(words) < 2:
        return flip(content, rng)
    first, second = sorted(rng.sample(words, 2), key=lambda word: word.start())
    return b"".join(
        (
            content[: first.start()],
            second[0],
            content[first.end() : second.start()],
            first[0],
            content[second.end() :],
        )
    )


def change_word(content: bytes, rng: random.Random) -> bytes:
    words = tokens(content, rng)
    if not words:
        return flip(content, rng)
    word = rng.choice(words)
    other = rng.choice(_WORDS).encode("utf-8" if rng.random() < 0.5 else "latin-1", "replace")
    return content[: word.start()] + other + content[word.end() :]


def lines(content: bytes, rng: random.Random) -> bytes:
    rows = content.splitlines(keepends=True)
    at = rng.randrange(len(rows))
    action = rng.randrange(4)
    if action == 0:
        del rows[at]
    elif action == 1:
        rows.insert(at, rng.choice(rows))
    elif action == 2:
        rows.insert(at, rng.choice((b"\n", b"\r\n", b" \n", b"\x00\n", b"\xff\xfe\n")))
    else:
        other = rng.randrange(len(rows))
        rows[at], rows[other] = rows[other], rows[at]
    return b"".join(rows)


def number(content: bytes, rng: random.Random) -> bytes:
    """Put an extreme binary number somewhere, mostly near the start or the end."""
    value = rng.choice(_NUMBERS)
    packed = struct.pack(
        rng.choice("<>") + rng.choice("BHIQ" if value < 256 else "IQ"), value & 0xFFFFFFFF
    )
    near = min(200, len(content))
    at = rng.choice(
        (rng.randrange(near), len(content) - rng.randrange(near), rng.randrange(len(content)))
    )
    return content[:at] + packed + content[at + len(packed) :]


def instruction(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + rng.choice(_PICKLED) + content[at + rng.choice((0, 0, 1, 4)) :]


def raw(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return rng.randbytes(rng.choice((0, 1, 20, 1000)))
    letters = rng.choice(
        ("0123456789 \r\n.-,", '[]{}:,"0123456789', "\x80\x04](K\x01.cbuilt\nins", "abc, \n")
    )
    return "".join(rng.choices(letters, k=rng.choice((1, 30, 400)))).encode("latin-1")


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(flip, flip, cut, remove, splice, exchange_words, change_word, change_word, lines, number),
    *(number, instruction),
)


def damage(content: bytes, rng: random.Random) -> bytes:
    """Damage content once to three times, archives also within."""
    if content[:4] == b"PK\x03\x04" and rng.random() < 0.7:
        return repack(content, rng)
    if rng.random() < 0.03:
        return raw(content, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if content:
            content = rng.choice(DAMAGES)(content, rng)
    return content


def repack(content: bytes, rng: random.Random) -> bytes:
    """Damage a member of an archive, or its name, and pack it anew with sound checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = rng.randrange(len(members))
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for position, (info, inside) in enumerate(members):
            name = info.filename
            if position == chosen:
                if rng.random() < 0.1:
                    name = rng.choice(
                        ("../" + name, "/" + name, name + "x", "a\\..\\" + name, "\xff")
                    )
                elif rng.random() < 0.02:
                    inside = bytes(8 << 20)
                else:
                    inside = damage(inside, rng)
            archive.writestr(name, inside)
    return out.getvalue()


# Running
