"""The pipeline in containers, by pytest-celery: two workers of the built image, a broker, Postgres, a provider."""

from __future__ import annotations

import fcntl
import gc
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]  # ships no types
import pytest
from celery import Celery

# One by one: the plugin as a whole is switched off, as it would give every other test its fixtures, too.
from pytest_celery import (  # noqa: F401
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RedisTestBroker,
    celery_broker_cluster,
    celery_broker_cluster_config,
    celery_setup,
    celery_setup_cls,
    celery_setup_config,
    celery_setup_name,
    celery_worker_cluster_config,
    default_pytest_celery_network,
)
from pytest_docker_tools import container, fxtr

from pipeline import Settings
from tests.docker.containers import (
    BROKER_IMAGE,
    PASSWORD,
    POSTGRES_IMAGE,
    PYTHON_IMAGE,
    Broker,
    Postgres,
    Simulator,
    Worker,
    on_a_free_port,
)
from tests.docker.deployment import QUICK, Deployment

ROOT = Path(__file__).parents[2]
TAG = "agent-pipeline:test"

#: As in docker-compose.yml.
HARDENED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": "size=64m,mode=1777"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these may have to wait for the first build of the image."""
    for item in items:
        if ROOT / "tests/docker" in item.path.parents and item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.timeout(900))
            item.add_marker(pytest.mark.xdist_group("docker"))


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    client = _connect()
    with closing(client):
        for image in (PYTHON_IMAGE, POSTGRES_IMAGE, BROKER_IMAGE):
            need(client, image)
        yield client


def _connect() -> docker.DockerClient:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # docker leaves the socket behind that could not connect
        try:
            return docker.from_env()
        except docker.errors.DockerException as fault:
            why = str(fault)
        gc.collect()
    pytest.skip(f"no Docker daemon answers: {why}")


def need(client: docker.DockerClient, image: str) -> None:
    """Skip where an image can be had neither here nor from its registry."""
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            client.images.pull(image)
        except docker.errors.APIError as fault:
            pytest.skip(f"the image {image} is not here and cannot be pulled: {fault.explanation}")


@pytest.fixture(scope="session")
def pipeline_image(docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The image that the Dockerfile builds. Two processes of one run take turns: the second finds all of it cached."""
    with (tmp_path_factory.getbasetemp().parent / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return docker_client.images.build(path=str(ROOT), tag=TAG, rm=True, buildargs={"PYTHON_IMAGE": PYTHON_IMAGE})[0]


@pytest.fixture
def broker_ports() -> dict[str, tuple[str, int]]:
    return on_a_free_port("6379/tcp")


@pytest.fixture
def postgres_ports() -> dict[str, tuple[str, int]]:
    return on_a_free_port("5432/tcp")


@pytest.fixture
def simulator_ports() -> dict[str, tuple[str, int]]:
    return on_a_free_port("8000/tcp")


broker_container = container(
    image=BROKER_IMAGE,
    command=Broker.command(),
    ports=fxtr("broker_ports"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=Broker,
    timeout=60,
)

postgres_container = container(
    image=POSTGRES_IMAGE,
    environment={"POSTGRES_PASSWORD": PASSWORD},
    ports=fxtr("postgres_ports"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=Postgres,
    timeout=60,
)

simulator_container = container(
    image="{pipeline_image.id}",
    command=["python", "/opt/pipeline/bin/simulator.py", "8000"],
    ports=fxtr("simulator_ports"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=Simulator,
    timeout=60,
    **HARDENED,
)

first_worker, second_worker = (
    container(
        image="{pipeline_image.id}",
        command=Worker.command(),
        environment=fxtr("worker_environment"),
        network="{default_pytest_celery_network.name}",
        wrapper_class=Worker,
        timeout=60,
        **HARDENED,
    )
    for _ in range(2)
)


@pytest.fixture
def celery_broker(broker_container: Broker) -> RedisTestBroker:
    """The only broker: by default pytest-celery runs each test on RabbitMQ as well."""
    return RedisTestBroker(broker_container)


@pytest.fixture
def celery_backend_cluster() -> None:
    """None: answers are in Postgres."""


@pytest.fixture
def celery_backend_cluster_config() -> None:
    """None, likewise."""


@pytest.fixture
def celery_setup_app(celery_setup_config: dict[str, Any]) -> Iterator[Celery]:  # noqa: F811
    """An application that talks to the workers, and is nobody's current one."""
    with closing(Celery("docker-tests", set_as_current=False)) as app:
        app.config_from_object(celery_setup_config)
        yield app


@pytest.fixture
def environment(
    broker_container: Broker, postgres_container: Postgres, simulator_container: Simulator
) -> dict[str, str]:
    """The settings of whatever runs beside those three."""
    given = {
        "database_url": postgres_container.url,
        "broker_url": broker_container.url,
        "providers": f'[{{"name": "simulator", "base_url": "{simulator_container.url}", "model": "simulated"}}]',
        **QUICK,
    }
    return {f"CITE_AGENT_{name.upper()}": str(value) for name, value in given.items()}


@pytest.fixture
def worker_environment(
    docker_client: docker.DockerClient,
    pipeline_image: Any,
    default_pytest_celery_network: Any,  # noqa: F811 - the fixture, which is imported above
    environment: dict[str, str],
) -> dict[str, str]:
    """The same, once the tables are there."""
    docker_client.containers.run(
        pipeline_image.id,
        ["pipeline", "db", "upgrade"],
        environment=environment,
        network=default_pytest_celery_network.name,
        remove=True,
        **HARDENED,
    )
    return environment


@pytest.fixture
def celery_worker_cluster(first_worker: Worker, second_worker: Worker, celery_setup_app: Celery) -> CeleryWorkerCluster:
    """Two, so that one may die."""
    return CeleryWorkerCluster(*(CeleryTestWorker(one, app=celery_setup_app) for one in (first_worker, second_worker)))


@pytest.fixture
def deployment(
    celery_setup: CeleryTestSetup,  # noqa: F811
    broker_container: Broker,
    postgres_container: Postgres,
    simulator_container: Simulator,
) -> Iterator[Deployment]:
    """All of it, and agent code's side of it on this machine."""
    settings = Settings(
        database_url=postgres_container.host_url,
        broker_url=broker_container.host_url,
        **QUICK,
    )
    with closing(Deployment(celery_setup, broker_container, postgres_container, simulator_container, settings)) as made:
        yield made
