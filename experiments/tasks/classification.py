"""Which of the trained classes an image shows. The loss's own prototypes or weights are the classifier.

Embeddings and losses are those of the task "embedding". What differs is what a run is watched by, and so which test
data and which losses there can be: images of classes that are trained on, and losses that learn classes.
"""

from geodesic.experiments.tasks import embedding

TASK = embedding.TASK._replace(evaluators=("accuracy",))
