# Two images from the same constraints:
#   docker build --target pipeline -t hdrprep .             the pipeline, without torch
#   docker build --target training -t hdrprep-training .    the same and the model
# Run as an ordinary user, with the data mounted; who that is has no home, so that what numba compiles and Matplotlib
# finds out is kept in /tmp, for all processes of the container:
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" hdrprep run /data/hdr --bank /data/patches.zarr
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" hdrprep-training --bank /data/patches.zarr --out /data/run

FROM python:3.11 AS source
WORKDIR /src
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY pipeline pipeline
COPY model model

FROM source AS build-pipeline
RUN make install-pipeline VENV=/opt/hdrprep

FROM source AS build-training
RUN make install-model VENV=/opt/hdrprep

FROM python:3.11-slim AS pipeline
COPY --from=build-pipeline /opt/hdrprep /opt/hdrprep
ENV PATH=/opt/hdrprep/bin:$PATH NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["hdrprep"]

FROM python:3.11-slim AS training
COPY --from=build-training /opt/hdrprep /opt/hdrprep
ENV PATH=/opt/hdrprep/bin:$PATH NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["python", "-m", "model.train"]
