"""The commands over many runs: `repeat`, `compare`, `variance`, `report`. Parse, call the wing `study`, print."""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedbed import Refused, composing, follower, printed
from seedbed.run import json_text

LIST = "has its own list of runs (study.n, study.seeds)"

if TYPE_CHECKING:
    from seedbed.study.early import Early
    from seedbed.study.plan import Study
    from seedbed.study.repeat import Result


def repeat(argv: list[str]) -> int:
    """`seedbed repeat`: one config over many seeds."""
    if "--worker" in argv:
        import tensorflow  # noqa: F401  (first: whoever started this process is still working out what it is to train)

        from seedbed.study import work

        printed.leave(work.main())
    from seedbed.study import early

    as_json, argv = printed.without(argv, "--json")
    with early.ahead(argv) as process, printed.json_alone(as_json):
        composed = composing.composed(argv, "repeat", LIST)
        if composed is None:
            return 0
        config, hydra = composed
        _import_soon("seedbed.study.report", "seedbed.study.plots", *(["seedbed.study.page"] if config.tracking.uri else []))
        with follower.following_studies(config.tracking, config.runs, printed.say) as tell:
            result = _run([(config, argv)], hydra, tell, process)[0]
    from seedbed.study import report, show

    found = report.summaries(result, config.study.confidence)
    said = report.verdict(result, config.study.metric, found)
    if as_json:
        print(json_text.dumps(report.as_json(result, said, found)), flush=True)
    else:
        show.repeat(result, said, found, argv)
    return _status(result)


