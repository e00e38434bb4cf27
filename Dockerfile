# Every step is what `make run` does on a fresh machine: a virtual environment, the locked dependencies with their
# hashes, then the project itself. The image runs as nobody in particular, and needs nothing writable but /state.
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /opagate
COPY pyproject.toml README.md LICENSE Makefile ./
COPY requirements/ requirements/
COPY gateway/ gateway/
COPY opagate/ opagate/
COPY rego/ rego/
RUN make .venv/.run

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin opagate \
 && install -d -o 10001 -g 10001 -m 0700 /state
COPY --from=build /opagate /opagate
# A clone with a strict umask has files that only its owner reads.
RUN chmod -R go+rX /opagate && install -d /etc/opagate
WORKDIR /etc/opagate
ENV PATH=/opagate/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8080/healthz', headers={'Host': '127.0.0.1:8080'}), timeout=2)"]
ENTRYPOINT ["opagate"]
CMD ["serve", "--config", "/etc/opagate/gateway.yaml"]
