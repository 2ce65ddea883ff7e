# syntax=docker/dockerfile:1
# distbench for NVIDIA GPUs over NCCL, made by launch/setup.sh. From the repository's folder:
#
#   docker build -f launch/container/gpu.Dockerfile -t distbench:gpu \
#     --build-arg COMPUTE_CAPABILITIES=8.0,9.0 .
#   docker run --rm --gpus all --shm-size=1g distbench:gpu \
#     horovodrun --gloo -np 8 python -m distbench
#
# A run goes to /results: mount a folder there that user 1000 can write.
#
# Run for real: setup.sh's choice of the GPU build with the stand-in for nvidia-smi; sshd and mpirun
# with sshd_config and ssh_config. Not run: docker build, and anything on a GPU.

# Change: a tag of CUDA 12 that the nodes' driver knows. It must be a devel image of Rocky Linux 9,
# which has Python 3.11; TensorFlow 2.18 was built with CUDA 12.5.
ARG CUDA_TAG=12.5.1-devel-rockylinux9
FROM nvidia/cuda:${CUDA_TAG}
# Change: the compute capabilities of the GPUs that Horovod is built for.
ARG COMPUTE_CAPABILITIES=9.0

RUN dnf install -y python3.11 python3.11-devel gcc-c++ make util-linux \
  openssh-clients openssh-server \
  && dnf clean all
RUN useradd --create-home --uid 1000 distbench \
  && install -d -o distbench -g distbench /opt/distbench /results
COPY launch/container/ssh_config /etc/ssh/ssh_config.d/distbench.conf

USER distbench
WORKDIR /opt/distbench
COPY --chown=distbench:distbench launch/container/sshd_config /home/distbench/
COPY --chown=distbench:distbench pyproject.toml setup.py README.md ./
COPY --chown=distbench:distbench launch/ launch/
COPY --chown=distbench:distbench distbench/ distbench/
# setup.sh builds for GPUs where nvidia-smi shows one, and a build shows none.
# Horovod's wheel stays in the builder's cache: building the image again takes minutes, not more.
RUN --mount=type=cache,target=/tmp/wheels,uid=1000 \
  PATH="/opt/distbench/launch/container/stand-in:$PATH" \
  PIP_NO_CACHE_DIR=1 DISTBENCH_CACHE_DIR=/tmp/wheels launch/setup.sh

ENV PATH=/opt/distbench/.venv/bin:$PATH
WORKDIR /results
CMD ["python", "-m", "distbench"]
