"""Which runs of layers the tensors of one forward pass depend on.

A layer that is called twice has run twice. A set of runs is an integer with one bit for each, so that the past of an
operation's result is the bitwise or of the pasts of its arguments, whatever the depth.
"""

from collections.abc import Iterator

from isometry.adapters.torch.sites import Site

__all__ = ["Ancestry"]

LONGEST_BRANCH = 512
"""Runs of layers in one residual branch; a sum over more is a loop, and following it would cost time."""


class Ancestry:
    """The runs of one pass, in their order."""

    def __init__(self) -> None:
        self._sites: list[Site | None] = []
        self._pasts: list[int] = []
        self._runs_of: dict[Site, int] = {}
        self._seen_by: dict[Site, int] = {}
        self._layers = 0
        self._learned = 0
        self._cut = 0

    def clear(self) -> None:
        """Forget the pass."""
        self._sites.clear()
        self._pasts.clear()
        self._runs_of.clear()
        self._seen_by.clear()
        self._layers = self._learned = self._cut = 0

    def begin_input(self, *, learned: bool) -> int:
        """The bit of an input; ``learned``: layers outside this pass have made it, and it is no data."""
        run = self.begin_run(None)
        if learned:
            self._learned |= run
        return run

    def begin_run(self, site: Site | None, past: int = 0) -> int:
        """The bit of a new run, of a layer that reads what depends on ``past``."""
        run = 1 << len(self._sites)
        self._sites.append(site)
        self._pasts.append(past)
        if site is not None:
            self._runs_of[site] = self._runs_of.get(site, 0) | run
            self._layers |= run
        return run

    def note_past(self, site: Site, past: int) -> None:
        """All that a layer has read so far."""
        self._seen_by[site] = self._seen_by.get(site, 0) | past

    def note_cut(self, past: int) -> None:
        """These runs have passed through something that no gradient comes back through."""
        self._cut |= past

    def is_fed_by_itself(self, site: Site, past: int) -> bool:
        """Whether a layer reads what an earlier run of it has made."""
        return bool(past & self._runs_of.get(site, 0))

    def has_layers(self, past: int) -> bool:
        """Whether any layer is among these runs, or has worked before them; else they are inputs of the network."""
        return bool(past & (self._layers | self._learned))

    def mark_cut_sites(self) -> None:
        """Tell the layers whose signal was cut."""
        for bit in _bits(self._cut):
            site = self._sites[bit]
            if site is not None:
                site.cut = True

    def note_readers(self) -> None:
        """Which layers see the values of one that no gradient has come back to: then something cut the graph."""
        for site, runs in self._runs_of.items():
            if not site.heard and site.readers is None:
                site.readers = [other for other, past in self._seen_by.items() if past & runs and other is not site]

    def branch(self, first: int, second: int, *, module: str) -> list[Site]:
        """Sites of the residual branch or branches between a fork and this sum; empty for any other addition.

        Either one operand comes from the other (identity skip), or both come from one earlier layer (projection
        skip). Layers that run again and again are the steps of a recurrence, not branches. ``module`` is where the
        addition takes place.
        """
        common, apart = first & second, first ^ second
        if not common or not apart:
            return []
        identity = common in (first, second)
        forked_at_layer = bool(common & self._layers)
        if not (identity or forked_at_layer) or apart.bit_count() > LONGEST_BRANCH:
            return []
        inside = f"{module}."
        between = dict.fromkeys(
            site
            for bit in _bits(apart)
            if (site := self._sites[bit]) is not None
            # What does not come from the fork joins from elsewhere, as an encoder does through cross-attention.
            and (self._pasts[bit] & common == common or (inside != "." and site.name.startswith(inside)))
        )
        if any(self._runs_of[site] & common for site in between):
            return []
        return list(between)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
