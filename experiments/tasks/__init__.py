"""Tasks: what a run learns. The training loop is given one, and knows none by name.

    task = tasks.get(config.task)

A task of one's own is a file here that makes a `Task`, and a line in TASKS.
"""

from geodesic.errors import UserError
from geodesic.experiments.tasks import classification, detection, embedding, multilabel
from geodesic.experiments.tasks.task import Task as Task

# Name -> Task; config.task is one of the names.
TASKS: dict[str, Task] = {
    "embedding": embedding.TASK,
    "classification": classification.TASK,
    "multilabel": multilabel.TASK,
    "detection": detection.TASK,
}


def get(name: str) -> Task:
    """The task of this name. Raises UserError for one that there is not."""
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    return TASKS[name]
