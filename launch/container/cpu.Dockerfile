# syntax=docker/dockerfile:1
# distbench for CPUs, made by launch/setup.sh. From the repository's folder:
#
#   docker build -f launch/container/cpu.Dockerfile -t distbench:cpu .
#   docker run --rm --shm-size=1g distbench:cpu \
#     horovodrun --gloo -np 2 python -m distbench --preset quick
#
# A run goes to /results: mount a folder there that user 1000 can write.
#
# Run for real: setup.sh on Debian 12, not as root, with Horovod built before and the files that are
# copied here and no others; sshd and mpirun with sshd_config and ssh_config. Not run: docker build.

# Debian 12, whose compiler built Horovod for the tests.
FROM python:3.11-slim-bookworm

RUN apt-get update \
  && apt-get install -y --no-install-recommends g++ make openssh-client openssh-server \
  && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 distbench \
  && install -d -o distbench -g distbench /opt/distbench /results
COPY launch/container/ssh_config /etc/ssh/ssh_config.d/distbench.conf

USER distbench
WORKDIR /opt/distbench
COPY --chown=distbench:distbench launch/container/sshd_config /home/distbench/
COPY --chown=distbench:distbench pyproject.toml setup.py README.md ./
COPY --chown=distbench:distbench launch/ launch/
COPY --chown=distbench:distbench distbench/ distbench/
# Horovod's wheel stays in the builder's cache: building the image again takes a minute.
RUN --mount=type=cache,target=/tmp/wheels,uid=1000 \
  PIP_NO_CACHE_DIR=1 DISTBENCH_CACHE_DIR=/tmp/wheels launch/setup.sh

ENV PATH=/opt/distbench/.venv/bin:$PATH
WORKDIR /results
CMD ["python", "-m", "distbench"]
