# forklore's two images: `docker build --target agent .` and `docker build --target collector .`; `make image` where there is no
# Docker engine.
#
# Debian 13 with its own Python, because no other can import Debian's python3-bpfcc; PyPI's packages by hash. What builds, and what
# only a package's installation needs, stays behind in the stages above the last two. Behind a proxy pip gets its settings
# from two optional secrets: pip (a pip.conf) and ca (certificates, which it finds at /run/secrets/ca).
ARG DEBIAN=docker.io/library/debian:trixie-slim

FROM ${DEBIAN} AS debian
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get upgrade -y \
    && apt-get install -y --no-install-recommends ca-certificates python3

# --- PyPI's packages and forklore itself, into /usr/local: Debian's Python looks there first

FROM debian AS pip
RUN apt-get install -y --no-install-recommends binutils python3-pip python3-venv
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_IGNORE_INSTALLED=1 PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

FROM pip AS wheel
COPY dev/requirements/build.txt dev/requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    python3 -m venv /build && /build/bin/pip install --require-hashes --no-deps -r dev/requirements/build.txt
COPY . .
RUN for image in agent collector; do FORKLORE_WHEEL=$image PIP_ONLY_BINARY= \
    /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheel/$image . || exit; done

FROM pip AS agent-packages
COPY dev/requirements/agent.txt dev/requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    pip install --require-hashes --no-deps -r dev/requirements/agent.txt
# The Kubernetes client is 75 MB of classes, one for each kind of object and each group of the API; they are imported when somebody
# asks for one by name. The agent asks for CoreV1Api: what that imports stays.
RUN cd /usr/local/lib/python3*/dist-packages && python3 -B -c "import pathlib, sys; from kubernetes.aio.client import CoreV1Api; \
    used = {getattr(module, '__file__', None) for module in sys.modules.values()}; \
    [file.unlink() for place in ('client', 'aio/client') for kind in ('api', 'models') \
     for file in pathlib.Path('kubernetes', place, kind).resolve().glob('*.py') if str(file) not in used]"
RUN find /usr/local/lib -name '*.so' -exec strip --strip-unneeded {} + # symbols for debuggers, a quarter of all
COPY --from=wheel /wheel /wheel
RUN pip install --no-index --no-deps /wheel/agent/*.whl

FROM pip AS collector-packages
COPY dev/requirements/collector.txt dev/requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    pip install --require-hashes --no-deps -r dev/requirements/collector.txt
# Who keeps forks in a ClickHouse server of their own can have an image of a fifth the size: `--build-arg WITHOUT=chdb-core`.
ARG WITHOUT=
RUN [ -z "$WITHOUT" ] || pip uninstall -y "$WITHOUT"
RUN find /usr/local/lib -name '*.so' ! -name '_chdb.*' -exec strip --strip-unneeded {} + # chDB's comes stripped
COPY --from=wheel /wheel /wheel
RUN pip install --no-index --no-deps /wheel/collector/*.whl

# --- What an image holds, made smaller before it becomes one layer

FROM debian AS agent-root
RUN apt-get install -y --no-install-recommends python3-bpfcc
COPY --from=agent-packages /usr/local /usr/local
COPY dev/setup/strip /strip
RUN /strip

FROM debian AS collector-root
COPY --from=collector-packages /usr/local /usr/local
COPY dev/setup/strip /strip
RUN /strip \
    && echo 'forklore:x:65532:65532::/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'forklore:x:65532:' >>/etc/group

# --- The images

FROM scratch AS collector
ARG VERSION=0.1.0
ARG REVISION=
COPY --from=collector-root / /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LABEL org.opencontainers.image.title="forklore collector" \
    org.opencontainers.image.description="Takes forks in from forklore's agents, and shows them per pod." \
    org.opencontainers.image.source="https://github.com/forklore/forklore" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"
USER 65532:65532
EXPOSE 9910
ENTRYPOINT ["forklore", "collector"]

FROM scratch AS agent
ARG VERSION=0.1.0
ARG REVISION=
COPY --from=agent-root / /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LABEL org.opencontainers.image.title="forklore agent" \
    org.opencontainers.image.description="Captures, names and ships every fork of the node it runs on." \
    org.opencontainers.image.source="https://github.com/forklore/forklore" \
    org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"
EXPOSE 9911
ENTRYPOINT ["forklore", "agent"]
