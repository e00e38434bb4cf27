"""Knowledge about the locals of a function in writing: their constants, copies, types and fields. Pure.

OPA numbers the locals of each block of a function anew, so knowledge of copies holds for one such block. Knowledge of types,
constants and fields holds in the frame in which it was gained, until the local gets another value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.policy.plan import forms, usage
from gateway.policy.plan.forms import Term
from gateway.policy.plan.intermediate import Block


@dataclass
class Frame:
    """A block in writing. `leave` is the statement to leave it by, and `mark` the name of its mark, or empty.

    In the block, locals were found to have `kinds` of values, `fields` were read, and locals were given `constants`.
    """

    leave: str
    mark: str = ""
    kinds: dict[int, str] = field(default_factory=dict[int, str])
    fields: dict[tuple[int, str], Term] = field(default_factory=dict[tuple[int, str], Term])
    constants: dict[int, Term] = field(default_factory=dict[int, Term])


class Known:
    """The knowledge about one function. `frames` are the blocks around the statement in writing."""

    def __init__(self, blocks: Sequence[Block], params: Sequence[int]) -> None:
        self.frames: list[Frame] = []
        self._grown = usage.grown(blocks)
        self._grows_its_own = usage.grows_what_it_made(blocks)
        self._absent = usage.absent_in_each(blocks)
        self._unchanged = usage.unchanged(blocks, params)
        self._settled: set[int] = set()
        self._grown_here: set[int] = set()
        self._times_read: Mapping[int, int] = {}
        self._terms: dict[int, Term] = {}

    def enter(self, block: Block) -> None:
        """Begin a block of the function itself."""
        self._settled = usage.settled(block, self._absent)
        self._grown_here = usage.grown([block])
        self._times_read = usage.times_read([block])
        self._terms = {}

    def term(self, local: int) -> Term:
        """Return the term to read a local by."""
        found = self._terms.get(local) or forms.local(local)
        for frame in reversed(self.frames):
            if local in frame.constants:
                return frame.constants[local]
            if found.local in frame.kinds and not found.kind:
                return replace(found, kind=frame.kinds[found.local])
        return found

    def is_read_once(self, local: int) -> bool:
        return local in self._settled and self._times_read[local] == 1

    def times_read(self, local: int) -> int:
        return self._times_read[local]

    def note_copy(self, local: int, found: Term) -> bool:
        """Have a local read by another term, if both keep their values. Return whether they do."""
        if local in self._settled and (found.literal or self._is_lasting(found)):
            self._terms[local] = found
            return True
        return False

    def note_constant(self, local: int, found: Term) -> None:
        if found.literal and local not in self._grown:
            self.frames[-1].constants[local] = found

    def note_type(self, local: int, kind: str) -> None:
        """Note the type of every value that a local gets in this block of the function."""
        if local in self._settled:
            self._terms[local] = forms.local(local, kind)

    def note_made(self, local: int, kind: str, items: Sequence[Term]) -> None:
        """Note the type of a collection, and the items of an array if neither it nor they change."""
        if local not in self._settled:
            return
        is_known = self.may_share(local) and all(item.literal or self._is_lasting(item) for item in items)
        self._terms[local] = forms.local(local, kind, tuple(items) if is_known else ())

    def note_kind(self, found: Term, kind: str) -> None:
        """Note the type of a term from here to the end of the frame."""
        if found.local is not None:
            self.frames[-1].kinds[found.local] = kind

    def note_field(self, source: Term, name: Term, target: int) -> None:
        """Note that a local has a field of a term, if neither changes."""
        if target in self._settled and name.literal and source.local is not None and self._is_fixed(source.local):
            self.frames[-1].fields[source.local, name.literal] = forms.local(target)

    def field(self, source: Term, name: Term) -> Term | None:
        """Return the term that has a field of a term."""
        if source.local is None:
            return None
        place = source.local, name.literal
        return next((frame.fields[place] for frame in self.frames if place in frame.fields), None)

    def forget(self, changed: Iterable[int]) -> None:
        """Forget the constants and types of locals that get other values."""
        for frame in self.frames:
            for local in changed:
                frame.constants.pop(local, None)
                frame.kinds.pop(local, None)

    def never_grows(self, local: int) -> bool:
        """Return whether nothing is added to a collection after it is made."""
        return local not in (self._grown_here if local in self._settled else self._grown)

    def may_share(self, target: int) -> bool:
        """Return whether a local may have the same value as another without a copy of it."""
        return self._grows_its_own and self.never_grows(target)

    def _is_lasting(self, found: Term) -> bool:
        """Return whether a term is a local with one value."""
        return found.local in self._settled | self._unchanged

    def _is_fixed(self, local: int) -> bool:
        return local in self._settled | self._unchanged and self.may_share(local)
