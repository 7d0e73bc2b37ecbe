"""The step that searches an unrelated target harder where the attack reached its own alone, so that a weak
search of it is not mistaken for a budget that is specific."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from recoverdsl.compiler.steps import FindSmallestNorm, ReachHarder, Recover
from recoverdsl.engine.attack.seeds import seed_of
from recoverdsl.engine.steps.evaluation import Recoveries
from recoverdsl.engine.steps.executor import Progress, SomeFlipsExecutor, executes
from recoverdsl.engine.steps.recovery import recover
from recoverdsl.engine.steps.strength import by_apgd, longer, tried_of
from recoverdsl.engine.steps.suffix import Suffixes, attack
from recoverdsl.engine.steps.suffix_strength import longer as longer_suffix
from recoverdsl.measure.rows import Recovery
from recoverdsl.measure.strength import UnrelatedRow


@frozen(eq=False)
class UnrelatedRecord:
    """The stronger searches of an unrelated target: the record of a step."""

    rows: tuple[UnrelatedRow, ...]


@executes(ReachHarder)
class ReachHarderExecutor(SomeFlipsExecutor[ReachHarder, UnrelatedRecord]):
    """Searches an unrelated target harder wherever only the attack's own was reached."""

    record = UnrelatedRecord

    @property
    def places(self) -> list[int]:
        """The places of all such examples: these alone make the difference between the two."""
        own, found = self._rows("own"), self._rows("found")
        return [
            at
            for at, (one, other) in enumerate(zip(own, found, strict=True))
            if not (one.failed or other.failed) and self._reached(one) and not self._reached(other)
        ]

    def compute(self, batch: range, progress: Progress) -> UnrelatedRecord:
        places = [self.places[at] for at in batch]
        more = self._search(places, by_momentum=False)
        open_places = [
            at
            for at, row in zip(places, more, strict=True)
            if not row.recovered and isinstance(self.step.search, Recover)
        ]
        again = {row.example: row for row in self._search(open_places, by_momentum=True)}
        return UnrelatedRecord(
            tuple(
                UnrelatedRow(
                    example=row.example, longer=tried_of(row),
                    apgd=tried_of(again[row.example]) if row.example in again else None,
                )
                for row in more
            )
        )  # fmt: skip

    def _search(self, places: Sequence[int], *, by_momentum: bool) -> Sequence[Recovery]:
        """Return the rows of a stronger search at some places: with twice the steps, or by momentum ascent."""
        if not places:
            return ()
        search, protected = self.step.search, self.work.protected(self.node)
        flips = self.work.flip_batch(self.node, places)
        if isinstance(search, Recover):
            stronger = by_apgd(search) if by_momentum else longer(search)
            rows = recover(self.work.problems, stronger, protected, flips).rows
            # A search of the least norm asks for its goal alone, whatever text is written.
            return (
                [evolve(row, recovered=row.reached) for row in rows]
                if self._of_least_norms
                else rows
            )
        resources = self.work.resources
        seeds = [seed_of(0, resources.examples[index].id) for index in flips.indices]
        return attack(resources, longer_suffix(search), protected, flips, seeds).rows

    @property
    def _of_least_norms(self) -> bool:
        found = self.node.inputs["found"]
        return isinstance(self.work.output.graph[found].step, FindSmallestNorm)

    def _rows(self, role: str) -> Sequence[Recovery]:
        found = self.work.output.results[self.node.inputs[role]].record
        if found is None:
            return ()
        assert isinstance(found, (Recoveries, Suffixes))
        return found.rows

    def _reached(self, row: Recovery) -> bool:
        """Return whether a row counts as reached where the two are compared: of searches of least norms,
        within the limit."""
        if not self._of_least_norms:
            return row.recovered
        assert isinstance(self.step.search, Recover) and row.delta is not None
        return row.recovered and row.delta.norm <= self.step.search.limit
