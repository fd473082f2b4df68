"""Each source of entropy planted where it must be found, and what isn't one; then whole audits."""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing
import os
import pickle
import random
import secrets
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from os import urandom
from pathlib import Path
from random import random as by_name
from time import monotonic as by_another_name
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiers import sampled

from seedbed import Refused
from seedbed.proof import causes, clocks, dynamic, entropy
from seedbed.proof.tape import Tape
from seedbed.run import seeds
from tests.conftest import data_config

SAFE = Path("/dev/urandom")


def watched(act: Callable[[], Any], **options: Any) -> list[entropy.Draw]:
    with entropy.watching(**options) as draws:
        act()
    return draws.found


# one a line: the line is what must be found
SOURCES = [
    (lambda: os.urandom(4), "os.urandom"),
    (lambda: urandom(4), "os.urandom"),
    (lambda: os.getrandom(4), "os.getrandom"),
    (lambda: random.SystemRandom().random(), "random.SystemRandom.random"),
    (lambda: random.SystemRandom().choice([1, 2]), "random.SystemRandom.choice"),
    (lambda: secrets.token_hex(4), "secrets.token_hex"),
    (lambda: secrets.randbelow(9), "secrets.randbelow"),
    (lambda: SAFE.open("rb").close(), "/dev/urandom"),
    (lambda: os.close(os.open("/dev/urandom", os.O_RDONLY)), "/dev/urandom"),
    (lambda: np.fromfile("/dev/urandom", "u1", 2), "/dev/urandom"),
    (lambda: random.Random(), "random.Random()"),
    (lambda: type("Mine", (random.Random,), {})(), "random.Random()"),
    (lambda: uuid.uuid4(), "uuid.uuid4"),
    (lambda: uuid.uuid1(), "uuid.uuid1"),
    (lambda: np.random.default_rng(), "numpy.random"),
    (lambda: np.random.SeedSequence(), "numpy.random"),
    (lambda: np.random.RandomState(), "numpy.random"),
    (lambda: np.random.PCG64(), "numpy.random"),
    (lambda: np.random.MT19937(), "numpy.random"),
    (lambda: np.random.Philox(), "numpy.random"),
    (lambda: np.random.default_rng(int(time.time())), "clock-derived seed"),
    (lambda: np.random.default_rng([3, time.time_ns()]), "clock-derived seed"),
    (lambda: np.random.SeedSequence(int(time.time() * 1000)), "clock-derived seed"),
    (lambda: np.random.RandomState(int(time.time())), "clock-derived seed"),
    (lambda: random.Random(time.time()), "clock-derived seed"),
    (lambda: random.Random(time.perf_counter()), "clock-derived seed"),
    (lambda: random.Random(time.monotonic_ns()), "clock-derived seed"),
    (lambda: random.Random(str(time.time())), "clock-derived seed"),
    (lambda: np.random.default_rng(max(os.getpid(), 100)), "process id as seed"),
]


@pytest.mark.parametrize(("act", "source"), SOURCES, ids=[f"{act.__code__.co_firstlineno} {source}" for act, source in SOURCES])
def test_each_source_is_found_at_its_line(act: Callable[[], Any], source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: max(PID, 100))  # in a container it may be too small to be told from a seed
    with entropy.watching() as draws:
        draws.phase = "training"
        act()
        act()
    (draw,) = draws.found
    assert (draw.source, draw.phase, draw.governed, draw.package) == (source, "training", False, "")
    assert (draw.file, draw.line) == (__file__, act.__code__.co_firstlineno)
    assert draw.user == f"{__file__}:{draw.line} {draw.function}"
    assert draw.chain == (draw.user,)
    assert draw.count >= 2  # a choice may draw more than once
    found = [one for one in entropy.reported(draws) if one["source"] not in clocks.SOURCES]
    assert json.loads(json.dumps(found)) == json.loads(json.dumps([asdict(draw)]))


PID = os.getpid()

