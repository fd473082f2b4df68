# The image, for CPU and for GPU hosts: `make image`, `make image GPU=1` (docker/build says what they call).
# Nothing floats: the base by its digest, Python by its exact version, every wheel by its hash (requirements/).
ARG BASE_IMAGE=python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
# cpu | gpu | server: which file of the lock goes in
ARG VARIANT=cpu
# The time of every file in the image. (When the image was made is the commit's time: SOURCE_DATE_EPOCH in docker/build.)
ARG EPOCH=2000-01-01T00:00:00Z


# --- the environment: what the lock says, and nothing else ---------------------------------------------------------
FROM ${BASE_IMAGE} AS environment
ARG PYTHON_VERSION=3.11.16
ARG VARIANT
ARG EPOCH
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
RUN found=$(python3 -c 'import platform; print(platform.python_version())'); \
    [ "$found" = "$PYTHON_VERSION" ] || { echo "BASE_IMAGE has Python $found, and PYTHON_VERSION=$PYTHON_VERSION is wanted" >&2; exit 1; }

# A host behind a proxy of its own gives its certificates as a secret: --secret id=ca-bundle,src=FILE
COPY requirements/uv.txt ./
RUN --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi; \
    python3 -m venv /build/tools; \
    /build/tools/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r uv.txt

# build.txt goes first and is gone at the end: one dependency comes as source alone. Bytecode is compiled by one process, in
# one order, and is checked against its source when it is loaded: its bits are the same each time, and no edit goes unseen.
# TensorFlow's headers (0.3 GB) are for compilers. What the loader is told: where CUDA, cuDNN and NCCL lie, since the folders
# that TensorFlow looks in by itself lack some of them. Lines are appended to passwd and group, for useradd writes the date.
# All that the image is to have is laid under /root-fs, with one time: made twice, it is the same to the bit.
COPY requirements/build.txt requirements/${VARIANT}.txt ./
RUN --mount=type=secret,id=ca-bundle --mount=type=cache,id=seedbed-uv,target=/root/.cache/uv \
    if [ -s /run/secrets/ca-bundle ]; then export SSL_CERT_FILE=/run/secrets/ca-bundle; fi; \
    export UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/venv; \
    /build/tools/bin/uv venv --quiet --python "$(command -v python3)" /opt/venv; \
    /build/tools/bin/uv pip install --quiet --require-hashes --no-build-isolation -r build.txt; \
    /build/tools/bin/uv pip sync --quiet --require-hashes --no-build-isolation "$VARIANT.txt"; \
    site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
    echo /seedbed/src > "$site/seedbed.pth"; \
    find "$site" -name uv_cache.json -delete; rm -rf "$site/tensorflow/include"; \
    PYTHONHASHSEED=0 /opt/venv/bin/python -m compileall -q -f -j 1 --invalidation-mode checked-hash "$site"; \
    find "$site" -path '*/nvidia/*/lib' -type d | LC_ALL=C sort > /etc/ld.so.conf.d/seedbed.conf; \
    mkdir -p /root-fs/etc/ld.so.conf.d /root-fs/opt; \
    ldconfig -C /root-fs/etc/ld.so.cache; \
    cp /etc/ld.so.conf.d/seedbed.conf /root-fs/etc/ld.so.conf.d/; \
    { cat /etc/passwd; echo 'seedbed:x:1000:1000::/tmp:/usr/sbin/nologin'; } > /root-fs/etc/passwd; \
    { cat /etc/group; echo 'seedbed:x:1000:'; } > /root-fs/etc/group; \
    mv /opt/venv /root-fs/opt/; \
    find /root-fs -exec touch --no-dereference --date "$EPOCH" {} +


