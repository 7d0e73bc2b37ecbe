"""The rule of held-out selection: features are not ranked on the prompts that test them."""

from __future__ import annotations

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import Meaning
from recoverdsl.language.schema.parts import ranked_over, share_rows
from recoverdsl.language.schema.tested import tested_data

_WHY = (
    "features that are chosen for what they do on these very prompts do more there than on others, so "
    "the clamp tends to remove the behavior more often than it would elsewhere"
)


def check_ranking(meaning: Meaning, name: str) -> None:
    """Report features of a `protect` block that are ranked on prompts that the audit tests, as far as the
    spec tells."""
    spec, path = meaning.spec, f"protect.{name}.select"
    select = spec.protects[name].select
    by = select.by if isinstance(select, schema.Top) else None
    tested = tested_data(spec)
    if (
        by is None
        or tested is None
        or f"data.{tested}" in meaning.partial
        or "data" in meaning.unread
    ):
        return
    if isinstance(by, schema.Attribution):
        fix = f"attribution({by.behavior}, over = ranking_prompts)"
    else:
        fix = f"contrast({by.texts}, against = ranking_prompts)"
    shared = [block for block in ranked_over(spec, name) if share_rows(spec.data, block, tested)]
    if not shared:
        return
    same = shared[0] == tested
    meaning.add(
        "REC430",
        f"these features are ranked on the prompts that they are tested on, `{tested}`"
        if same
        else f"the rows of `{shared[0]}`, which rank these features, are also rows of `{tested}`, which test them",
        path,
        why=_WHY,
        help=f"give `{tested}` a `split = 50%`, add `data ranking_prompts like {tested} {{ split = rest_of({tested}) }}`, "
        f"and write `{fix}`"
        if same
        else f"write `data {shared[0]} like {tested} {{ split = rest_of({tested}) }}` for a `{tested}` with a `split`, or give "
        "the two blocks `rows` that are apart",
        related=(f"data.{tested}", "these prompts test them"),
    )
