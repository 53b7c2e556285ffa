"""Figures of how long slots keep what was written to them."""

from __future__ import annotations

from matplotlib.figure import Figure

from palimpsest.foundation.errors import DataError
from palimpsest.rendering import panels, style
from palimpsest.rendering.frames import select
from palimpsest.rendering.panels import Products
from palimpsest.sources.shared.figures import Survival


def survival(products: Products, about: Survival) -> Figure:
    """Kaplan-Meier curves of slot lifetimes: a step line a run, coloured by cell; a life may outlast its sequence."""
    found = panels.series_of(products.runs, about.models, about.where)
    tracks = [track for track in products.tracks if len(select(products.survival, track=track))]
    if not tracks:
        raise DataError("survival.csv: no row; allowed: runs whose memory records where it writes")
    figure, grid = style.panels(1, len(tracks), 2.3)
    drawn = {}
    for panel, track in zip(grid[0], tracks, strict=True):
        table = select(products.survival, track=track)
        panel.set_title(panels.title(products, track))
        for one in found:
            for _, run in one.rows_of(table).groupby("seed"):
                drawn[one.name] = one
                steps, share = [0, *run["steps"]], [1.0, *run["survival"]]
                panel.step(steps, share, where="post", color=one.look.color, linestyle=one.look.line, lw=0.8, alpha=0.7)
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlim(left=0)
        panel.set_xlabel("steps since the write")
    grid[0][0].set_ylabel("share still held")
    panels.legend(figure, [panels.key(one.look, name, line=True) for name, one in drawn.items()])
    return figure


KINDS = {Survival: survival}
