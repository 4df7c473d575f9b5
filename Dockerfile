# The pipeline's image: worker, trainer and command line in one.
#   docker build --build-arg GIT_COMMIT=$(git rev-parse HEAD) -t dpo-pipeline .
#   docker run -v dpo:/data -e LOGNAME=ana dpo-pipeline dpo retrain examples/identity/retrain.yaml
#   docker run -v dpo:/data -e PREFECT_API_URL=... dpo-pipeline prefect worker start --pool dpo-pool
# There is no git in it: runs name the commit that it was built of. LOGNAME names who runs it in MLflow and in the ledger,
# a person or a job; unset, that is its user, dpo.
# PyPI's torch for Linux is the CUDA build (several GB). For machines without a GPU pass the CPU index that PyTorch's
# install page names:
#   docker build --build-arg TORCH_INDEX=<that URL> -t dpo-pipeline:cpu .

FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /app
COPY constraints.txt .
# PyTorch's index has not every version of what torch needs: that comes with the rest. 2.x.y+cpu is the 2.x.y of
# constraints.txt, so that it stays.
RUN pip install -c constraints.txt ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} torch
COPY . .
RUN pip install -c constraints.txt -e ".[postgres]"

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 dpo && install --directory --owner=dpo /data
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DPO_HOME=/data \
    HF_HOME=/data/huggingface
ARG GIT_COMMIT=""
ENV DPO_GIT_COMMIT=$GIT_COMMIT
WORKDIR /app
# a number, as runAsNonRoot of Kubernetes takes no name
USER 10001
VOLUME /data
# no ENTRYPOINT: what Prefect's docker and kubernetes pools start begins with `prefect`
CMD ["dpo", "--help"]
