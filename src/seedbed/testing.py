"""A test class for a model of one's own: `class TestMyModel(seedbed.testing.ModelContract)`, and the words that name its config.

The phases of a model's life are tested in their order: initialisation, forward, loss, gradient, update, resume, save and load,
repeat. The first red test names the broken phase, and the layer or weight; those after it are skipped, since they follow from it.

All is measured in processes of their own, with the environment that the config's level needs, so that neither the process that
runs pytest nor other tests have a say in it. What is asked by whom: `seedbed.contract`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from seedbed.contract import BROKEN, ENTROPY, PHASES, SKIPPED, Limits, asking

if TYPE_CHECKING:
    from seedbed.run.data import DataSet


def data(config: str | Sequence[str]) -> DataSet:
    """What the data function of a config gives, checked as a run checks it: the parts as they are before any is split off.

    config: what follows `seedbed train`, as in `ModelContract`. Raises Refused for what a run would refuse.
    """
    from seedbed.run import config as configs
    from seedbed.run import data as data_sets
    from seedbed.run import targets, training

    composed = configs.composed(*asking.words_of(config))
    seeds, call = training.resolved_seeds(composed, ENTROPY), targets.target(composed.data.source, "data.source")
    return data_sets.load(lambda: targets.called(call, "data.source", seeds=dict(seeds)), seeds, lambda: None)


class ModelContract:
    """Inherit, and say what follows `seedbed train` for this model:

        class TestMyModel(ModelContract):
            config = "model=net data=wine data.source.path=wine.csv"

    A phase that isn't wanted is switched off by name: `test_resume = None`.
    """

    # Overrides as on the command line, in one text or one by one; a single word without `=` is an experiment (conf/experiment).
    config: str | Sequence[str] | None = None
    # Batches that are looked at, of the first epoch's order, and of an epoch of the runs. Held-out data are evaluated whole.
    batches = 4
    # Steps on one batch within which its loss must have fallen; 0: not asked.
    overfit_steps = 20
    # Weights that needn't follow `seeds.init`, get a gradient or change: patterns of their paths, ("embedding/*",)
    exempt: Sequence[str] = ()
    # True: the model draws without training, too (dropout for its uncertainty, a sample).
    random_in_inference = False
    # False: an example's output may depend on the others of its batch.
    rows_independent = True
    # Seconds that the process that measures may take before it is ended; the short runs have no limit.
    timeout = 600.0

    @pytest.fixture(scope="class")
    @classmethod
    def contract(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Contract:
        """What is measured, once for the class; `contract.finding(phase)`."""
        asked = {item.originalname for item in request.session.items if isinstance(item, pytest.Function) and item.cls is request.cls}
        phases = [phase for phase in PHASES if _method(phase) in asked]
        # one folder for all of pytest-xdist's workers, so that nothing is measured twice
        base, session = tmp_path_factory.getbasetemp(), os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
        place = hashlib.sha256(f"{session} {request.node.nodeid}".encode()).hexdigest()[:16]
        limits = Limits(cls.batches, cls.overfit_steps, tuple(cls.exempt), cls.random_in_inference, cls.rows_independent)
        return Contract(cls.config, (base.parent if session else base) / f"contract-{place}", limits, phases, cls.timeout)

    def test_initialisation(self, contract: Contract) -> None:
        """The same seeds give the same weights, another `seeds.init` gives others."""
        contract.judge("initialisation")

    def test_forward(self, contract: Contract) -> None:
        """Outputs are finite, one for each example, the same twice, and made of that example alone."""
        contract.judge("forward")

    def test_loss(self, contract: Contract) -> None:
        """The loss is a finite number, and compares what can be compared."""
        contract.judge("loss")

    def test_gradient(self, contract: Contract) -> None:
        """Each trainable weight gets a gradient: finite, not all zero, the same bits twice."""
        contract.judge("gradient")

    def test_update(self, contract: Contract) -> None:
        """Steps change each trainable weight and no frozen one, the same way each time, and one batch can be learned."""
        contract.judge("update")

    def test_resume(self, contract: Contract) -> None:
        """A run that was stopped and gone on with in a fresh process has the digests of one that wasn't."""
        contract.judge("resume")

    def test_save_and_load(self, contract: Contract) -> None:
        """The saved model, loaded, predicts the same bits."""
        contract.judge("save and load")

    def test_repeat(self, contract: Contract) -> None:
        """Two runs in fresh processes have the same digests."""
        contract.judge("repeat")


class Contract(asking.Asked):
    """What is found of one config, and what pytest is told of it."""

    def judge(self, phase: str) -> None:
        """Pass, skip or fail the test of a phase."""
        __tracebackhide__ = True
        for earlier in self.phases[: self.phases.index(phase)]:
            if self.finding(earlier).status == BROKEN:
                pytest.skip(f"follows from `{earlier}`, which is broken")
        found = self.finding(phase)
        if found.status == BROKEN:
            pytest.fail(f"{phase}: {found.message}" + (f"\n\n{found.details}" if found.details else ""), pytrace=False)
        if found.status == SKIPPED:
            pytest.skip(found.message)


def _method(phase: str) -> str:
    return f"test_{phase.replace(' ', '_')}"
