# The jobs of this repository on Google Cloud: without the local BigQuery, and not as root.
#   docker build --tag etlkit . && docker run --rm etlkit jobs.vision_objects --project my-project
FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 ETLKIT_WHEEL=slim
RUN python -m venv /venv
WORKDIR /src
COPY . .
RUN /venv/bin/pip install . \
  && /venv/bin/pip uninstall --yes pip \
  && cd /venv/lib/python3.*/site-packages/pyarrow && rm -rf include tests *_flight* libarrow_flight*

FROM python:3.12-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --create-home --uid 10001 etlkit
COPY --from=build /venv /venv
WORKDIR /app
COPY transforms transforms
COPY jobs jobs
# A job may write new files beside these, e.g. the page of a run, and change none.
RUN chown etlkit /app
USER 10001
ENTRYPOINT ["etlkit", "run"]
CMD ["--help"]
