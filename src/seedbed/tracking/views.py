"""Places on MLflow's page: links to them, and tables of runs that have seeds and results as columns.

Such a table is a view as people share it there: what it shows is a tag of the experiment (`mlflow.sharedViewState.KEY`, read by
the page of MLflow 3.17.2 as JSON), and its address names the key. A page that doesn't know it shows its usual table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

VIEW = "mlflow.sharedViewState."
ALL = "seeds"  # the view of all runs of an experiment
# MLflow 3.17's page begins with prompts and traces, whatever the experiment is, for whoever has not switched to training.
TRAINING = "workflowType=machine_learning"
MOST = 30  # columns
NAME = "attributes.`Run Name`"
FIRST = ("master", "split", "init", "shuffle", "dropout", "augment")  # seeds that have a column; the others follow from the first
MASTER = f"params.`seeds.{FIRST[0]}`"


def of_run(experiment_id: str, run_id: str, file: str = "") -> str:
    """The address of a run, or of a file of it, below the server's own."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{f'/artifacts/{file}' if file else ''}?{TRAINING}"


def of_table(experiment_id: str, key: str = ALL) -> str:
    """The address of a table, below the server's own. key: of a view; "": the columns that the page has by itself."""
    return f"#/experiments/{experiment_id}/runs?{TRAINING}" + (f"&viewStateShareKey={key}" if key else "")


def columns(seeds: Iterable[str], metrics: Iterable[str]) -> list[str]:
    """The columns of seeds and metrics, in the order of `in_order`."""
    return in_order([*(f"params.`seeds.{name}`" for name in seeds), *(f"metrics.`{name}`" for name in metrics)])


def in_order(names: Iterable[str]) -> list[str]:
    """The master seed and the results before the seeds that follow from it: a screen has room for five or six columns."""
    return sorted(dict.fromkeys(names), key=lambda name: (name != MASTER, name.startswith("params.")))[:MOST]


def flat(parent: str, shown: Sequence[str], order: str, ascending: bool) -> str:
    """The view of one study's runs, sorted by the column `order`, which comes first; sorted by their time, they would be folded up."""
    query = f"tags.mlflow.parentRunId = '{parent}'"
    return json.dumps({**_columns([order, *shown]), "searchFilter": query, "orderByKey": order, "orderByAsc": ascending})


def nested(shown: Sequence[str]) -> str:
    """The view of all runs, the newest first, those of a study below it."""
    return json.dumps({**_columns(shown), "orderByKey": "attributes.start_time", "orderByAsc": False})


def _columns(shown: Sequence[str]) -> dict[str, Any]:
    names = list(dict.fromkeys(shown))
    return {"selectedColumns": names, "columnOrder": [NAME, *names], "columnWidths": {NAME: 330, **dict.fromkeys(names, 110)}}


def widen(client: Any, experiment_id: str, shown: Sequence[str]) -> None:
    """Have these columns in the view of all runs, after those that are there."""
    tags: Mapping[str, str] = client.get_experiment(experiment_id).tags
    try:
        there = [str(one) for one in json.loads(tags[VIEW + ALL])["selectedColumns"]]
    except (KeyError, ValueError, TypeError):
        there = []
    wanted = in_order([*there, *shown])
    if wanted != there:
        client.set_experiment_tag(experiment_id, VIEW + ALL, nested(wanted))
