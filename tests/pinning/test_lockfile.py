"""A lock is a text that reads back as itself, and what is no lock is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverdsl.errors import LockError
from recoverdsl.pinning.lock import Lock, Pinned
from recoverdsl.pinning.lockfile import from_text, lock_path, read_lock, to_text

GOLDEN = Path(__file__).with_name("golden.rec.lock")

LOCK = Lock(
    spec="5" * 64,
    overrides={"projected.steps": "50", "clamp.to": "-3"},
    versions={"torch": "2.13.0", "python": "3.11", "recoverdsl": "0.1.0"},
    sources={
        "sae.mid": Pinned(
            'release("gpt2-small-res-jb", id = "blocks.8.hook_resid_pre")',
            repository="jbloom/GPT2-Small-SAEs-Reformatted",
            commit="c" * 40,
            files={
                "blocks.8.hook_resid_pre/sae_weights.safetensors": "2" * 64,
                "blocks.8.hook_resid_pre/cfg.json": "1" * 64,
            },
        ),
        "model.tiny": Pinned('folder("it\'s mine")', files={"model.safetensors": "3" * 64}),
        "data.prompts": Pinned('template("ioi", prompts = 128)', sha256="4" * 64),
        "behavior.answers.phrases": Pinned("recoverdsl's own", sha256="6" * 64),
        "behavior.answers.judge": Pinned('huggingface("a/b")', commit="7" * 40),
    },
)


def test_the_format_is_as_it_was() -> None:
    assert to_text(LOCK) == GOLDEN.read_text("utf-8")
    assert from_text(GOLDEN.read_text("utf-8")) == LOCK


def test_the_order_in_which_things_were_found_leaves_no_trace() -> None:
    turned = Lock(
        LOCK.spec,
        dict(reversed(LOCK.overrides.items())),
        dict(reversed(LOCK.versions.items())),
        dict(reversed(LOCK.sources.items())),
    )
    assert to_text(turned) == to_text(LOCK)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.from_regex(r"[^\W\d]\w{0,6}", fullmatch=True)
paths = st.one_of(
    st.builds("{}.{}".format, st.sampled_from(["model", "sae", "data"]), words),
    st.builds("behavior.{}.{}".format, words, st.sampled_from(["phrases", "judge"])),
)
pinned = st.builds(
    Pinned,
    source=texts,
    repository=st.none() | texts,
    commit=st.none() | texts,
    files=st.dictionaries(texts, texts, max_size=3),
    sha256=st.none() | texts,
)
locks = st.builds(
    Lock,
    spec=texts,
    overrides=st.dictionaries(texts, texts, max_size=3),
    versions=st.dictionaries(texts, texts, max_size=3),
    sources=st.dictionaries(paths, pinned, max_size=4),
)


@given(locks)
def test_every_lock_reads_back_as_itself(lock: Lock) -> None:
    assert from_text(to_text(lock)) == lock


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<<<<<<< HEAD\n", "line 1"),
        (b"\xff\xfe", "utf-8"),
        (b"", "expected `recoverdsl-lock = 1`, found None"),
        (b"recoverdsl-lock = 2\n", "expected `recoverdsl-lock = 1`, found 2"),
        (b"recoverdsl-lock = 1\n", "expected a table as `spec`, found nothing"),
        (b'recoverdsl-lock = 1\n[spec]\ndigest = 3\n[versions]\n', "expected a string as `spec.digest`, found int"),
        (
            b'recoverdsl-lock = 1\n[spec]\ndigest = ""\n[versions]\n[sae]\nmid = 3\n',
            "expected a table as `sae.mid`, found int",
        ),
        (
            b'recoverdsl-lock = 1\n[spec]\ndigest = ""\n[versions]\n[sae.mid]\nsource = ""\nfiles = []\n',
            "expected a table as `sae.mid.files`, found list",
        ),
    ],
)  # fmt: skip
def test_what_is_no_lock_is_refused_in_words(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "claim.rec.lock"
    path.write_bytes(content)
    with pytest.raises(LockError) as caught:
        read_lock(path)
    assert caught.value.exit_code == 2
    assert why in str(caught.value)
    assert "recoverdsl lock" in (caught.value.help or "")


def test_a_missing_lock_is_answered_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="there is no lock") as caught:
        read_lock(lock_path(tmp_path / "claim.rec"))
    assert caught.value.help == f"write one: recoverdsl lock {tmp_path / 'claim.rec'}"
