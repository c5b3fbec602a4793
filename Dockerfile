# One image for every service: workers, beat, Flower, migrations, the simulator. What it runs is its command.
# Needs nothing but its base image and a package index; both stages must have the same base.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The locked requirements change seldom, so they come first: a change of the code reuses this layer.
COPY ops/requirements-image.txt ops/requirements-build.txt ops/
RUN python -m venv /opt/pipeline \
 && /opt/pipeline/bin/pip install --quiet --require-hashes --only-binary :all: -r ops/requirements-image.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --quiet --require-hashes --only-binary :all: -r ops/requirements-build.txt
COPY pyproject.toml README.md celeryconfig.py ./
COPY migrations migrations
COPY stress stress
COPY pipeline pipeline
# Built without isolation, as that would fetch a build backend that nobody has locked.
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/pipeline/bin/pip install --quiet --no-deps --no-index dist/*.whl \
 && /opt/pipeline/bin/pip check \
 && /opt/pipeline/bin/python -m pip uninstall --quiet --yes pip

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 pipeline && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin pipeline \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/pipeline
COPY --from=build /opt/pipeline /opt/pipeline
COPY ops/worker_health.py ops/simulator.py /opt/pipeline/bin/
ENV PATH=/opt/pipeline/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# By number, so that an orchestrator can tell that it is not root.
USER 10001:10001
WORKDIR /home/pipeline
STOPSIGNAL SIGTERM
# No shell in between: SIGTERM reaches Celery, which then finishes what it runs.
CMD ["celery", "-A", "pipeline", "worker"]