# what has a seed, or is put in right after
NONE = [
    lambda: np.random.default_rng(5).random(),
    lambda: np.random.RandomState(5),  # begins with one without a seed, inside
    lambda: np.random.RandomState([1, 2]),
    lambda: np.random.SeedSequence(5).spawn(3),
    lambda: np.random.default_rng(5).spawn(2),
    lambda: random.Random(5).random(),
    lambda: random.Random("a word").random(),
    lambda: random.Random(0x9E3779B97F4A7C15),
    lambda: random.SystemRandom(),
    lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "seedbed"),
    lambda: copy.deepcopy(random.Random(5)),
    lambda: copy.deepcopy(np.random.default_rng(5)),
    lambda: pickle.loads(pickle.dumps(np.random.RandomState(5))),
    lambda: tempfile.TemporaryFile().close(),
    lambda: tempfile.mkdtemp(dir=tempfile.gettempdir()),
    lambda: time.time(),
]


@pytest.mark.parametrize("act", sampled(NONE, one_in=4), ids=[str(act.__code__.co_firstlineno) for act in NONE])
def test_what_is_seeded_or_harmless_is_not_listed(act: Callable[[], Any]) -> None:
    assert watched(act) == []


def test_seedbeds_own_draws_and_those_of_processes_are_not_listed(tmp_path: Path) -> None:
    from seedbed.run.record import Record

    def act() -> None:
        Record.create(tmp_path / "record", {"key": "k", "name": "n", "level": "strict", "seeds": {}, "inputs": {}}, "", "")
        seeds.from_entropy()
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.map(len, ["ab"])

    assert watched(act) == []


def test_streams_govern_numpy_generators_and_the_watch_sees_whether_they_do() -> None:
    def act() -> None:
        np.random.default_rng()
        with seeds.global_generators(1, 2):
            assert seeds._unseeded() is not None
            np.random.default_rng(), np.random.RandomState(7), np.random.rand(), by_name()
            with seeds.global_generators(3, 4):
                np.random.RandomState()
            random.Random()
        assert seeds._unseeded() is None
        np.random.SeedSequence()

    found = watched(act)
    first = act.__code__.co_firstlineno
    assert [(draw.line - first, draw.source, draw.governed) for draw in found] == [
        (1, "numpy.random", False), (4, "numpy.random", True), (6, "numpy.random", True), (7, "random.Random()", False),
        (9, "numpy.random", False),
    ]  # fmt: skip


def test_values_under_streams_are_the_same_with_and_without_the_watch() -> None:
    def values() -> list[float]:
        with seeds.global_generators(1, 2):
            return [np.random.default_rng().random(), np.random.RandomState(7).rand(), np.random.rand(), random.random(),
                    random.Random(3).random(), np.random.RandomState().rand()]  # fmt: skip

    plain, seen = values(), []
    watched(lambda: seen.extend(values()))
    assert seen == plain
    assert values() == plain


def test_global_generators_before_anything_has_seeded_them() -> None:
    before = seeds.generator_states()

    def act() -> None:
        by_name()
        random.shuffle([1, 2])
        np.random.normal()
        random.seed(3), np.random.seed(3)
        random.random(), np.random.rand()

    def again() -> None:
        random.seed()
        np.random.seed()

    try:
        found, reseeded = watched(act), watched(again)
    finally:
        seeds.put_generator_states(before)
    first = act.__code__.co_firstlineno
    assert [(draw.source, draw.line - first) for draw in found] == [("random.random", 1), ("random.shuffle", 2), ("numpy.random.normal", 3)]
    assert [draw.source for draw in reseeded] == ["random.seed", "numpy.random"]


