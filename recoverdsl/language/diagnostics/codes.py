"""The kinds of mistakes, each with a stable code. The page of each, in `pages/`, says what it means."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

Severity = Literal["error", "warning"]


@frozen
class Code:
    """A kind of mistake: what it is called, and whether it keeps a spec from running."""

    title: str
    severity: Severity = "error"


CODES: dict[str, Code] = {
    # Text that cannot be read.
    "REC101": Code("unexpected text"),
    "REC102": Code("string not closed"),
    "REC103": Code("character not allowed"),
    "REC104": Code("statement not separated"),
    "REC105": Code("not closed"),
    "REC106": Code("nested too deeply"),
    "REC107": Code("not UTF-8"),
    "REC108": Code("file too large"),
    "REC109": Code("too many mistakes"),
    "REC110": Code("unknown escape"),
    "REC111": Code("number too large"),
    "REC112": Code("version"),
    "REC113": Code("quotation marks"),
    "REC114": Code("equals sign"),
    "REC115": Code("comma"),
    "REC116": Code("sign of another language"),
    "REC117": Code("not a number"),
    "REC118": Code("comment sign"),
    "REC119": Code("misspelled word"),
    "REC120": Code("beginning of a block"),
    "REC121": Code("statement over two lines"),
    "REC122": Code("not a name"),
    "REC123": Code("wrong kind of bracket"),
    # Names.
    "REC201": Code("unknown block"),
    "REC202": Code("unknown attribute"),
    "REC203": Code("unknown function"),
    "REC204": Code("unknown argument"),
    "REC205": Code("unknown name"),
    "REC206": Code("wrong kind of block"),
    "REC207": Code("defined twice"),
    "REC208": Code("given twice"),
    "REC209": Code("circular `like`"),
    "REC210": Code("unknown metric"),
    "REC211": Code("unknown word"),
    "REC212": Code("unknown path"),
    "REC213": Code("misplaced"),
    "REC214": Code("name of a block"),
    "REC215": Code("nothing to import"),
    "REC216": Code("circular import"),
    "REC217": Code("reserved name"),
    # Values.
    "REC301": Code("wrong type"),
    "REC302": Code("out of range"),
    "REC303": Code("wrong unit"),
    "REC304": Code("missing attribute"),
    "REC305": Code("missing argument"),
    "REC306": Code("not a sha256"),
    "REC307": Code("not a site"),
    "REC308": Code("budgets not ascending"),
    "REC309": Code("arithmetic"),
    "REC310": Code("column in braces"),
    "REC311": Code("not a release"),
    # Meaning.
    "REC401": Code("attack without a budget"),
    "REC402": Code("download without a hash"),
    "REC403": Code("source not pinned", "warning"),
    "REC404": Code("wrong interval"),
    "REC405": Code("norm not tested"),
    "REC406": Code("not for a suffix"),
    "REC407": Code("behavior without a score"),
    "REC408": Code("no generated text"),
    "REC409": Code("nothing to perturb"),
    "REC410": Code("axes of unequal length"),
    "REC411": Code("too many values"),
    "REC412": Code("control without a method"),
    "REC413": Code("behavior without a judge"),
    "REC414": Code("features of which SAE"),
    "REC415": Code("keep without a suffix"),
    "REC416": Code("several limits in a stage"),
    "REC417": Code("no δ"),
    "REC418": Code("target not for this attack"),
    "REC419": Code("position not for this"),
    "REC420": Code("too many points"),
    "REC421": Code("behavior not used", "warning"),
    "REC422": Code("attack under no clamp"),
    "REC423": Code("features not clamped", "warning"),
    "REC430": Code("features ranked on the tested prompts", "warning"),
    "REC431": Code("rest of other rows"),
}
"""Every code. A code is never reused."""
