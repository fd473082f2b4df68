"""Data-parallel training on several devices, of one machine or of several: conf/strategy/.

A replica's arithmetic is that of its share of each batch, and the sums over replicas are taken in their order, so the bits are a
function of the number of replicas, like those of threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import collective


def devices(level: Mapping[str, Any]) -> None:
    """Divide the CPU among the level's replicas, where there are no GPUs; harmless to repeat. Raises Refused if they can't be had.

    Workers have a device each.
    """
    replicas = level.get("replicas", 1)
    import tensorflow as tf

    if level.get("workers"):
        if not collective.is_worker():  # in what starts the workers: the GPUs are theirs
            tf.config.set_visible_devices([], "GPU")
        return
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < replicas:
        raise Refused(f"strategy.replicas={replicas} needs as many GPUs, and {len(gpus)} can be seen. Accepted: up to {len(gpus)}, "
                      "or CUDA_VISIBLE_DEVICES=-1 for parts of the CPU.")  # fmt: skip
    if gpus:
        return
    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or [None]) == replicas:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError as error:  # TensorFlow has been used
        raise Refused(f"strategy.replicas={replicas}: TensorFlow runs already with another number of devices. Train with "
                      "`seedbed train`, or call seedbed before any TensorFlow operation.") from error  # fmt: skip


def scope(config: DictConfig) -> AbstractContextManager[Any]:
    """In which the model is built and compiled."""
    if config.strategy.name == "single":
        return nullcontext()
    import tensorflow as tf

    if config.strategy.name == "multi_worker":
        together: AbstractContextManager[Any] = collective.joined[0].scope()
        return together
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    strategy = tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(config.strategy.replicas)])
    context: AbstractContextManager[Any] = strategy.scope()
    return context


def prepare(model: Any, batch: Any) -> None:
    """Build the loss and the metrics from a `batch` of tensors. Keras 3.15 takes the mean of the replicas' first shares for it, which
    fails where they differ in size. To be called inside of `scope`."""
    model._symbolic_build(data_batch=batch)
    model._maybe_symbolic_build = lambda **unused: None


def check_batches(config: DictConfig, examples: int) -> None:
    """Raise Refused if a training batch has nothing for one of the replicas: what is normalised by it would be NaN."""
    batch, replicas = min(config.training.batch_size or examples, examples), config.strategy.replicas
    least = examples % batch or batch
    if least < replicas:
        raise Refused(f"{examples} examples in batches of {batch} leave one of {least} for strategy.replicas={replicas}: a replica "
                      "would have nothing. Choose another training.batch_size, or fewer replicas.")  # fmt: skip


def check(config: DictConfig) -> None:
    """Raise Refused for what can't be had together."""
    name, replicas, backend = config.strategy.name, config.strategy.replicas, config.backend.name
    addresses, index = config.strategy.addresses, config.strategy.index
    if name == "single" and replicas != 1:
        raise Refused(f"strategy.replicas={replicas} needs several devices. Accepted: strategy=mirrored strategy.replicas={replicas}.")
    if name != "single" and backend != "tensorflow":
        raise Refused(f"strategy={name} is for backend=tensorflow, and this config has backend={backend}.")
    if name != "multi_worker" and (addresses or index):
        raise Refused(f"strategy.addresses and strategy.index are for strategy=multi_worker, and this config has strategy={name}.")
    if addresses and len(addresses) != replicas:
        raise Refused(f"strategy.addresses has {len(addresses)} entries and strategy.replicas={replicas}. Accepted: as many of both.")
    if not 0 <= index < (replicas if addresses else 1):
        raise Refused(
            f"strategy.index={index} is not accepted. Accepted: the number of this machine's address in strategy.addresses, from 0."
        )
    if name == "multi_worker" and config.training.jit_compile:
        raise Refused("training.jit_compile=true has not been shown to work with strategy=multi_worker. Accepted: false.")
