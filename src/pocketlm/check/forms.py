"""How texts are written: case, signs, marks, digits, links, scripts and length, as shares of rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pocketlm.data.foreign import main_scripts, scripts_of

_SIGNS = frozenset(".,;:!?…。！？，；：、।॥،؛؟۔።፣፤፥፧")
_ENDS = frozenset(".!?…。！？।॥؟۔።፧")
_LINK, _NAME, _TAG = re.compile(r"https?://|www\.\w"), re.compile(r"(?<!\w)@\w"), re.compile(r"(?<!\w)#\w")
_CURLY, _STRAIGHT = re.compile("[‘’“”]"), re.compile("['\"]")
_PICTURE = re.compile("[\u2600-\u27bf\u2b50\U0001f000-\U0001faff]")
# Characters looked at of a text: enough to see how it is written.
READ = 1_000


@dataclass(frozen=True)
class Form:
    """has: whether a text has it; None where it could not. mend: what makes it the same in all splits."""

    name: str
    has: Callable[[str], bool | None]
    mend: str


def _capital(text: str) -> bool | None:
    """None of texts without letters that have case."""
    return any(one.isupper() for one in text) if text.lower() != text.upper() else None


def _capital_first(text: str) -> bool | None:
    first = next((one for one in text if one.isalpha()), "")
    return first.isupper() if first.lower() != first.upper() else None


def _marked(text: str) -> bool | None:
    if not any(one.isalpha() for one in text):
        return None
    if text.isascii():
        return False
    return any(unicodedata.category(one) == "Mn" for one in unicodedata.normalize("NFD", text))


def _curly(text: str) -> bool | None:
    return bool(_CURLY.search(text)) if _CURLY.search(text) or _STRAIGHT.search(text) else None


_PUNCTUATE = "punctuate all splits alike, or train on copies with and without signs (augment --method aeda adds some)"
_LINKS = "write them alike in all splits: all as they are, or one word in place of each"
FORMS = (
    Form("capital letters", _capital, "write all splits alike, or add copies of training rows in small letters"),
    Form("a capital first letter", _capital_first, "write all splits alike, or add copies in small letters"),
    Form("punctuation", lambda text: any(one in _SIGNS for one in text), _PUNCTUATE),
    Form("a sign at the end", lambda text: text.rstrip()[-1:] in _ENDS, _PUNCTUATE),
    Form("marks on letters", _marked, "write marks alike, or train on copies without (augment --method orthography)"),
    Form("digits", lambda text: any(one.isdecimal() for one in text), "write numbers alike in all splits"),
    Form("web addresses", lambda text: bool(_LINK.search(text)), _LINKS),
    Form("@names", lambda text: bool(_NAME.search(text)), _LINKS),
    Form("#tags", lambda text: bool(_TAG.search(text)), _LINKS),
    Form("pictures", lambda text: bool(_PICTURE.search(text)), "keep or drop them in all"),
    Form("curly quotes", _curly, "write quotes and apostrophes alike in all splits"),
    Form("accents as separate characters", lambda text: not unicodedata.is_normalized("NFC", text),
         "normalize all splits to NFC"),
    Form("line breaks", lambda text: "\n" in text.strip(), "cut all splits out of their source alike"),
)  # fmt: skip


def forms_of(texts: Sequence[str]) -> tuple[Form, ...]:
    """All forms, those of the texts' scripts among them where there are several."""
    scripts = main_scripts([scripts_of(text[:READ]) for text in texts])
    return (*FORMS, *(_of_script(script) for script in scripts if len(scripts) > 1))


def _of_script(script: str) -> Form:
    def mostly(text: str) -> bool | None:
        counts = scripts_of(text[:READ])
        return counts[script] > counts.total() / 2 if counts else None

    return Form(f"mostly {script} letters", mostly, "train on rows of every script that is to be read")