def test_clock_seeds_of_global_generators_keras_and_tensorflow() -> None:
    import keras
    import tensorflow as tf

    before = seeds.generator_states()

    def act() -> None:
        now = int(time.time())
        random.seed(now)
        np.random.seed(now)
        tf.random.set_seed(now)
        keras.utils.set_random_seed(now)
        keras.random.SeedGenerator(now)
        keras.initializers.GlorotUniform(seed=now)

    try:
        found = watched(act)
    finally:
        seeds.put_generator_states(before)
        tf.random.set_seed(0)
    first = act.__code__.co_firstlineno
    assert {draw.source for draw in found} == {"clock-derived seed"}
    assert [(draw.user.rpartition(":")[2].split()[0], draw.what.split("(")[0]) for draw in found] == [
        (str(first + 2), "random.seed"), (str(first + 3), "numpy.random.seed"), (str(first + 4), "tf.random.set_seed"),
        (str(first + 5), "keras.utils.set_random_seed"), (str(first + 6), "keras.random.SeedGenerator"), (str(first + 7), "keras.initializers"),
    ]  # fmt: skip


def test_reads_of_the_clock_by_the_users_own_code_are_listed_whatever_he_makes_of_them() -> None:
    def act() -> None:
        random.seed(int(time.time()) % 1000)
        np.random.default_rng(time.perf_counter_ns() % 2**31)
        by_another_name()
        random.Random(os.getpid() * 7919 % 1000)
        logging.getLogger("quiet").makeRecord("a", 1, "b", 1, "c", (), None)  # a library's look at the clock is its own
        tempfile.mkdtemp()

    first = act.__code__.co_firstlineno
    with entropy.watching() as draws, seeds.global_generators(1, 2):
        act()
    assert [(draw.source, draw.line - first) for draw in draws.reads] == [
        ("time.time", 1), ("time.perf_counter_ns", 2), ("time.monotonic", 3), ("os.getpid", 4),
    ]  # fmt: skip
    assert all(draw.file == __file__ and draw.code and not draw.held for draw in draws.reads)
    assert {draw["source"] for draw in entropy.reported(draws)} >= {"time.time", "os.getpid"}


def test_tensorflows_own_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf
    from tensorflow.python.framework import random_seed
    from tensorflow.python.ops import gen_stateful_random_ops, stateful_random_ops

    monkeypatch.setattr(gen_stateful_random_ops, "NonDeterministicInts", lambda shape: tf.ones(shape))
    for module in (random_seed, stateful_random_ops):
        monkeypatch.setattr(module, "config", SimpleNamespace(is_op_determinism_enabled=lambda: False))
    monkeypatch.setattr(random_seed.context, "global_seed", lambda: None)
    monkeypatch.setattr(stateful_random_ops, "non_deterministic_ints", lambda shape, dtype: tf.ones(shape, dtype))
    monkeypatch.setattr(stateful_random_ops, "global_generator", None)

    def act() -> None:
        tf.random.Generator.from_non_deterministic_state()
        tf.random.get_global_generator()
        random_seed.get_seed(None)
        random_seed.get_seed(4)
        tf.random.Generator.from_seed(4)
        gen_stateful_random_ops.NonDeterministicInts(shape=[1])

    first = act.__code__.co_firstlineno
    assert [(draw.source, draw.line - first) for draw in watched(act)] == [
        ("tf.random.Generator.from_non_deterministic_state", 1), ("tf.random.get_global_generator", 2), ("tf.random without a seed", 3),
        ("tf.raw_ops.NonDeterministicInts", 6),
    ]  # fmt: skip


def test_scikit_learn_without_random_state_is_named_with_the_users_line() -> None:
    from sklearn.cluster import KMeans
    from sklearn.model_selection import train_test_split

    x = np.arange(40.0).reshape(20, 2)

    def act() -> None:
        with seeds.global_generators(1, 2):
            KMeans(2, n_init=1).fit(x)
            KMeans(2, n_init=1, random_state=0).fit(x)
            train_test_split(x)
            train_test_split(x, random_state=0)
        train_test_split(x)

    first = act.__code__.co_firstlineno
    found = [(draw.what, draw.line - first, draw.governed) for draw in watched(act)]
    assert found == [("KMeans without random_state", 2, True), ("train_test_split without random_state", 4, True),
                     ("train_test_split without random_state", 6, False)]  # fmt: skip


def third_party(folder: Path, source: str) -> Path:
    packages = folder / "site-packages"
    packages.mkdir(exist_ok=True)
    (packages / "thirdlib.py").write_text(source)
    return packages


