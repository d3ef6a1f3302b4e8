"""Rows of three kinds that a model can tell apart, in two scripts."""

import random

WORDS = {
    "card": ("kadi yangu", "card", "PIN", "lost"),
    "rate": ("bei ya", "rate", "exchange", "euro"),
    "باقة": ("باقة", "رصيد", "هاتف", "شحن"),
}
FILL = (
    "today",
    "please",
    "again",
    "why",
    "naomba",
    "now",
    "أين",
    "my",
    "the",
    "week",
    "still",
    "tell me",
    "how",
    "when",
)


def made_rows(count, seed=0):
    """(text, label) of different rows."""
    drawn, rows = random.Random(seed), {}
    while len(rows) < count:
        label = drawn.choice(list(WORDS))
        words = [*drawn.sample(WORDS[label], 2), *drawn.sample(FILL, 4)]
        drawn.shuffle(words)
        rows[" ".join(words)] = label
    return list(rows.items())
