"""What `seedbed audit` looks for in code: the rules, each with the reason for it and the mend."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """code: SB… is ours, another one is ruff's. what: in a few words. why: what differs then. mend: what to write instead."""

    code: str
    what: str
    why: str
    mend: str


def _table(*rules: Rule) -> dict[str, Rule]:
    return {rule.code: rule for rule in rules}


RULES = _table(
    Rule("SB000", "a comment `# seedbed: ignore[…]` that suppresses nothing",
         "the next reader takes it for a known exception, and a real finding on that line later would go unseen",
         "remove it, or name the code that stands on that line: # seedbed: ignore[SB101] reason"),
    Rule("SB001", "a file that can't be read as Python",
         "nothing in it has been looked at",
         "mend the file; Python reads UTF-8 unless the first lines name another encoding"),
    # --- generators and seeds
    Rule("SB101", "a NumPy generator without a seed",
         "it is seeded by the operating system: other numbers in every process (only `seedbed train` governs `default_rng()`)",
         "give it a seed: np.random.default_rng(seed), with the seed as a parameter"),
    Rule("SB102", "a draw from Python's global generator",
         "whoever else draws from it, a library included, shifts the numbers that come after; unseeded, they differ in every process",
         "make a generator of your own, random.Random(seed), and draw from it"),
    Rule("SB103", "Random() or seed() with no seed",
         "the operating system seeds it: other numbers in every process",
         "give it a number: random.Random(seed)"),
    Rule("SB104", "the system's entropy as a value",
         "no seed governs it: each process gets something else",
         "draw from a seeded generator instead; for names, `uuid.uuid4().hex` is fine"),
    Rule("SB105", "a seed that differs each time",
         "the clock, a process number, an address or a salted hash is another one in the next process, and with it all that is drawn",
         "take the seed as a parameter; for a seed per text, hash with hashlib or zlib.crc32"),
    Rule("SB106", "a truth test on a seed",
         "0 is a seed: with `if seed:` the run with seed 0 isn't seeded at all",
         "ask for what is meant: `if seed is not None:`"),
    Rule("SB107", "a global generator gets a fixed seed inside a function",
         "it overrides the seeds that the run was given: all seeds of a study then give the same numbers from there on",
         "remove the call, or pass the seed on as a parameter"),
    Rule("SB108", "a TensorFlow generator seeded by the system",
         "it starts somewhere else in every process, whatever tf.random.set_seed was given",
         "tf.random.Generator.from_seed(seed), or the stateless functions of tf.random"),
    Rule("SB109", "scikit-learn without random_state",
         "it then draws from NumPy's global generator, so the result depends on all that drew before, and unseeded on the process",
         "give random_state=seed, a number"),
    Rule("SB110", "a draw by pandas or SciPy without random_state or rng",
         "it then draws from NumPy's global generator or from the system's entropy",
         "give a seed: random_state=seed (pandas, .rvs), rng=seed (other SciPy functions)"),
    # --- order and memory
    Rule("SB201", "the order of a set",
         "texts and most objects hash to another number in each process (PYTHONHASHSEED, addresses), and a set has the order of its hashes",
         "sorted(…) around the set, or a dict, which keeps the order in which it was filled"),
    Rule("SB202", "files in the order of the file system",
         "another machine, a copy or a fresh checkout lists the same files in another order",
         "sorted(…) around the listing; in os.walk `dirs.sort()` and `sorted(files)`"),
    Rule("SB203", "id() or hash() decides",
         "addresses and hashes of texts are others in each process: another split, another order",
         "a hash that is the same everywhere: zlib.crc32(text.encode()), hashlib; sort by the value itself"),
    Rule("SB204", "results in the order in which they are ready",
         "which worker is quicker is another one each time",
         "pool.map or executor.map, which keep the order; or sort the results, or store each under its number"),
    Rule("SB205", "an array is read before it is written",
         "np.empty holds whatever the memory held before",
         "np.zeros"),
    # --- input pipelines
    Rule("SB301", "a parallel map with stateful random operations",
         "which element gets which random number depends on the threads",
         "tf.random.stateless_* and tf.image.stateless_random_* with a seed for each element; or no num_parallel_calls"),
    Rule("SB302", "a pipeline that may change the order of its elements",
         "the quickest thread's element comes first: batches differ from run to run",
         "leave `deterministic` out, or set it to True"),
    Rule("SB303", "Dataset.list_files shuffles without a seed",
         "it shuffles the names by default: another order in every process",
         "tf.data.Dataset.list_files(pattern, shuffle=False), or give a seed"),
    Rule("SB304", "data are shuffled or drawn without a seed",
         "where no global seed is set, the order is another one in every process",
         "give it a seed: .shuffle(n, seed=seed); a data function of seedbed's gets one by its parameter `seeds`: seeds[\"shuffle\"]"),
    Rule("SB305", "workers draw from a generator that they share",
         "which worker makes which element, and what it drew before, is another matter each time; op determinism doesn't help",
         "make a generator for each element from (seed, epoch, index): np.random.default_rng([seed, epoch, index])"),
    # --- process and machine
    Rule("SB401", "PYTHONHASHSEED set inside the process",
         "the interpreter has read it when it started: setting it now changes nothing",
         "set it before Python starts; `seedbed train` does, from the stream `hash`"),
    Rule("SB402", "a variable set after the library has read it",
         "it was read when the library was imported: setting it now changes nothing",
         "set it before the process starts (conf/determinism/*.yaml), or at least before the first import"),
    Rule("SB403", "a setting that sets nothing",
         "a function that is assigned to, or named without brackets, isn't called: the setting stays what it was",
         "call it: tf.config.threading.set_intra_op_parallelism_threads(1)"),
    Rule("SB404", "as many threads or workers as the machine has cores",
         "the number of threads decides how sums are split, that of workers who draws what: another machine gives other bits",
         "a fixed number (determinism.threads in the config)"),
    Rule("SB405", "the machine's locale or time zone",
         "numbers, sorting and dates are then read as this machine's settings say",
         "locale 'C' or none; datetime.fromtimestamp(t, tz=datetime.UTC), calendar.timegm, time.gmtime"),
    Rule("SB406", "a variable of the environment is read",
         "another shell gives another result; the run key counts the value, but nobody sees it in the config",
         "take it as an argument, and say ${oc.env:NAME} in the config"),
    # --- ruff's
    Rule("NPY002", "NumPy's global generator",
         "whoever else draws from it, a library included, shifts the numbers that come after; unseeded, they differ in every process",
         "rng = np.random.default_rng(seed), and draw from rng"),
    Rule("DTZ006", "datetime.fromtimestamp without a time zone",
         "it reckons in the machine's time zone: another hour, and sometimes another day, elsewhere",
         "datetime.fromtimestamp(t, tz=datetime.UTC)"),
    Rule("DTZ012", "date.fromtimestamp",
         "it reckons in the machine's time zone: another day elsewhere",
         "datetime.fromtimestamp(t, tz=datetime.UTC).date()"),
)  # fmt: skip

# Of ruff's other rules none is about runs that differ: S311 is about secrets and flags seeded generators, too; PTH207 and PTH208
# are about style, whatever the order; DTZ005 and DTZ011 mend the zone of a clock that differs anyway; PLC0208 is about speed.
BY_RUFF = tuple(code for code in RULES if not code.startswith("SB"))

# Rules about something wider: another finding at the same place has the better reason.
SAY_LESS = ("SB102", "SB203", *BY_RUFF)


def findings(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str]]:
    """(code, node, what) for each finding of our rules in a module. Raises RecursionError for one that is nested too deeply."""
    from seedbed.proof.rules import estimators, order, pipelines, seeds, surroundings
    from seedbed.proof.rules.names import Source

    source = Source(tree)
    for part in (seeds, estimators, order, pipelines, surroundings):
        yield from part.findings(source)
