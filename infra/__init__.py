"""The pipeline's edges: settings, object store, MLflow, Great Expectations, services."""
