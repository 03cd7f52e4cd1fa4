# The operator's image. It also runs the stages of our own (`python3 -m yolo_operator.dataset`, `….weights`) and ships the runner.
#
# Build: `hack/images build operator`, or `docker build -t yolo-operator/operator:dev .`
# Layers, from what changes least to what changes most: Python, the pinned dependencies, the package.
# Package clients take their settings from build arguments, the environment or mounts; nothing of them stays in the image.

FROM debian:trixie-slim AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log


FROM python AS tools
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip python3-setuptools python3-venv


# The dependencies alone: pyproject.toml may change without them.
FROM python AS requirements
COPY pyproject.toml /src/
RUN python3 -c 'import tomllib; print(*tomllib.load(open("/src/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    > /requirements.txt


FROM tools AS dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
COPY constraints.txt /src/
COPY --from=requirements /requirements.txt /src/
RUN python3 -m venv --without-pip /opt/venv \
    && python3 -m pip --python /opt/venv install --no-cache-dir --no-compile -r /src/requirements.txt -c /src/constraints.txt
# The kubernetes client has a module for every kind of every API group: 75 MB. What the APIs below load stays, the rest goes.
RUN /opt/venv/bin/python3 -B -c 'import pathlib, sys, kopf, kubernetes, kubernetes.aio.client as client; \
[getattr(client, f"{name}Api") for name in "ApiextensionsV1 AuthorizationV1 BatchV1 CoordinationV1 CoreV1 CustomObjects Version".split()]; \
loaded = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}; \
files = pathlib.Path(kubernetes.__path__[0]).glob("**/client/*/*.py"); \
[file.unlink() for file in files if str(file) not in loaded]' \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib


FROM dependencies AS package
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY operator ./operator
RUN python3 -m pip wheel --no-deps --no-build-isolation --no-index --no-cache-dir -w /wheel . \
    && python3 -m pip --python /opt/venv install --no-deps --no-index --no-cache-dir --no-compile /wheel/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib/python3*/site-packages/yolo_operator
# Every module must still import (the command line's libraries are not in the image; the report needs none of them).
RUN /opt/venv/bin/python3 -B -c 'import importlib, pkgutil, yolo_operator; \
names = [module.name for module in pkgutil.walk_packages(yolo_operator.__path__, "yolo_operator.")]; \
[importlib.import_module(name) for name in names if ".cli" not in name and not name.endswith("__main__")]; \
import yolo_operator.cli.workspace_report'
RUN mkdir /out && cd / \
    && tar -cf - opt/venv/bin/yolo-operator opt/venv/lib/python3*/site-packages/yolo_operator* | tar -xf - -C /out


FROM python
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="yolo-operator" \
      org.opencontainers.image.description="Runs YOLOv4 experiments on NVIDIA TAO, stage by stage, as Kubernetes Jobs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN printf 'yolo:x:65532:65532:yolo:/tmp:/usr/sbin/nologin\n' >> /etc/passwd && printf 'yolo:x:65532:\n' >> /etc/group
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /out/ /
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["/opt/venv/bin/yolo-operator"]
CMD ["run"]
