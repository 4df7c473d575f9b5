"""The MLflow model registry.

`versions` registers, finds, names and downloads them; `logged_model` uploads a checkpoint as a model of its run;
`served_model` is the code that is stored beside the weights and answers where the model is served, `served_folder` that
which looks at its folder first, `served_chat` that which makes ids of conversations, `served_traces` that which tells
MLflow of its answers.
"""
