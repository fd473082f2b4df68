"""What the workers of strategy=multi_worker call together, all of them, in the same order; the rest of the program asks `is_worker`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seedbed import Refused

# This worker's tf.distribute.MultiWorkerMirroredStrategy.
joined: list[Any] = []


def join(gpu: int) -> None:
    """Meet the others, whom TF_CONFIG names; blocks until all are there. To be called before TensorFlow's first operation.

    gpu: which of the visible GPUs is this worker's; where there are none, it has the CPU.
    """
    import tensorflow as tf

    if gpus := tf.config.list_physical_devices("GPU"):
        if gpu >= len(gpus):
            raise Refused(f"strategy=multi_worker needs a GPU for each worker of this machine, and {len(gpus)} can be seen. Accepted: "
                          f"strategy.replicas={len(gpus)} or fewer, or CUDA_VISIBLE_DEVICES=-1 for the CPU.")  # fmt: skip
        tf.config.set_visible_devices(gpus[gpu], "GPU")
    ways = tf.distribute.experimental.CommunicationImplementation  # named: AUTO goes by what it finds
    options = tf.distribute.experimental.CommunicationOptions(implementation=ways.NCCL if gpus else ways.RING)
    joined.append(tf.distribute.MultiWorkerMirroredStrategy(communication_options=options))


def is_worker() -> bool:
    """Whether there are others to agree with."""
    return bool(joined)


def index() -> int:
    """This worker's number."""
    return int(joined[0].cluster_resolver.task_id)


def dealt(dataset: Any) -> Any:
    """`dataset` as each worker is to take its share of every batch: all of it is made, and the rest dropped."""
    if not joined:
        return dataset
    import tensorflow as tf

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)


def total(values: Sequence[int] | np.ndarray) -> list[int]:
    """The sums over all workers, shape (n,); up to 2**24, which float32 holds exactly."""
    import tensorflow as tf

    mine = joined[0].experimental_distribute_values_from_function(lambda context: tf.constant(np.asarray(values, np.float32)))
    return [int(value) for value in joined[0].reduce("SUM", mine, axis=None).numpy()]


def broadcast(content: bytes) -> bytes:
    """Worker 0's bytes."""
    first = index() == 0
    high, low = total(divmod(len(content), 2**16) if first else [0, 0])
    if not (length := high * 2**16 + low):
        return b""
    padded = np.zeros(length + length % 2, np.uint8)  # two bytes a number: a sum of worker 0's and of zeros
    if first:
        padded[:length] = np.frombuffer(content, np.uint8)
    return np.asarray(total(padded.view(np.uint16)), np.uint16).tobytes()[:length]


def broadcast_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Worker 0's arrays, by name."""
    if not joined:
        return dict(arrays)
    buffer = io.BytesIO()
    if index() == 0 and arrays:
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
    if not (content := broadcast(buffer.getvalue())):
        return {}
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored}


def agree(mine: Mapping[str, str], message: str) -> None:
    """Raise Refused with `message` ({what} in it) in every worker, if a value that worker 0 has under some name is another's other one."""
    theirs = {
        name: value.tobytes().decode()
        for name, value in broadcast_arrays({name: np.frombuffer(value.encode(), np.uint8) for name, value in mine.items()}).items()
    }
    differing = total([int(theirs[name] != value) for name, value in mine.items()])
    if any(differing):
        raise Refused(message.format(what=", ".join(name for name, many in zip(mine, differing, strict=True) if many)))