def test_a_third_partys_line_is_named_and_who_called_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "\n".join(f"def f{i}(): return f{i - 1}()" for i in range(1, 9))
    packages = third_party(tmp_path, f"import uuid, numpy\nRNG = numpy.random.default_rng()\ndef f0(): return uuid.uuid4()\n{deep}\n")
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.delitem(sys.modules, "thirdlib", raising=False)

    def act() -> None:
        import thirdlib

        thirdlib.f0()
        thirdlib.f8()

    first = act.__code__.co_firstlineno
    imported, short, long = watched(act)
    file = str(packages / "thirdlib.py")
    assert [(draw.package, draw.file, draw.line, draw.function) for draw in (imported, short, long)] == [
        ("thirdlib", file, 2, "<module>"), ("thirdlib", file, 3, "f0"), ("thirdlib", file, 3, "f0"),
    ]  # fmt: skip
    assert [draw.user.split(":")[-1].split()[0] for draw in (imported, short, long)] == [str(first + i) for i in (1, 3, 4)]
    assert short.chain == (short.user, f"{file}:3 f0")
    assert len(long.chain) == 6
    assert (long.chain[0], long.chain[-1]) == (long.user, f"{file}:3 f0")
    assert short.code == "def f0(): return uuid.uuid4()"


def test_everything_is_put_back_also_after_an_error() -> None:
    import sklearn.utils
    from keras.random import SeedGenerator
    from numpy.random import bit_generator
    from sklearn.model_selection import _split

    def sources() -> list[Any]:
        return [os.urandom, os.getrandom, urandom, uuid.uuid1, random.Random.seed, random.seed, random.random, by_name, np.random.rand,
                np.random.seed, type(bit_generator), bit_generator.randbits, vars(bit_generator).copy(), random._urandom,
                sklearn.utils.check_random_state, _split.check_random_state, SeedGenerator.__init__, list(sys.meta_path)]  # fmt: skip

    before = sources()

    def fail() -> None:
        assert all(was is not now for was, now in zip(before[:8], sources()[:8], strict=True))
        raise KeyError

    with pytest.raises(KeyError):
        watched(fail)
    assert sources() == before
    with entropy.watching(), pytest.raises(RuntimeError, match="watched already"), entropy.watching():
        pass
    assert sources() == before


def test_generators_are_what_they_were() -> None:
    with entropy.watching():
        one = random.Random(4)
        assert type(one) is random.Random
        assert isinstance(np.random.RandomState(3), np.random.RandomState)
        again = pickle.loads(pickle.dumps(one))
        assert pickle.loads(pickle.dumps(np.random.normal)) is np.random.normal
        assert pickle.loads(pickle.dumps(random.random)) is random.random
        kept = os.urandom
        assert uuid.uuid4().version == 4
        with pytest.raises(ValueError, match="negative"):
            os.urandom(-1)
        with pytest.raises(TypeError):
            random.seed([])
    assert one.random() == again.random() == random.Random(4).random()
    assert len(kept(3)) == 3  # kept beyond the watch


