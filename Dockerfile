# Image for clusters with NVIDIA GPUs, with the pinned packages and their CUDA libraries; nodes need the driver alone.
#   docker build --tag REGISTRY/joyvasa:0.1.0 .
#   docker build --tag REGISTRY/joyvasa:0.1.0 --build-arg MODELS=joyvasa .    # with weights: read their licenses first
# Without weights in it, mount a folder of models on /models.
FROM python:3.13-slim-bookworm

# The option tts=flite needs flite, torch_compile gcc, the head of `ray up` openssh-client and rsync, the probes of KubeRay wget.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends flite gcc libc6-dev openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/*

# Compiled to byte code here, since the user of the image cannot write it.
COPY requirements-gpu.lock requirements-extras.lock /opt/joyvasa/
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --compile-bytecode --no-deps \
        --requirements /opt/joyvasa/requirements-gpu.lock --requirements /opt/joyvasa/requirements-extras.lock

COPY pyproject.toml README.md LICENSE /opt/joyvasa/
COPY joyvasa /opt/joyvasa/joyvasa
COPY manifests /opt/joyvasa/manifests
COPY pipelines /opt/joyvasa/pipelines
COPY stages /opt/joyvasa/stages
RUN uv pip install --system --no-cache --compile-bytecode --no-deps /opt/joyvasa

RUN useradd --create-home --uid 1000 joyvasa \
    && install --directory --owner joyvasa /models
USER 1000
WORKDIR /home/joyvasa
# Ray reads HOME from the image; video is for encoding.encoder=nvenc.
ENV HOME=/home/joyvasa JOYVASA_MODELS=/models NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,video

ARG MODELS=""
RUN test -z "$MODELS" || joyvasa models fetch "$MODELS"

ENTRYPOINT ["joyvasa"]
CMD ["--help"]
