"""The kinds of mistakes, each with a stable code."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

Severity = Literal["error", "warning"]


@frozen
class Code:
    """A kind of mistake: what it is called, and one sentence that explains it."""

    title: str
    explanation: str
    severity: Severity = "error"


CODES: dict[str, Code] = {
    # What cannot be read.
    "REC101": Code("unexpected text", "What stands here cannot continue what stands before it."),
    "REC102": Code("string not closed", "A string ends with a quotation mark on the line on which it began."),
    "REC103": Code("character not allowed", "This character has no meaning outside strings and comments."),
    "REC104": Code("statement not separated", "A newline or `;` ends a statement; two on one line need the `;`."),
    "REC105": Code("not closed", "Every `(`, `[` and `{` needs its partner."),
    "REC106": Code("nested too deeply", "Values and blocks nest at most 60 deep."),
    "REC107": Code("not UTF-8", "A spec is a text file in UTF-8."),
    "REC108": Code("file too large", "A spec is at most one mebibyte; larger data belongs in a data file."),
    "REC109": Code("too many mistakes", "Reading stopped, because so much could not be read."),
    "REC110": Code("unknown escape", r"A string knows \" \\ \n \t \r and \uXXXX."),
    "REC111": Code("number too large", "A number has at most 40 digits and lies within ±1e300."),
    "REC112": Code("version", "A spec begins with `recoverdsl 1`, so that its meaning cannot change under it."),
    # Names.
    "REC201": Code("unknown block", "There is no block of this kind."),
    "REC202": Code("unknown attribute", "This block does not take an attribute of that name."),
    "REC203": Code("unknown function", "There is no function of this name here."),
    "REC204": Code("unknown argument", "This function does not take that argument."),
    "REC205": Code("unknown name", "Nothing in this spec has that name."),
    "REC206": Code("wrong kind of block", "The name belongs to a block of another kind."),
    "REC207": Code("defined twice", "A name stands for one thing."),
    "REC208": Code("given twice", "An attribute or argument is given once."),
    "REC209": Code("circular `like`", "A block cannot inherit from itself, not even through others."),
    "REC210": Code("unknown metric", "There is no metric of that name."),
    "REC211": Code("unknown word", "Only certain words can stand here."),
    "REC212": Code("unknown path", "A path names a param, or a block and one of its attributes."),
    "REC213": Code("misplaced", "This statement cannot stand here."),
    "REC214": Code("name of a block", "Blocks that others refer to have a name; `measure` has none."),
    # Values.
    "REC301": Code("wrong type", "The value is not of the kind that is needed here."),
    "REC302": Code("out of range", "The value lies outside its range."),
    "REC303": Code("wrong unit", "`%` is for shares; this value is not one."),
    "REC304": Code("missing attribute", "This block needs that attribute."),
    "REC305": Code("missing argument", "This function needs that argument."),
    "REC306": Code("not a sha256", "A sha256 is 64 hexadecimal digits."),
    "REC307": Code("not a site", "A site is written `model.layers[14].output` or `.input`."),
    "REC308": Code("budgets not ascending", "Several budgets are positive and ascend."),
    "REC309": Code("arithmetic", "Only constants can be calculated with, and never by dividing by zero."),
    "REC310": Code("column in braces", "A token's text may name columns of the data, `{io}`; `{{` is a brace."),
    "REC311": Code("not a release", "A PyPI source is pinned to one release, `name==version`."),
    # Meaning.
    "REC401": Code("attack without a budget", "Without a limit any state can be reached, so a recovery means nothing."),
    "REC402": Code("download without a hash", "What is downloaded is checked against its sha256."),
    "REC403": Code("source not pinned", "The repository may change, and the result with it.", "warning"),
    "REC404": Code("wrong interval", "Wilson's interval is for rates; the others take a bootstrap."),
    "REC405": Code("norm not tested", "The attack runs only with the limits that it names."),
    "REC406": Code("not for a suffix", "A suffix changes no residual directly, so there is no δ to constrain or to limit; tokens are searched without an optimizer."),
    "REC407": Code("behavior without a score", "Only a score can be maximized or attributed."),
    "REC408": Code("no generated text", "There is a text to judge, and a base answer, only if a behavior generates one."),
    "REC409": Code("nothing to perturb", "An attack says where δ is added, or uses a suffix."),
    "REC410": Code("axes of unequal length", "Zipped axes are walked together."),
    "REC411": Code("too many values", "Some things can be written in one way only."),
    "REC412": Code("control without a method", "A control says what replaces the attack: another direction or another target."),
    "REC413": Code("behavior without a judge", "`judge` can be compared only where a classifier is given."),
    "REC414": Code("features of which SAE", "Each SAE numbers its own features, so with several the SAE is named."),
    "REC415": Code("keep without a suffix", "Where δ is added, `preserve` keeps the protected features; `keep` is for suffixes."),
    "REC416": Code("several limits in a stage", "Each stage spends one limit; what all may spend together follows from them."),
    "REC417": Code("no δ", "A suffix changes the prompt, so there is no δ to compare with another, or to split."),
    "REC418": Code("target without an answer", "Another answer can replace only the answer that an attack maximizes."),
    "REC419": Code("position not for this", "Clamps and perturbations name the positions after the prompt in different words."),
}  # fmt: skip
"""Every code, with its title and what it means. A code is never reused."""
