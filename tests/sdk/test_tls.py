"""TLS to the sidecar, both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import remit
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from fakes.loop import in_loop
from fakes.sidecar_fake import SidecarFake

NOW = datetime.now(UTC)


class Authority:
    """A certificate authority that writes PEM files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = generate_private_key(SECP256R1())
        self.pem = self._write("ca", self._key, self._key, x509.BasicConstraints(ca=True, path_length=None))[0]

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for a name."""
        alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._write(name, generate_private_key(SECP256R1()), self._key, alternative)

    def _write(
        self, name: str, key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> tuple[Path, Path]:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(hours=1))
            .not_valid_after(NOW + timedelta(hours=1))
            .add_extension(extension, critical=False)
            .sign(signer, hashes.SHA256())
        )
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths


@in_loop
async def test_mutual_tls(tmp_path: Path) -> None:
    """The sidecar is verified, and the agent proves itself; without its certificate there is no connection."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("sidecar")
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], authority.pem.read_bytes(), require_client_auth=True
    )
    fake = SidecarFake()
    await fake.start("127.0.0.1:0", credentials)
    client, client_key = authority.issue("support")
    proved = remit.Tls(ca=authority.pem, certificate=client, key=client_key, server_name="sidecar")
    try:
        async with remit.Agent.connect(fake.address, "token-support", tls=proved) as agent:
            assert (await agent.authorize("api.call", "service:openai")).permitted
        for wrong in (
            remit.Tls(ca=authority.pem, server_name="sidecar"),
            remit.Tls(ca=authority.pem, certificate=client, key=client_key, server_name="another"),
        ):
            async with remit.Agent.connect(fake.address, "token-support", tls=wrong) as agent:
                with pytest.raises(remit.Unavailable):
                    await agent.authorize("api.call", "service:openai")
    finally:
        await fake.kill()

    assert len(fake.calls) == 1
