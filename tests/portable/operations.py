"""Which operations have the same bits on every CPU: each is executed here and on emulated CPUs, and its results are compared.

    python tests/portable/operations.py                   measure, write src/seedbed/run/portable.json and docs/portable.md
    python tests/portable/operations.py --cpus Haswell    on these only (QEMU's names: qemu-x86_64 -cpu help)
    python tests/portable/operations.py --table FOLDER    make the table from measurements that lie in FOLDER

The programs of cases.py run under the settings of conf/determinism/portable.yaml, first eagerly, with the inputs and the outputs of
every operation hashed on the way, gradients included: an operation whose inputs are equal and whose outputs aren't is the one. Then
as a graph, whose results are compared as a whole. An operation is accepted for a dtype if it was executed with it, agreed wherever
its inputs did, and took part in no graph that differed. Takes some 10 minutes a CPU; needs QEMU (make emulation).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(Path(__file__).parent)]

DATA, DOCUMENT = ROOT / "src" / "seedbed" / "run" / "portable.json", ROOT / "docs" / "portable.md"
CPUS = ("Haswell", "EPYC-Rome", "max")
GRAPHS = (
    "products",
    "convolutions",
    "blocks",
    "losses",
    "optimizers",
)  # also executed as a graph: the kernels are the same, and fused there
FLOATS = ("half", "bfloat16", "float16", "float32", "float64", "complex64", "complex128")


def digest(tensors: Any) -> str:
    import numpy as np
    import tensorflow as tf

    found = hashlib.sha256()
    for tensor in tf.nest.flatten(tensors):
        if isinstance(tensor, tf.Tensor) and tensor.dtype not in (tf.resource, tf.variant):
            array = np.asarray(tensor)
            found.update(
                repr((array.dtype.str, array.shape)).encode()
                + (repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
            )
    return found.hexdigest()[:16]


def measure(file: Path, only: str, eager: bool, level: dict[str, Any]) -> None:
    """Execute all cases in this process; {"known": …, "cases": {name: {"calls": [[operation, dtypes, inputs, outputs]], "graph": …}}}."""
    from seedbed.run import determinism, known

    determinism.apply(level)
    import keras
    import tensorflow as tf
    from cases import cases
    from tensorflow.python.framework import op_callbacks

    calls: list[Any] = []

    def see(op_type: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> None:
        name = op_type.decode() if isinstance(op_type, bytes) else str(op_type)
        if graph is not None or name.startswith("__"):
            return
        dtypes = sorted({one.dtype.name for one in (*inputs, *outputs)} & set(FLOATS))
        calls.append([name.removeprefix("_Mkl"), dtypes, digest(inputs), digest(outputs)])

    found, begun = {}, time.monotonic()
    for name, case in cases():
        if only not in name:
            continue
        calls, one = [], {}
        keras.utils.set_random_seed(7)
        op_callbacks.add_op_callback(see)
        try:
            digest(case())
        except Exception as error:
            one["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else traceback.format_exc(limit=-1)}"[:300]
        finally:
            op_callbacks.remove_op_callback(see)
        one["calls"] = calls
        if not eager and "error" not in one and name.split(":")[0] in GRAPHS:
            keras.utils.set_random_seed(7)
            try:
                function = tf.function(case, autograph=False)
                one["graph"] = digest(function())
                nodes = function.get_concrete_function().graph.as_graph_def()
                one["operations"] = sorted({node.op for node in (*nodes.node, *(n for f in nodes.library.function for n in f.node_def))})
            except Exception as error:
                one["graph_error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        found[name] = one
        print(f"{time.monotonic() - begun:.1f}", name, one.get("error", ""), one.get("graph_error", ""), flush=True)
    file.write_text(json.dumps({"known": known.answers(), "tensorflow": tf.__version__, "cases": found}))


def judged(native: dict[str, Any], others: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """(accepted: {operation: {dtype: calls}}, refused: {operation: {dtype: why}}, cases that failed somewhere)."""
    count: dict[tuple[str, str], int] = defaultdict(int)
    bad: dict[tuple[str, str], set[str]] = defaultdict(set)
    suspects: dict[str, set[str]] = defaultdict(set)
    failed = []
    for name, case in native["cases"].items():
        theirs = {cpu: other["cases"].get(name, {}) for cpu, other in others.items()}
        if "error" in case or any("error" in one for one in theirs.values()):
            failed.append(f"{name}: {case.get('error') or next(one['error'] for one in theirs.values() if 'error' in one)}")
        for number, (operation, dtypes, inputs, outputs) in enumerate(case["calls"]):
            for dtype in dtypes:
                comparable = 0
                for cpu, one in theirs.items():
                    other = one.get("calls", [])[number : number + 1]
                    if other and other[0][:3] == [operation, dtypes, inputs]:
                        comparable += 1
                        if other[0][3] != outputs:
                            bad[operation, dtype].add(cpu)
                count[operation, dtype] += comparable == len(theirs)
        eager_agrees = all(one.get("calls") == case["calls"] for one in theirs.values())
        for cpu, one in theirs.items():
            if eager_agrees and "graph" in case and "graph" in one and case["graph"] != one["graph"]:
                for operation in case.get("operations", ()):
                    suspects[operation].add(f"{cpu}, in the graph of '{name}'")
    accepted: dict[str, dict[str, int]] = defaultdict(dict)
    refused: dict[str, dict[str, str]] = defaultdict(dict)
    for (operation, dtype), calls in sorted(count.items()):
        if bad[operation, dtype]:
            refused[operation][dtype] = f"other bits on {', '.join(sorted(bad[operation, dtype]))}"
        elif operation in suspects:
            refused[operation][dtype] = f"other bits on {sorted(suspects[operation])[0]}"
        elif calls:
            accepted[operation][dtype] = calls
    return accepted, refused, failed


def written(folder: Path, threads: list[int]) -> None:
    measured = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    native = measured.pop("native")
    accepted, refused, failed = judged(native, measured)
    known = {name: value for name, value in native["known"].items() if all(other["known"][name] == value for other in measured.values())}
    if parted := set(native["known"]) - set(known):
        raise SystemExit(f"The known answers differ between CPUs, so no table is written: {', '.join(sorted(parted))}")
    content = {"tensorflow": native["tensorflow"], "threads": threads, "cpus": ["native", *measured], "known": known,
               "operations": {name: sorted(dtypes) for name, dtypes in accepted.items()}, "refused": refused}  # fmt: skip
    DATA.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    document(content, accepted, len(native["cases"]), failed)
    print(f"{len(accepted)} operations accepted, {len(refused)} refused, {len(failed)} cases failed; {DATA}, {DOCUMENT}")


def document(content: dict[str, Any], accepted: dict[str, dict[str, int]], cases: int, failed: list[str]) -> None:
    """The table into the part of docs/portable.md that is between the two marks."""
    rows = [f"| `{name}` | {', '.join(f'{dtype} ({calls})' for dtype, calls in dtypes.items())} |" for name, dtypes in accepted.items()]
    no = [f"| `{name}` | {'; '.join(f'{dtype}: {why}' for dtype, why in dtypes.items())} |" for name, dtypes in content["refused"].items()]
    begin, end = "<!-- measured: begin -->\n", "<!-- measured: end -->"
    text = "\n".join([
        f"TensorFlow {content['tensorflow']}; {cases} programs, natively on a Xeon with AVX-512 and under emulation of {', '.join(content['cpus'][1:])}.",
        f"{len(accepted)} operations are accepted. In brackets: how many executions had equal inputs everywhere, and equal outputs.", "",
        "| refused | why |", "|---|---|", *no, "", "| accepted | dtypes |", "|---|---|", *rows, "",
        *([f"Not executed, so not accepted by them: {len(failed)} programs failed.", ""] if failed else []),
    ])  # fmt: skip
    before, _, rest = DOCUMENT.read_text().partition(begin)
    DOCUMENT.write_text(before + begin + text + end + rest.partition(end)[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", nargs="+", default=list(CPUS))
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--table", type=Path, help="make the table from the measurements in this folder")
    parser.add_argument("--eager", action="store_true", help="not as graphs, which is what takes longest under emulation")
    parser.add_argument("--keep", type=Path, help="the folder for the measurements")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        return written(options.table, [1])
    from seedbed.run import config, determinism, process

    level = determinism.of(config.composed("determinism=portable"))
    needed = level["environment"]
    if options.measure:
        return measure(options.measure, options.only, options.eager, {**level, "level": "measured"})
    from seedbed.proof import emulation

    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    env = process.environment(needed)
    for cpu in ("native", *options.cpus):
        command = [
            *emulation.prefix("" if cpu == "native" else cpu),
            sys.executable,
            __file__,
            "--measure",
            str(folder / f"{cpu}.json"),
            "--only",
            options.only,
            *(["--eager"] if options.eager else []),
        ]
        subprocess.run(command, env=env, check=True, stdout=(folder / f"{cpu}.log").open("w"), stderr=subprocess.STDOUT)
        print(f"{cpu}: done", flush=True)
    written(folder, [1])
    return None


if __name__ == "__main__":
    main()
