"""The MLflow model registry: versions, what they hold, how they are served."""
