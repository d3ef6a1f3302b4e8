"""A made-up language that a small translator learns in seconds: words of digits, to the same words in another."""

import random

from pocketlm.train.pairs import Pairs

ONE = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OTHER = ("sifuri", "moja", "mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa")


def made_pairs(count, seed=0, longest=3):
    """So many pairs of sentences of two to `longest` words, in one order."""
    chance = random.Random(seed)
    rows = [[chance.randrange(10) for _ in range(chance.randint(2, longest))] for _ in range(count)]
    return Pairs(*(tuple(" ".join(words[one] for one in row) for row in rows) for words in (ONE, OTHER)))
