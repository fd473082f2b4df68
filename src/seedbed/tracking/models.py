"""A record's model into MLflow, as a model of that run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from seedbed.run import plain_files, scratch
from seedbed.run.record import Record
from seedbed.tracking import fetching
from seedbed.tracking.store import check_artifacts

MODEL = "model"


def log(client: Any, record: Record, run_id: str) -> None:
    """Send a finished record's model, in the layout of MLflow's `keras` flavor, so that `mlflow.keras.load_model` reads it.

    Once: one that is there with the same bytes stays, and one with others gets these.
    Written here and not by `mlflow.keras.log_model`, which imports Keras and loads the model to say what it needs; the
    lock says that. https://mlflow.org/docs/latest/ml/model/ (MLmodel format), mlflow.keras.save (flavor's entries).
    """
    from mlflow.models import Model

    packages = record.inputs["environment"]["packages"]
    run = client.get_run(run_id)
    there = fetching.has_model(run)
    if there and not fetching.is_other_model(client, run, record.files()[fetching.MODEL]):
        return
    experiment_id = run.info.experiment_id
    begun = [client.get_logged_model(run.outputs.model_outputs[0].model_id)] if there else client.search_logged_models(
        [experiment_id], f"source_run_id = '{run_id}'", max_results=1)  # and not sent whole  # fmt: skip
    logged = begun[0] if begun else client.create_logged_model(
        experiment_id, name=MODEL, source_run_id=run_id, tags={"seedbed.key": record.key}, model_type="keras")  # fmt: skip
    check_artifacts(client.tracking_uri, str(logged.artifact_location))
    with scratch.folder("sending") as folder:
        root = Path(folder)
        (root / "data").mkdir()
        (root / "data" / "keras_module.txt").write_text("keras")
        plain_files.copy(record.path / "model.keras", root / "data" / "model.keras")
        (root / "requirements.txt").write_text("".join(f"{name}=={version}\n" for name, version in sorted(packages.items())))
        model = Model(run_id=run_id, model_id=logged.model_id, model_uuid=None)
        model.add_flavor("keras", data="data", keras_version=packages.get("keras"), keras_backend="tensorflow", save_exported_model=False)
        model.add_flavor("python_function", loader_module="mlflow.keras", python_version=record.inputs["environment"]["python"],
                         env={"virtualenv": "python_env.yaml"})  # fmt: skip
        python_env = {"python": record.inputs["environment"]["python"], "dependencies": ["-r requirements.txt"]}
        (root / "python_env.yaml").write_text(yaml.safe_dump(python_env))
        model.save(str(root / "MLmodel"))
        client.log_model_artifacts(logged.model_id, folder)
    if there:
        return
    client.finalize_logged_model(logged.model_id, "READY")
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
