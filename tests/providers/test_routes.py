"""Ways to a provider that are not a plain connection: TLS, a proxy."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.errors import AttemptInterrupted, ConfigurationError
from pipeline.providers.simulator import Simulator
from pipeline.worker.held import Control
from tests.providers.conftest import ConnectTo


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "simulator")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "simulator.pem"
    path.write_bytes(certificate.public_bytes(pem) + secret)
    return path


@pytest.fixture
def tls(certificate: Path) -> Iterator[Simulator]:
    with Simulator(certificate=certificate, key=certificate) as simulator:
        yield simulator


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.mark.usefixtures("trusted")
def test_answers_come_over_tls(tls: Simulator, connect_to: ConnectTo) -> None:
    tls.script(tokens_per_second=500)
    caller = connect_to(tls.url)
    for _ in range(3):
        assert "[simulated]" in caller.call().reply.text
    assert tls.connections == 1


@pytest.mark.usefixtures("trusted")
def test_a_call_over_tls_is_interrupted(tls: Simulator, connect_to: ConnectTo) -> None:
    tls.script("hang")
    control = Control(time.monotonic() + 30)
    pulled = threading.Timer(0.3, control.interrupt, ["cancelled"])
    pulled.start()
    began = time.monotonic()
    with pytest.raises(AttemptInterrupted):
        connect_to(tls.url).call(control=control)
    assert time.monotonic() - began < 10  # and not the half minute that the attempt has
    pulled.join()


@pytest.mark.usefixtures("trusted")
def test_a_long_prompt_goes_over_tls(tls: Simulator, connect_to: ConnectTo) -> None:
    assert connect_to(tls.url).call(options={"padding": "x" * 2_000_000}).reply.text


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that takes connections, and says nothing of TLS or anything else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_a_handshake_that_never_ends_is_a_connection_that_times_out(mute: str, connect_to: ConnectTo) -> None:
    began = time.monotonic()
    assert connect_to(mute, provider_connect_timeout=0.4).failure().reason == "timeout"
    assert time.monotonic() - began < 10  # and not the half minute until a first token


def test_a_call_in_a_handshake_that_never_ends_is_interrupted(mute: str, connect_to: ConnectTo) -> None:
    control = Control(time.monotonic() + 30)
    pulled = threading.Timer(0.3, control.interrupt, ["cancelled"])
    pulled.start()
    began = time.monotonic()
    with pytest.raises(AttemptInterrupted):
        connect_to(mute, provider_connect_timeout=30).call(control=control)
    assert time.monotonic() - began < 10
    pulled.join()


def test_an_unknown_certificate_is_a_connection_error(tls: Simulator, connect_to: ConnectTo) -> None:
    assert connect_to(tls.url).failure().reason == "connection_error"
    assert tls.counts.arrived == 0


def test_the_environment_s_proxy_is_used(
    simulator: Simulator, connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", simulator.origin)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert connect_to("http://provider.invalid/v1").call().reply.text
    monkeypatch.setenv("no_proxy", "provider.invalid")
    assert connect_to("http://provider.invalid/v1").failure().reason == "connection_error"


def test_a_proxy_of_another_kind_is_refused_at_once(connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="proxy"):
        connect_to("http://provider.invalid/v1")
