# Every step is what `make run` does on a fresh machine: a virtual environment, the locked dependencies with their
# hashes, then the project itself. The image runs as nobody in particular, and needs nothing writable but /state.
# BASE can name a digest: --build-arg BASE=python:3.13-slim@sha256:…
# EXTRAS adds locked packages of requirements/: --build-arg EXTRAS=postgresql, as compose.replicas.yaml does.
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
ARG EXTRAS=""
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /opagate
COPY pyproject.toml README.md LICENSE Makefile ./
COPY requirements/ requirements/
COPY gateway/ gateway/
COPY opagate/ opagate/
COPY rego/ rego/
RUN make .venv/.run
RUN for extra in ${EXTRAS}; do .venv/bin/python -m pip install -q --no-deps --require-hashes -r requirements/${extra}.txt || exit 1; done
# Here, so that no layer of the image repeats the files. A clone with a strict umask has files that only its owner reads.
# The environment is whole, and needs no pip.
RUN chmod -R go+rX /opagate && .venv/bin/python -m pip uninstall -q -y pip

# The list of all that is installed, in CycloneDX.
FROM build AS inventory
RUN python -m venv /inventory && /inventory/bin/pip install -q --require-hashes -r requirements/inventory.txt
RUN /inventory/bin/cyclonedx-py environment --output-reproducible --output-file /opagate.cdx.json /opagate/.venv/bin/python

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin opagate \
 && install -d -o 10001 -g 10001 -m 0700 /state && install -d /etc/opagate
COPY --from=build /opagate /opagate
COPY --from=inventory /opagate.cdx.json /usr/share/opagate/
WORKDIR /etc/opagate
ENV PATH=/opagate/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8080/healthz', headers={'Host': '127.0.0.1:8080'}), timeout=2)"]
ENTRYPOINT ["opagate"]
CMD ["up", "--config", "/etc/opagate/gateway.yaml"]
