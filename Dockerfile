# syntax=docker/dockerfile:1
# One image for the service and the jobs. The workspace is a volume at /workspace.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# CPU wheels of torch are a tenth of the size; pass an empty value to take the index's own.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/lookalike
WORKDIR /src
COPY constraints.txt ./
# The largest layer depends on the pins alone.
RUN /opt/lookalike/bin/pip install ${TORCH_INDEX:+--index-url ${TORCH_INDEX} --extra-index-url https://pypi.org/simple} \
    "$(grep '^torch==' constraints.txt)" --constraint constraints.txt
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY store store
COPY embedder embedder
COPY index index
COPY api api
COPY jobs jobs
COPY benchmarks benchmarks
RUN /opt/lookalike/bin/pip install --constraint constraints.txt '.[milvus,postgres,symqg,text]'

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="lookalike" \
      org.opencontainers.image.licenses="Apache-2.0"
# torch and FAISS link the OpenMP runtime that comes with them; nothing else is needed.
RUN groupadd --gid 10001 lookalike \
    && useradd --uid 10001 --gid lookalike --create-home lookalike \
    && install -d -o lookalike -g lookalike /workspace
COPY --from=build /opt/lookalike /opt/lookalike
ENV PATH=/opt/lookalike/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LOOKALIKE_WORKSPACE=/workspace
USER 10001:10001
WORKDIR /workspace
VOLUME /workspace
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
ENTRYPOINT ["lookalike"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