# --- the project: another layer, so that a change of source leaves the environment as it is ------------------------
FROM ${BASE_IMAGE} AS project
ARG EPOCH
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /root-fs/seedbed
# Modes are set below: whoever builds may have another umask, and any uid is to read what he has built.
COPY pyproject.toml ./
COPY requirements requirements
COPY conf conf
COPY src src
COPY --chmod=0755 docker/seedbed /root-fs/usr/local/bin/
COPY --chmod=0755 docker/tracking-server docker/
RUN PYTHONHASHSEED=0 python3 -m compileall -q -j 1 --invalidation-mode checked-hash -s /root-fs src; \
    chmod -R u=rwX,go=rX /root-fs; \
    mkdir -m 1777 runs artifacts; \
    find /root-fs -exec touch --no-dereference --date "$EPOCH" {} +


# --- for .devcontainer/: the same Python, and what `make` needs; what it installs comes from the same lock ----------
FROM ${BASE_IMAGE} AS dev
# No versions: git and make have no part in any result.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends git make openssh-client && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 --shell /bin/bash seedbed
USER 1000:1000


# --- what runs: no compiler, no cache, no secret, no root ----------------------------------------------------------
FROM ${BASE_IMAGE} AS runtime
COPY --from=environment /root-fs/ /
COPY --from=project /root-fs/ /
WORKDIR /seedbed
USER 1000:1000
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp USER=seedbed PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SEEDBED_ROOT=/seedbed

# The level `strict`, so that no process has to be started anew; tests/image holds this against conf/determinism/strict.yaml.
ENV PYTHONHASHSEED=0 \
    TF_DETERMINISTIC_OPS=1 \
    TF_CUDNN_USE_AUTOTUNE=0 \
    TF_CUDNN_RNN_USE_AUTOTUNE=0 \
    CUBLAS_WORKSPACE_CONFIG=:4096:8 \
    NCCL_ALGO=Ring \
    TF_ENABLE_ONEDNN_OPTS=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    KERAS_BACKEND=tensorflow
# What is set above is the image's word, not the user's: determinism.threads.intra_op=4 contradicts no shell of his.
ENV SEEDBED_IMAGE_SETS="\
    PYTHONHASHSEED=$PYTHONHASHSEED \
    TF_DETERMINISTIC_OPS=$TF_DETERMINISTIC_OPS \
    TF_CUDNN_USE_AUTOTUNE=$TF_CUDNN_USE_AUTOTUNE \
    TF_CUDNN_RNN_USE_AUTOTUNE=$TF_CUDNN_RNN_USE_AUTOTUNE \
    CUBLAS_WORKSPACE_CONFIG=$CUBLAS_WORKSPACE_CONFIG \
    NCCL_ALGO=$NCCL_ALGO \
    TF_ENABLE_ONEDNN_OPTS=$TF_ENABLE_ONEDNN_OPTS \
    OMP_NUM_THREADS=$OMP_NUM_THREADS \
    OPENBLAS_NUM_THREADS=$OPENBLAS_NUM_THREADS \
    KERAS_BACKEND=$KERAS_BACKEND"

# Where the image comes from: in its variables for the records of its runs, in its labels for those who have the image.
ARG VARIANT
ARG COMMIT=unknown
ARG VERSION=0.0.0
ARG LOCK=unknown
ARG BASE_IMAGE
ENV SEEDBED_IMAGE=seedbed:${VARIANT} SEEDBED_COMMIT=${COMMIT} SEEDBED_LOCK=${LOCK} SEEDBED_VERSION=${VERSION}
LABEL org.opencontainers.image.title=seedbed \
      org.opencontainers.image.description="A reproducible Keras training template" \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${COMMIT} \
      org.opencontainers.image.base.name=${BASE_IMAGE} \
      seedbed.lock=${LOCK} \
      seedbed.variant=${VARIANT}

# The run ends at the end of the epoch, with a checkpoint; `docker run --stop-timeout` says how long that may take.
STOPSIGNAL SIGTERM
ENTRYPOINT ["seedbed"]


# --- the variants differ in their file of the lock, and in what NVIDIA's container runtime is asked for -------------
FROM runtime AS cpu

FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime AS server
ENTRYPOINT ["/seedbed/docker/tracking-server"]

# one of these three
# hadolint ignore=DL3006
FROM ${VARIANT}
