"""The pipeline's edges: settings, object store, MLflow, Great Expectations, services.

`settings`, `environment` and `secrets` read the environment, `masking` keeps secrets out of logs; `store` keeps bytes,
`datasets` numbers versions of data sets in it; `tracking` and `registry` are MLflow's runs and versions; `models`
fetches the model that a recipe names; `expectations` judges measures; `prefect_server` starts Prefect's temporary
server; `errors` are what all of them raise.
"""
