"""Records into MLflow. The record on disk is the truth and MLflow a view of it: whatever is missing there can be sent again.

The only package that imports mlflow. It reads records and never changes them; what it has sent is noted beside the record,
in `tracking.json`. `follow` and `follow_studies` run in a process of their own, started before TensorFlow is imported, so that
nobody waits for MLflow's import and its first migration, and a server that is slow or gone costs a run no time.
"""

from seedbed.tracking.following import follow
from seedbed.tracking.runs import STATUS, Nested, push, send
from seedbed.tracking.store import PATIENCE, pages, warm
from seedbed.tracking.studies import follow_studies, send_studies
from seedbed.tracking.studies import surplus as surplus_of_studies

__all__ = [
    "PATIENCE",
    "STATUS",
    "Nested",
    "follow",
    "follow_studies",
    "pages",
    "push",
    "send",
    "send_studies",
    "surplus_of_studies",
    "warm",
]