def test_draws_of_threads_are_counted_together() -> None:
    def act() -> None:
        threads = [threading.Thread(target=lambda: [os.urandom(1) for _ in range(50)]) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    (draw,) = watched(act)
    assert draw.count == 200


def work(number: int) -> tuple[float, bytes]:
    with seeds.global_generators(number, number):
        return random.random(), os.urandom(2)


def bare(number: int) -> float:
    return random.random()


def test_draws_of_forked_processes_are_found_by_way_of_a_file(tmp_path: Path) -> None:
    def act() -> None:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(bare, range(4), chunksize=1)
            pool.map(work, range(4), chunksize=1)

    with seeds.global_generators(1, 2):
        found = watched(act, file=tmp_path / "draws")
    # Python seeds its generator anew in a forked process, which no stream decides; with streams of its own it is governed
    assert {(draw.source, draw.function, draw.forked) for draw in found} == {("random.random", "bare", True), ("os.urandom", "work", True)}


def drawn() -> list[Any]:
    return [
        os.urandom(4),
        uuid.uuid4(),
        uuid.uuid1(),
        random.Random().random(),
        np.random.default_rng().random(),
        secrets.choice(range(2**40)),  # the values follow the file's path: in no folder are two of them to be the same by chance
    ]


def test_a_tape_gives_the_same_values_and_others_where_it_is_flipped(tmp_path: Path) -> None:
    def played(*flipped: str, salt: str = "a", **more: Any) -> tuple[list[Any], list[str]]:
        with entropy.watching(tape=Tape(salt, flipped, **more)) as draws:
            values = [drawn() for _ in range(2)]
        return values, [draw.site for draw in draws.found]

    first, sites = played()
    assert len(sites) == 6
    assert played()[0] == first
    assert all(was != now for was, now in zip(first[0], first[1], strict=True))
    other = played("*")[0]
    assert all(was != now for pair in zip(first, other, strict=True) for was, now in zip(*pair, strict=True))
    assert [was != now for was, now in zip(first[0], played(sites[1])[0][0], strict=True)] == [False, True, False, False, False, False]
    assert played(salt="b")[0] != first


def test_a_tape_gives_seeds_from_the_clock_back_and_decides_the_global_generators() -> None:
    before = seeds.generator_states()

    def values(later: float) -> list[float]:
        now = int(time.time() - later)
        return [
            random.Random(now).random(),
            random.Random(str(now)).random(),
            np.random.default_rng(now).random(),
            random.random(),
            float(np.random.rand()),
        ]

    try:
        with entropy.watching(tape=Tape("a")) as draws:
            first = values(5)
        kept = {draw.site: draw.seeds for draw in draws.found if draw.seeds}
        assert len(kept) == 3
        with entropy.watching(tape=Tape("a", seeds=kept)):
            assert values(0) == first
        with entropy.watching(tape=Tape("a", ("*",))):
            assert all(was != now for was, now in zip(values(0), first, strict=True))
    finally:
        seeds.put_generator_states(before)


def test_a_process_is_told_its_tape_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tape = Tape("a", ("*",), {"site": (3, 4)}, str(tmp_path / "draws"))
    for name, value in tape.environment.items():
        monkeypatch.setenv(name, value)
    with entropy.watching() as draws:
        assert draws.tape is not None
        assert (draws.tape.salt, draws.tape.flipped, draws.tape.seeds, draws.file) == ("a", ("*",), {"site": [3, 4]}, tmp_path / "draws")
    with entropy.watching() as draws:
        assert draws.tape is None


class Simulated:
    """Executions of a program that draws at each site of `reaching` and `idle`; `clock` is a seed that no tape decides."""

    def __init__(self, reaching: list[str], idle: list[str], clock: str | None = None, noise: bool = False, together: bool = False) -> None:
        self.reaching, self.idle, self.clock, self.noise, self.together, self.times = reaching, idle, clock, noise, together, 0

    def __call__(self, config: Any, folder: Path, name: str, way: dynamic.Played) -> Any:
        self.times += 1
        assert way.tape is not None
        values = {site: way.tape.made(site, (1,), 8).hex() for site in (*self.idle, *self.reaching)}
        plain = {site: Tape(way.tape.salt).made(site, (1,), 8).hex() for site in self.reaching}
        used: Any = [values[site] for site in self.reaching]
        if self.together:
            used = all(values[site] != plain[site] for site in self.reaching)
        free = [self.times] if self.noise or self.clock == "reaches" else []
        draws = [self.draw(site) for site in values] + ([self.draw("device", held=False)] if self.clock else [])
        draws.append({**self.draw("governed"), "governed": True})
        return SimpleNamespace(
            status="finished",
            record=None,
            error=None,
            draws=draws,
            folder=Path("no-such-folder"),
            digests={"initial_weights": "w", "history": f"{used}{free}"},
        )

    def draw(self, site: str, held: bool = True) -> dict[str, Any]:
        return {"site": site, "source": site, "what": site, "file": f"/{site}.py", "line": 1, "function": "f", "package": "", "user": "",
                "phase": "evaluation" if site.startswith("late") else "data", "governed": False, "seeds": [], "held": held, "count": 1,
                "code": ""}  # fmt: skip


AUDITS = [
    (Simulated([], ["a", "b"]), True, 2, {"a": "nothing", "b": "nothing"}, False),
    (Simulated(["a"], ["b", "late"]), False, 5, {"a": "reaches", "b": "nothing", "late": "nothing"}, False),
    (Simulated(["a"], []), False, 3, {"a": "reaches"}, False),
    (Simulated(["a", "b"], ["c"]), False, 6, {"a": "reaches", "b": "reaches", "c": "nothing"}, False),
    (Simulated(["a", "b"], ["c"], together=True), False, 6, {"a": "may reach", "b": "may reach", "c": "may reach"}, False),
    (Simulated([], ["a"], noise=True), False, 3, {"a": "unknown"}, True),
    (Simulated([], [], noise=True), False, 2, {}, True),
    (Simulated([], ["a"], clock="reaches"), False, 3, {"a": "unknown", "device": "may reach"}, False),
    (Simulated(["a"], ["b"], clock="idle"), False, 5, {"a": "reaches", "b": "nothing", "device": "nothing"}, False),
]


@pytest.mark.parametrize(("program", "clean", "executions", "verdicts", "unexplained"), AUDITS)
def test_which_draws_reach_is_found_by_executions_that_differ_in_one(
    program: Simulated, clean: bool, executions: int, verdicts: dict[str, str], unexplained: bool, config: Any, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    audit = dynamic.audited(config(), tmp_path, lambda line: None, program)
    assert {one.draw["site"]: one.verdict for one in audit.judged} == {**verdicts, "governed": "governed"}
    assert (audit.clean, audit.executions, audit.unexplained, audit.capped) == (clean, executions, unexplained, False)
    json.dumps(audit.as_json())
    dynamic.shown(audit, ["data=digits"])
    said = capsys.readouterr().out
    assert ("error" in said) is not clean
    assert ('diagnose ARGS="data=digits"' in said) is unexplained


def test_the_number_of_executions_is_capped_and_it_is_said(config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = Simulated(["s9"], [f"s{i}" for i in range(9)])
    audit = dynamic.audited(config(), tmp_path, lambda line: None, program)
    assert audit.executions == 2 + dynamic.MOST
    assert audit.capped
    verdicts = {one.draw["site"]: one.verdict for one in audit.judged if not one.draw["governed"]}
    assert verdicts["s9"] == "may reach"
    assert not audit.clean
    dynamic.shown(audit, [])
    assert "not looked into: 8 more executions are the most" in capsys.readouterr().out


def test_a_seed_that_looks_like_the_clocks_once_is_a_coincidence(config: Any, tmp_path: Path) -> None:
    class Coincidence(Simulated):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            done = super().__call__(*arguments, **named)
            if self.times == 1:
                done.draws.append({**self.draw("process id as seed"), "seeds": [1234]})
            return done

    audit = dynamic.audited(config(), tmp_path, lambda line: None, Coincidence([], []))
    assert audit.clean
    assert [one.draw["site"] for one in audit.judged] == ["governed"]


def test_diagnose_names_a_read_of_the_clock_after_what_was_drawn() -> None:
    made = Simulated([], [])
    draws = [{**made.draw("time.time", held=False), "phase": "data"}, {**made.draw("os.urandom"), "phase": "data"}]
    named = [one.what for one in causes._drawn(causes.Place("data", "the data"), draws)]
    assert named == ["/os.urandom.py:1, in f: unseeded (os.urandom)",
                     "/time.time.py:1, in f: reads another value each time, which may have become a seed (time.time)"]  # fmt: skip


class Clocked(Simulated):
    """A program that reads the clock in a line of its own."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        done = super().__call__(*arguments, **named)
        done.draws.append(self.draw("time.time", held=False))
        return done


def test_a_read_of_the_clock_is_named_where_the_outputs_differ_and_nothing_else_explains_it(
    config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = dynamic.audited(config(), tmp_path / "differs", lambda line: None, Clocked([], [], noise=True))
    assert {one.draw["site"]: one.verdict for one in audit.judged} == {"time.time": "may reach", "governed": "governed"}
    assert audit.unexplained  # it may as well be something that nobody sees
    dynamic.shown(audit, [])
    assert "/time.time.py:1" in capsys.readouterr().out
    audit = dynamic.audited(config(), tmp_path / "drawn", lambda line: None, Clocked(["a"], []))
    assert {one.draw["site"]: one.verdict for one in audit.errors} == {"a": "reaches"}  # and not the clock
    audit = dynamic.audited(config(), tmp_path / "same", lambda line: None, Clocked([], ["a"]))
    assert audit.clean
    assert "time.time" not in {one.draw["site"] for one in audit.judged}  # whoever only looks at the clock does no harm


def test_the_level_off_and_a_run_that_fails_are_refused(config: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="off takes every seed"):
        dynamic.audited(config("determinism=off"), tmp_path, lambda line: None, Simulated([], []))
    failed = SimpleNamespace(status="failed", error="the loss is NaN", draws=[], digests={}, record=None)
    with pytest.raises(Refused, match="the loss is NaN"):
        dynamic.audited(config(), tmp_path, lambda line: None, lambda *arguments, **named: failed)


DATA = """
    import os, uuid
    import numpy as np
    import thirdlib

    def reached():
        x = np.random.default_rng(int.from_bytes(os.urandom(4), "little")).normal(size=(8, 2))
        x = x + thirdlib.noise()
        return x, x[:, :1]

    def clean():
        from sklearn.model_selection import train_test_split

        name = str(uuid.uuid4())
        thirdlib.name()
        x, _ = train_test_split(np.random.default_rng().normal(size=(16, 2)))
        return x, x[:, :1]
"""

THIRD = "import random, uuid\n\ndef name(): return uuid.uuid4()\n\ndef noise(): return random.Random().random()\n"


@pytest.fixture
def audit(seedbed: Any, plugin: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """`audit("reached")`: the dynamic audit of a training with that data function of DATA."""
    packages = third_party(tmp_path, THIRD)
    folder = plugin("drawing", DATA)

    def call(function: str, *words: str) -> Any:
        chosen = [*data_config(tmp_path, f"drawing.{function}"), "training.epochs=1", f"runs='{tmp_path / 'runs'}'", "tracking=none"]
        return seedbed("audit", "--dynamic", *chosen, *words, env={"PYTHONPATH": f"{folder}:{packages}"})

    return call


@pytest.mark.integration
def test_audit_names_the_draws_that_reach_the_data_also_a_third_partys(audit: Any, tmp_path: Path) -> None:
    done = audit("reached")
    assert done.status == 1, done.err
    file = tmp_path / "plugins" / "drawing.py"
    assert f"error       {file}:7: os.urandom reaches the data\n" in done.out
    assert "error       thirdlib.py:5: random.Random() without a seed reaches the data\n" in done.out
    assert f"called from {file}:8" in done.out
    assert done.out.count("error") == 2
    assert not (tmp_path / "runs" / ".proof").exists()  # nothing is left


@pytest.mark.integration
def test_audit_lists_what_reaches_nothing_and_what_streams_decide(audit: Any, tmp_path: Path) -> None:
    done = audit("clean", "--json")
    assert done.status == 0, done.err
    assert done.json["clean"] is True
    assert done.json["executions"] == 2
    found = {(Path(one["draw"]["file"]).name, one["draw"]["line"], one["draw"]["what"], one["draw"]["package"], one["verdict"])
             for one in done.json["judged"]}  # fmt: skip
    assert found == {
        ("drawing.py", 14, "uuid.uuid4", "", "nothing"),
        ("thirdlib.py", 3, "uuid.uuid4", "thirdlib", "nothing"),
        ("drawing.py", 16, "NumPy generator without a seed", "", "governed"),
        ("drawing.py", 16, "train_test_split without random_state", "", "governed"),
    }
