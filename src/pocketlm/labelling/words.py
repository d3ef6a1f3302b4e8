"""How far the labelling has come, in words and bars for a terminal."""

from __future__ import annotations

from pocketlm.labelling.curve import Curve
from pocketlm.labelling.ledger import HELD_OUT, TRAIN
from pocketlm.labelling.session import Session

_BAR = 40


def progress_lines(session: Session) -> list[str]:
    """Counts, the curve and what more labels would bring."""
    trained, held = (sum(session.counts(split).values()) for split in (TRAIN, HELD_OUT))
    lines = [f"{trained + held} rows labelled: {trained} to learn from, {held} held out at random to measure"]
    counts = sorted(session.counts().items(), key=lambda one: -one[1])
    lines.append("  " + "  ".join(f"{label} {count}" for label, count in counts))
    return [*lines, *(curve_lines(session.curve) if session.curve else []), outlook(session.curve)]


def curve_lines(curve: Curve) -> list[str]:
    """A line a point: the figure, its interval, and both on a scale from 0 to 100 %."""
    lines = [f"accuracy on {curve.held} held-out rows, 95 % interval, by rows learnt from:"]
    for size, one in zip(curve.sizes, curve.figures, strict=True):
        low, at, high = (min(_BAR - 1, int(_BAR * part)) for part in (one.low, one.value, one.high))
        bar = ["-" if low <= place <= high else "·" for place in range(_BAR)]
        bar[at] = "o"
        figures = f"{100 * one.value:5.1f} % ({100 * one.low:.0f} to {100 * one.high:.0f})"
        lines.append(f"  {size:>6,}  {figures:<22} {''.join(bar)}")
    return lines


def outlook(curve: Curve | None) -> str:
    """What the next rows would bring, in one line."""
    if curve is None or curve.gain is None:
        return "too few rows so far to say what more labels would bring"
    gain = curve.gain
    said = f"50 more rows to learn from: {_points(gain.value)} points ({_points(gain.low)} to {_points(gain.high)})"
    return said + ("; labels have stopped helping" if curve.flat else "")


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
