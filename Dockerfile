# The program with everything it needs.  docker build -t feel-steps .
# For GPUs of NVIDIA's:  docker build -t feel-steps:cuda --build-arg TORCH=cu130 .
# Use: docs/howto/install.md
FROM python:3.11-slim-bookworm

ARG TORCH=cpu

COPY . /opt/feel-steps
RUN sh /opt/feel-steps/envs/container.sh "$TORCH"

WORKDIR /work
# Snakemake writes to the home folder, also for users that the image does not know
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["feel-steps"]