def compare(argv: list[str]) -> int:
    """`seedbed compare`: is A better than B?"""
    from seedbed.study import compare as comparing

    as_json, argv = printed.without(argv, "--json")
    strict, argv = printed.without(argv, "--assert-better")
    if not argv or argv[0] in ("-h", "--help"):
        print(comparing.USAGE, file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    sides, common = comparing.sides_of(argv)
    with printed.json_alone(as_json):
        composed = {name: composing.composed([*words, *common], "compare", LIST) for name, words in sides.items()}
        if not all(composed.values()):
            return 0
        configs = {name: found[0] for name, found in composed.items() if found}
        comparing.check(configs)
        config, hydra = next(found for found in composed.values() if found)
        asked = {name: (configs[name], [*words, *common]) for name, words in sides.items()}
        found = _concluded(asked, hydra, lambda results: comparing.compared(results, config, argv), comparing.write, list(asked))
    _print(found, comparing.as_json if as_json else None, "compare")
    return 1 if found.missing or (strict and not found.best_is_first) else 0


def variance(argv: list[str]) -> int:
    """`seedbed variance`: which source of randomness makes results differ?"""
    from seedbed.study import variance as varying

    as_json, argv = printed.without(argv, "--json")
    with printed.json_alone(as_json):
        composed = composing.composed(argv, "variance", LIST)
        if composed is None:
            return 0
        config, hydra = composed
        asked: dict[str | None, tuple[Any, list[str]]] = {}
        for stream in (None, *varying.streams(config)):
            one = copy.deepcopy(config)
            one.study.vary = stream
            asked[stream] = one, [*argv, *([f"study.vary={stream}"] if stream else [])]
        found = _concluded(asked, hydra, lambda results: varying.split(results, config, argv), varying.write)
    _print(found, varying.as_json if as_json else None, "variance")
    return 0 if found.complete else 1


def report(argv: list[str]) -> int:
    """`seedbed report`: a study as one HTML file."""
    parser = argparse.ArgumentParser("seedbed report", description="a study as one HTML file that opens without a server and prints well")
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="its folder, the folder's name under runs/studies, or a beginning of that"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (report.html in the study's own folder)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="the folder of records")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    from seedbed.run import config as configs
    from seedbed.study import folder, page

    if options.runs and not options.runs.is_dir():
        raise Refused(f"--runs {options.runs}: there is no such folder.")
    path = folder.found(options.study, options.runs or Path(configs.composed().runs))
    kept = folder.read(path, options.runs)
    out = options.out or path / "report.html"
    page.write(kept, out)
    if options.json:
        print(json_text.dumps({"study": str(path), "report": str(out.absolute()), "missing": page.missing(kept)}), flush=True)
        return 0
    rows = [("study", path.name), ("report", str(out.absolute())), *(("without", line) for line in page.missing(kept))]
    printed.lines([*rows, ("next", "open it in a browser, print it or send it: it needs no other file")])
    return 0


def _concluded(
    asked: Mapping[Any, tuple[Any, list[str]]], hydra: Any, conclude: Callable[[dict[Any, Result]], Any], write: Callable[[Any], None],
    sides: Sequence[str] = (),
) -> Any:  # fmt: skip
    """Run several studies, and write and track what `conclude` makes of their results, by the names of `asked`.

    sides: what the studies are called in MLflow, where their own words don't say.
    """
    config = next(iter(asked.values()))[0]
    with follower.following_studies(config.tracking, config.runs, printed.say) as tell:
        results = dict(zip(asked, _run(list(asked.values()), hydra, tell, sides=sides), strict=True))
        if stopped := next((result.stopped for result in results.values() if result.stopped), None):
            raise SystemExit(stopped)
        found = conclude(results)
        write(found)
        _tell_report(tell, found.path, config)
    return found


def _print(found: Any, as_json: Callable[[Any], dict[str, Any]] | None, verb: str) -> None:
    if as_json is not None:
        print(json_text.dumps(as_json(found)), flush=True)
    else:
        from seedbed.study import show

        {"compare": show.compare, "variance": show.variance}[verb](found)


def _run(
    asked: Sequence[tuple[Any, list[str]]], hydra: Any, tell: Callable[[dict[str, Any]], None], ahead: Early | None = None,
    sides: Sequence[str] = (),
) -> list[Result]:  # fmt: skip
    """Run studies and write their reports. asked: a config and the words that composed it, for each. sides: their names, if they have."""
    from seedbed.study import launch, repeat

    first = asked[0][0]

    def begun(studies: Sequence[Study], call: str) -> None:
        remote = bool(first.tracking.uri) and not str(first.tracking.uri).startswith(f"sqlite:///{first.runs}/")
        for study, (config, _), side in zip(studies, asked, sides or [""] * len(asked), strict=True):
            fetch = remote and config.determinism.level != "off"
            told = {"study": str(study.path), "masters": list(study.masters), "models": bool(config.study.track_models), "fetch": fetch}
            tell({**told, "call": call, "side": side})
            if fetch:
                _wait_for_fetched(study.path / "fetched.json", call, float(config.tracking.wait_seconds))

    wanted = [repeat.Asked(config, words) for config, words in asked]
    results = repeat.run(wanted, hydra, lambda more: composing.hydra(launch.job, more), printed.say, _progress, begun, ahead)
    from seedbed.study import report

    for result, (config, _) in zip(results, asked, strict=True):
        found = report.summaries(result, config.study.confidence)
        try:
            said = report.verdict(result, config.study.metric, found)
        except Refused:  # a metric that these runs don't have: what they have is written all the same
            report.write(result, report.verdict(result, None, found), found, config)
            _tell_report(tell, result.study.path, config)
            raise
        report.write(result, said, found, config)
        _tell_report(tell, result.study.path, config)
    return results


def _tell_report(tell: Callable[[dict[str, Any]], None], path: Path, config: Any) -> None:
    """The report of the study in the folder `path` is written; MLflow gets it as a page, too."""
    if config.tracking.uri:
        from seedbed.study import page

        page.keep(path)
    tell({"report": str(path)})


def _progress(name: str, counts: Callable[[], Mapping[str, int]]) -> Any:
    from seedbed.study import progress

    return progress.shown(name, counts)


def _import_soon(*modules: str) -> None:
    """Import what is needed at the end while others work; a second of a short study."""
    threading.Thread(target=lambda: [importlib.import_module(name) for name in modules], daemon=True).start()


def _wait_for_fetched(file: Path, call: str, seconds: float) -> None:
    """Wait until the finished runs of this study that a tracking server has are here, or `seconds` are over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            told: Mapping[str, Any] = json.loads(file.read_text())
            if told.get("call") == call:
                if told.get("keys"):
                    printed.say(f"{len(told['keys'])} finished runs found on the tracking server.")
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    printed.say("The tracking server hasn't said which runs it has; those that are not on this disk are trained.")


def _status(result: Result) -> int:
    return result.stopped or (0 if result.complete else 1)
