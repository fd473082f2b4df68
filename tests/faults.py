"""The faults that `mutations.py` plants: small ones, in places that decide results, each with the tests that must catch it.

A fault is an exact edit: the text must stand in the file exactly once. Where a refactoring moves it, move the fault with it;
`test_mutations.py` says which ones no longer fit. The tests named are of the default tier, and the quickest that catch the fault.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One edit.

    Attributes:
        name: in a word or two, for `-k`.
        file: the module, below `src/`.
        old: the text that is replaced; it stands in the file exactly once.
        new: what replaces it.
        about: what goes wrong.
        tests: node ids of the tests that must catch it, below `tests/`.
    """

    name: str
    file: str
    old: str
    new: str
    about: str
    tests: tuple[str, ...]


def _fault(name: str, file: str, old: str, new: str, about: str, *tests: str) -> Fault:
    return Fault(name, f"src/{file}", old, new, about, tuple(f"tests/{test}" for test in tests))


FAULTS = (
    # --- streams and orders ---
    _fault(
        "stream position",
        "seedbed/run/seeds.py",
        "spawn_key=(list(STREAMS).index(stream),))",
        "spawn_key=(sorted(STREAMS).index(stream),))",
        "streams are numbered by their sorted names",
        "run/test_seeds.py::test_streams_are_stable_for_ever",
    ),
    _fault(
        "permutation of an epoch",
        "seedbed/run/seeds.py",
        "generator(shuffle, epoch).permutation(examples)",
        "generator(shuffle + epoch).permutation(examples)",
        "the epoch is added to the seed: epoch 1 of seed 1 is epoch 0 of seed 2",
        "run/test_seeds.py::test_the_order_of_an_epoch_is_stable_for_ever",
    ),
    _fault(
        "seed 0",
        "seedbed/run/seeds.py",
        "not 0 <= value <= LARGEST",
        "not 0 < value <= LARGEST",
        "the seed 0 is refused",
        "run/test_seeds.py::test_a_seed",
    ),
    # --- the key ---
    _fault(
        "key: relative import",
        "seedbed/run/provenance.py",
        '[: len(package.split(".")) - node.level + 1]',
        '[: len(package.split(".")) - node.level]',
        "modules that are imported from a package's own are no part of the key",
        "run/test_provenance.py::test_code_follows_imports_wherever_they_stand",
    ),
    _fault(
        "key: packages",
        "seedbed/run/provenance.py",
        'if path.stem in ("cpu", "gpu", backend)]',
        'if path.stem not in ("dev", "docs")]',
        "packages that other backends need are part of the key",
        "run/test_provenance.py::test_test_tools_are_no_part_of_the_environment",
    ),
    _fault(
        "key: dtype of data",
        "seedbed/run/fingerprint.py",
        'digest.update(f"{array.dtype.str} {array.shape}\\n".encode())',
        'digest.update(f"{array.dtype.itemsize} {array.shape}\\n".encode())',
        "the same bytes of another dtype have the same fingerprint",
        "run/test_fingerprint.py::test_the_same_bytes_of_another_dtype_or_shape_are_other_data",
    ),
    _fault(
        "key: lengths of texts",
        "seedbed/run/fingerprint.py",
        'digest.update(f"{len(content)} ".encode() + content)',
        "digest.update(content)",
        "texts are run together: (ab, c) has the fingerprint of (a, bc)",
        "run/test_fingerprint.py::test_other_texts_are_other_data",
    ),
    _fault(
        "key: cores",
        "seedbed/run/provenance.py",
        'fixed = threads["intra_op"] and threads["inter_op"]',
        'fixed = threads["intra_op"] or threads["inter_op"]',
        "the number of cores doesn't count where one of the two thread numbers follows it",
        "run/test_provenance.py::test_the_number_of_cores_counts_only_where_threads_follow_it",
    ),
    _fault(
        "key: GPUs",
        "seedbed/run/provenance.py",
        "if not name.strip() or not 0 <= int(name) < len(gpus):\n            break",
        "if not name.strip() or not 0 <= int(name) < len(gpus):\n            continue",
        "GPUs after one that isn't there count, though CUDA leaves them out",
        "run/test_provenance.py::test_which_gpu_a_scheduler_gives_is_not_what_counts_but_of_which_kind",
    ),
    _fault(
        "key: environment reads",
        "seedbed/run/environment_reads.py",
        "bound = {alias.asname or alias.name: alias.name for alias in from_os}",
        "bound = {alias.name: alias.name for alias in from_os}",
        "a variable that is read by `from os import getenv as g` is no part of the key",
        "run/test_variables.py::test_names_that_stand_in_the_source",
    ),
    _fault(
        "key: sorted",
        "seedbed/run/json_text.py",
        "json.dumps(json.loads(json.dumps(value)), sort_keys=True,",
        "json.dumps(json.loads(json.dumps(value)), sort_keys=False,",
        "the key depends on the order of its inputs",
        "run/test_record.py::test_a_key_depends_on_what_the_inputs_are_and_not_on_their_order",
    ),
    # --- the digest ---
    _fault(
        "digest: memory order",
        "seedbed/run/digest.py",
        'digest.update(array.tobytes(order="C"))',
        'digest.update(array.tobytes(order="A"))',
        "the digest depends on how an array lies in memory",
        "run/test_digest.py::test_the_documented_form",
    ),
    _fault(
        "digest: byte order",
        "seedbed/run/digest.py",
        'if array.dtype.byteorder == ">":',
        'if array.dtype.byteorder == "=":',
        "a big-endian array has another digest",
        "run/test_digest.py::test_the_documented_form",
    ),
    _fault(
        "digest: history",
        "seedbed/run/digest.py",
        "for name in sorted(logs):",
        "for name in logs:",
        "the digest of a history depends on the order of its metrics",
        "run/test_digest.py::test_history",
    ),
    _fault(
        "digest: metrics apart",
        "seedbed/run/digest.py",
        'if name not in ("run", "metrics"))',
        'if name != "run")',
        "the digest `run` holds the metrics, too",
        "run/test_integrity.py::test_metrics_that_are_no_numbers_are_written_as_json_and_come_back",
    ),
    # --- files ---
    _fault(
        "write in place",
        "seedbed/run/record.py",
        'partial = path.with_name(f".{path.name}.{os.getpid()}")\n    try:',
        "partial = path\n    try:",
        "a file is written where it stands, so a crash leaves half of it",
        "run/test_record.py::test_an_atomic_write_leaves_the_old_or_the_new",
    ),
    _fault(
        "rename before the disk has it",
        "seedbed/run/record.py",
        "if durable:\n                os.fsync(file.fileno())",
        "if not durable:\n                os.fsync(file.fileno())",
        "a file gets its name before its contents are on the disk",
        "run/test_record.py::test_a_file_is_on_the_disk_before_it_has_its_name",
    ),
    _fault(
        "record before its files",
        "seedbed/run/record.py",
        "record._write(fresh)\n                if path.exists():\n                    shutil.rmtree(path)\n                fresh.rename(path)",
        "if path.exists():\n                    shutil.rmtree(path)\n                fresh.rename(path)\n                record._write(path)",
        "a new record's folder can be seen before it is whole",
        "run/test_record.py::test_a_new_record_can_be_seen_only_when_it_is_whole",
    ),
    # --- what a record may ask for ---
    _fault(
        "origin: diff",
        "seedbed/run/origin.py",
        'COVERED = ("config.yaml", "code.diff")',
        'COVERED = ("config.yaml",)',
        "a record's code.diff may be changed and keeps its mark",
        "run/test_origin.py::test_an_edited_record_counts_as_one_from_elsewhere",
    ),
    _fault(
        "origin: key of others",
        "seedbed/run/origin.py",
        "found.st_mode & 0o077:",
        "found.st_mode & 0o007:",
        "a key that the group may read is used",
        "run/test_origin.py::test_the_key_is_the_user_s_alone",
    ),
    # --- text that is shown ---
    _fault(
        "redaction: longest first",
        "seedbed/run/redaction.py",
        "sorted(_known, key=len, reverse=True)",
        "sorted(_known, key=len)",
        "a secret that holds another one is left in part",
        "run/test_redaction.py::test_a_secret_that_holds_another_one_is_replaced_as_a_whole",
    ),
    _fault(
        "redaction: quoted",
        "seedbed/run/redaction.py",
        'quote(secret, safe="")',
        "quote(secret)",
        "a password with a slash stays in an address",
        "run/test_redaction.py::test_a_secret_in_each_form_that_a_message_may_quote_it_in",
    ),
    _fault(
        "redaction: password with @",
        "seedbed/run/redaction.py",
        '(?:(?!\\$\\{)[^/\\s\'\\"])+)@(?=[^@/\\s\'\\"]*)")',
        '(?:(?!\\$\\{)[^@/\\s\'\\"])+)@(?=[^@/\\s\'\\"]*)")',
        "a password that holds an @ is shown from there on",
        "run/test_redaction.py::test_addresses_lose_their_credentials_and_nothing_else",
    ),
    _fault(
        "control characters",
        "seedbed/run/plain_text.py",
        'line = "".join(letter if letter.isprintable() else _escaped(letter) for letter in line)',
        'line = "".join(letter if letter >= " " else _escaped(letter) for letter in line)',
        "C1 controls and letters that turn the text around reach the terminal",
        "run/test_plain_text.py::test_one_line_without_anything_that_a_terminal_acts_on",
    ),
    # --- locks, claims, sync ---
    _fault(
        "lock: waiting",
        "seedbed/run/record.py",
        "if waiting:\n            waiting()\n        lock.acquire()",
        "if waiting:\n            waiting()\n            lock.acquire()",
        "who has nothing to say while waiting doesn't wait",
        "run/test_record.py::test_who_waits_for_a_key_holds_it_afterwards",
    ),
    _fault(
        "claims: key",
        "seedbed/run/claims.py",
        '"its key is not that of its inputs": content["key"] == key_of(inputs),',
        '"its key is not that of its inputs": content["key"] != "",',
        "a record whose inputs were changed is believed",
        "run/test_claims.py::test_each_contradiction_is_said",
    ),
    _fault(
        "claims: history",
        "seedbed/run/claims.py",
        '= digest.history(history) == digests.get("history")',
        '= "history" in digests',
        "a record whose history was changed is believed",
        "run/test_claims.py::test_each_contradiction_is_said",
    ),
    _fault(
        "links are followed",
        "seedbed/run/plain_files.py",
        "(0 if links else os.O_NOFOLLOW)",
        "(os.O_NOFOLLOW if links else 0)",
        "a record's file may be a link to somebody's own",
        "run/test_integrity.py::test_each_damage_to_each_file_is_seen_by_all_who_use_a_record[link-record.json]",
    ),
    _fault(
        "sync: another host",
        "seedbed/tracking/limits.py",
        'return (scheme, port) == ("http", PORTS["http"]) and _origin(other) == ("https", host, PORTS["https"])',
        'return (scheme, port) == ("http", PORTS["http"]) and _origin(other)[:2] == ("https", host)',
        "the account goes to another port of the host",
        "tracking/test_limits.py::test_https_of_the_same_host_is_the_same_place",
    ),
    # --- statistics ---
    _fault(
        "Holm",
        "seedbed/study/statistics.py",
        'multipletests(ps, method="holm")',
        'multipletests(ps, method="holm-sidak")',
        "another correction than Holm's",
        "study/test_statistics.py::test_holms_correction",
    ),
    _fault(
        "BCa",
        "seedbed/study/resampling.py",
        'degree: int = 1, method: str = "BCa"',
        'degree: int = 1, method: str = "basic"',
        "another interval than BCa",
        "study/test_statistics.py::test_where_bca_is_undefined_the_percentile_interval_says_so",
    ),
    _fault(
        "permutation test: two-sided",
        "seedbed/study/resampling.py",
        'alternative="two-sided", rng',
        'alternative="greater", rng',
        "the permutation test is one-sided",
        "study/test_statistics.py::test_darwins_maize_in_fishers_permutation_test",
    ),
    _fault(
        "permutation test: exact",
        "seedbed/study/resampling.py",
        "resamples = 2**d.size if d.size <= EXACT else RESAMPLES",
        "resamples = 2 ** (d.size - 1) if d.size <= EXACT else RESAMPLES",
        "half of the sign flips are drawn at random",
        "study/test_statistics.py::test_darwins_maize_in_fishers_permutation_test",
    ),
    _fault(
        "paired order: which is better",
        "seedbed/study/statistics.py",
        "good = turned if higher_is_better else -turned",
        "good = turned",
        "of a loss, the higher one is better",
        "study/test_statistics.py::test_one_run_that_diverged_hides_none_of_the_others",
    ),
    _fault(
        "Wilcoxon: zeros",
        "seedbed/study/resampling.py",
        'zero_method="pratt"',
        'zero_method="wilcox"',
        "differences of zero are left out before they are ranked",
        "study/test_statistics.py::test_zeros_are_ranked_and_then_left_out_with_many_seeds_too",
    ),
    _fault(
        "bootstrap: its own generator",
        "seedbed/study/resampling.py",
        "rng=np.random.Generator(np.random.PCG64(SEED)),\n            ).confidence_interval",
        "rng=np.random.default_rng(),\n            ).confidence_interval",
        "an interval is another one each time",
        "study/test_statistics.py::test_widths_go_from_the_smallest_number_of_seeds_to_all",
    ),
    _fault(
        "bootstrap: few values",
        "seedbed/study/resampling.py",
        "min(x.size for x in samples) < fewest(confidence)",
        "min(x.size for x in samples) < fewest(confidence) - 1",
        "an interval of four values, from the least to the greatest",
        "study/test_statistics.py::test_few_values",
    ),
    _fault(
        "variance: n - 1",
        "seedbed/study/statistics.py",
        "np.var(x, axis=axis, ddof=1)",
        "np.var(x, axis=axis, ddof=0)",
        "the variance is divided by n",
        "study/test_statistics.py::test_mean_and_std_are_those_certified_by_nist",
    ),
    _fault(
        "bootstrap: shares",
        "seedbed/study/statistics.py",
        "return _variance(x, axis) / _variance(together, axis)",
        "return _variance(together, axis) / _variance(x, axis)",
        "a stream's share of the variance is upside down",
        "study/test_statistics.py::test_a_variance_needs_two_values",
    ),
    _fault(
        "bootstrap: unit of a variance",
        "seedbed/study/statistics.py",
        "resampling.interval(samples, spread, confidence, degree=2)",
        "resampling.interval(samples, spread, confidence, degree=1)",
        "the interval of a variance is scaled as that of a mean",
        "study/test_statistics.py::test_the_variance_of_the_spatial_test_data",
    ),
    # --- verify and diagnose ---
    _fault(
        "verify: perturbations",
        "seedbed/proof/perturbing.py",
        "frozenset(PARTS) - leave, number)",
        "frozenset(PARTS) & leave, number)",
        "an execution that is to be perturbed is not",
        "proof/test_perturbing.py::test_what_is_left_stays",
    ),
    _fault(
        "verify: listings",
        "seedbed/proof/perturbing.py",
        "random.Random(number).shuffle(entries)",
        "random.Random(number)",
        "directory listings are not reordered",
        "proof/test_perturbing.py::test_inside_and_put_back",
    ),
    _fault(
        "verify: outputs",
        "seedbed/proof/verify.py",
        'OUTPUTS = ("initial_weights", "history", "final_weights", "generators", "optimizer", "predictions", "metrics")',
        'OUTPUTS = ("initial_weights", "history", "final_weights", "generators", "predictions", "metrics")',
        "a difference in the optimizer's state is none",
        "proof/test_verify.py::test_each_output_is_compared",
    ),
    _fault(
        "diagnose: the first difference",
        "seedbed/proof/places.py",
        "_data(a, b) or _split(a, b) or _weights(a, b) or _epochs(a, b)",
        "_data(a, b) or _split(a, b) or _epochs(a, b) or _weights(a, b)",
        "an epoch is named where the initial weights differ already",
        "proof/test_places.py::test_the_order_of_places",
    ),
    _fault(
        "diagnose: the step",
        "seedbed/proof/places.py",
        "return Place(kind, where, epoch=epoch, step=step + 1,",
        "return Place(kind, where, epoch=epoch, step=step,",
        "the step before the one that differs is named",
        "proof/test_places.py::test_points_within_a_step",
    ),
    _fault(
        "diagnose: controls",
        "seedbed/proof/control.py",
        "for number in range(1, times + 1):",
        "for number in range(1, times):",
        "a change is blamed twice as often as is said for what differs by itself",
        "proof/test_control.py::test_a_coin_is_blamed_on_a_change_as_rarely_as_is_said",
    ),
    # --- levels and machine ---
    _fault(
        "level: environment",
        "seedbed/run/process.py",
        "return {name: value for name, value in needed.items() if env.get(name) != value}",
        "return {name: value for name, value in needed.items() if env.get(name, value) != value}",
        "a variable that isn't set counts as right",
        "run/test_process.py::test_differing",
    ),
    _fault(
        "GPU: driver's version",
        "seedbed/run/accelerator.py",
        "if _numbers(driver)[:1] >= major:",
        "if driver >= pinned:",
        "versions are compared as text",
        "run/test_accelerator.py::test_a_driver_of_the_same_major_version_or_a_newer_one_will_do",
    ),
    _fault(
        "GPU: library's version",
        "seedbed/run/accelerator.py",
        '_numbers(packages.get(library.package, ""))[: len(said)]:',
        '_numbers(packages.get(library.package, ""))[:1]:',
        "libraries of the right version are refused",
        "run/test_accelerator.py::test_libraries_that_are_not_the_packages",
    ),
    # --- data from files ---
    _fault(
        "CSV: short lines",
        "example/tables.py",
        "if len(row) != len(header):",
        "if len(row) > len(header):",
        "a line that lacks values is taken",
        "example/test_data.py::test_a_table_that_cannot_be_used",
    ),
    _fault(
        "CSV: classes",
        "example/tables.py",
        "classes = sorted(set().union(*(set(table[target]) for table in tables.values())))",
        "classes = sorted(set(train[target]))",
        "a class that only the test file has is none",
        "example/test_data.py::test_classes_of_all_files_count",
    ),
    # --- studies, reuse, fsck ---
    _fault(
        "sharing: second run",
        "seedbed/study/check.py",
        'if before.get(name) != digest and name != "run"]',
        'if before.get(name, digest) != digest and name != "run"]',
        "an output that the shared run lacks counts as the same",
        "study/test_check.py::test_an_output_that_one_of_the_two_lacks_differs",
    ),
    # --- what is read ---
    _fault(
        "YAML: aliases",
        "seedbed/run/yaml_files.py",
        "total += sizes[event.anchor]",
        "total += 1",
        "nine lines stand for a billion values",
        "run/test_yaml_files.py::test_it_is_refused_with_file_and_line",
    ),
    _fault(
        "JSON: NaN",
        "seedbed/run/json_text.py",
        "return json.dumps(plain, allow_nan=False, **options)",
        "return json.dumps(value, **options)",
        "NaN is written as it is, which is no JSON",
        "run/test_json_text.py::test_what_is_written_is_plain_json_and_comes_back_exactly",
    ),
)
