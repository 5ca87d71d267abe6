"""How many tokens a text may have, estimated without a tokenizer.

    tokens = words * tokens_per_word + characters * 0.8

Words are what white space separates. Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan put
none between theirs, so their letters are counted one by one; marks that combine with a letter
count with it. Current tokenizers make about 0.6 to 1 token of such a character, older ones more;
0.8 is between. Korean has spaces.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TOKENS_PER_CHARACTER = 0.8

_MARKS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"  # Thai
    "\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"  # Lao
    "\u0f18\u0f19\u0f35\u0f37\u0f39\u0f71-\u0f84\u0f86\u0f87\u0f8d-\u0fbc"  # Tibetan
    "\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d"  # Burmese
    "\u1071-\u1074\u1082-\u108d\u108f\u109a-\u109d"
    "\u17b4-\u17d3\u17dd"  # Khmer
    "\u302a-\u302f\u3099\u309a\uff9e\uff9f"  # Chinese, Japanese
)
_SCRIPTS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\u2e80-\u2fdf\u3001-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(f"[{_SCRIPTS}][{_MARKS}]*")


class Amount(NamedTuple):
    """How much text: words between spaces, and characters of scripts without spaces."""

    words: int
    characters: int

    def plus(self, other: Amount) -> Amount:
        return Amount(self.words + other.words, self.characters + other.characters)

    def tokens(self, tokens_per_word: float) -> int:
        """The estimate, at least 1."""
        return max(1, round(self.words * tokens_per_word + self.characters * TOKENS_PER_CHARACTER))


NOTHING = Amount(0, 0)


def amount_of(text: str) -> Amount:
    """Count the words and characters of a text.

    >>> amount_of("KV cache 缓存")
    Amount(words=2, characters=2)
    """
    if text.isascii():
        return Amount(len(text.split()), 0)
    rest, characters = _CHARACTER.subn(" ", text)
    return Amount(len(rest.split()), characters)
