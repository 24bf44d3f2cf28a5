"""Charts as SVG, drawn on the server: no script, no style but the sheet's classes, and words for those who cannot see
them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

#: Of a chart's own units; the browser scales it.
WIDTH, HEIGHT = 720, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 10, 24

#: Lines across, and labels below, at most.
MAX_TICKS, MAX_LABELS = 4, 8

#: A part that is there is never thinner than this: a cent beside a hundred dollars still happened.
_LEAST = 1.5


@dataclass(frozen=True, slots=True)
class Bar:
    """`parts`: from the bottom up, none negative; `said`: what is shown when one points at it."""

    label: str
    parts: tuple[float, ...]
    said: str


def bars(
    title: str, shown: Sequence[Bar], classes: Sequence[str], *, words: Callable[[float], str], least_step: float = 0.0
) -> Markup:
    """A bar each, stacked of its parts; `classes` are the parts', `words` how a number on the axis is written. Lines
    are `least_step` apart at least."""
    top = max((math.fsum(bar.parts) for bar in shown), default=0.0)
    step = max(nice_step(top), least_step)
    ceiling = max(step, math.ceil(top / step - 1e-9) * step)
    inner, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    drawn = [_axis(ceiling, step, tall, words)]
    slot = inner / max(1, len(shown))
    every = max(1, math.ceil(len(shown) / MAX_LABELS))
    for number, bar in enumerate(shown):
        x = _LEFT + number * slot
        drawn += [_bar(bar, classes, x, slot, tall / ceiling, tall)]
        if number % every == 0:
            middle = min(max(x + slot / 2, _LEFT + 4), WIDTH - 24)
            label = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
            drawn.append(label.format(_n(middle), HEIGHT - 8, "middle" if number else "start", bar.label))
    frame = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, HEIGHT, title, Markup("").join(drawn))


def nice_step(top: float) -> float:
    """Between lines: 1, 2 or 5 times a power of ten, so that MAX_TICKS of them reach `top`."""
    if top <= 0:
        return 1.0
    rough = top / MAX_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _axis(ceiling: float, step: float, tall: float, words: Callable[[float], str]) -> Markup:
    lines = []
    for number in range(round(ceiling / step) + 1):
        y = _TOP + tall - tall * (number * step / ceiling)
        kind = "grid" if number else "grid base"
        lines.append(
            Markup(
                '<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(kind, _LEFT, WIDTH - _RIGHT, _n(y), _n(y), _LEFT - 8, _n(y + 4), words(number * step))
        )
    return Markup("").join(lines)


def _bar(bar: Bar, classes: Sequence[str], x: float, slot: float, scale: float, tall: float) -> Markup:
    gap = min(slot * 0.25, 6.0)
    y, parts = _TOP + tall, []
    for part, kind in zip(bar.parts, classes, strict=True):
        if part > 0:
            height = max(part * scale, _LEAST)
            y -= height
            rectangle = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1"/>')
            parts.append(rectangle.format(kind, _n(x + gap / 2), _n(y), _n(max(slot - gap, 0.5)), _n(height)))
    hit = Markup('<rect class="hit" x="{}" y="{}" width="{}" height="{}"/>').format(_n(x), _TOP, _n(slot), _n(tall))
    return Markup("<g><title>{}</title>{}{}</g>").format(bar.said, Markup("").join(parts), hit)


def _n(number: float) -> Markup:
    return escape(f"{number:.2f}".rstrip("0").rstrip("."))
