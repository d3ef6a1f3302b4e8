"""Every error PocketLM raises on purpose, and the exit code it maps to.

    PocketLMError                      1   a failure that is not a bug
    ├── UserError                      2   the input is wrong; the message says what would be right
    │   ├── UnitError                      "12 parsecs" where a size or a time is expected
    │   ├── UnknownNameError               a table has no such entry; names the nearest
    │   ├── DataError                      a data file, column, label or row
    │   ├── TeacherError                   a teacher that cannot be found or loaded
    │   ├── ModelError                     a model that cannot be found, loaded, or handled by a pass
    │   ├── CalibrationError               calibration text that is too short or unreadable
    │   ├── BudgetError                    a budget that no model can meet, or that contradicts itself
    │   ├── RecipeError                    a job or recipe file
    │   ├── PocketFileError                a Pocket that is truncated, changed, newer or unsafe
    │   ├── OutputError                    the output exists already or cannot be written
    │   └── MissingExtraError              a part of PocketLM that is not installed
    ├── NoEffect                       1   a pass changed nothing, or cost more than it saved
    └── BudgetMissed                   3   the work was done, nothing met the budget

The command line prints the message in one line and exits with the code; anything else is a bug
and keeps its traceback.
"""

from __future__ import annotations


class PocketLMError(Exception):
    """A failure PocketLM foresaw; its text is one line for a person."""

    exit_code = 1


class UserError(PocketLMError):
    """The input is wrong. The message names the place, the value and what would be right."""

    exit_code = 2


class UnitError(UserError):
    """A size, time or share that cannot be read."""


class UnknownNameError(UserError):
    """A name that is in none of PocketLM's tables."""


class DataError(UserError):
    """A data file, column, label or row that cannot be used."""


class TeacherError(UserError):
    """A teacher that cannot be found, loaded or used."""


class ModelError(UserError):
    """A model that cannot be found, loaded, or handled by a pass."""


class CalibrationError(UserError):
    """Calibration text that is too short or cannot be read."""


class BudgetError(UserError):
    """A budget that contradicts itself or that nothing can meet."""


class DeviceError(UserError):
    """A file that describes no machine."""


class RecipeError(UserError):
    """A job file or recipe with a wrong key or value."""


class PocketFileError(UserError):
    """A Pocket that is truncated, changed, from a newer version, or unsafe."""


class OutputError(UserError):
    """An output that exists already or cannot be written."""


class MissingExtraError(UserError):
    """A command needs a part of PocketLM that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the '{extra}' extra: pip install 'pocketlm[{extra}]'")
        self.extra = extra


class NoEffect(PocketLMError):
    """A pass changed nothing, or cost more than it saved; the message says what and why."""


class BudgetMissed(PocketLMError):
    """No candidate met the budget; the message names the nearest miss, `result` is all that was found."""

    exit_code = 3

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result
