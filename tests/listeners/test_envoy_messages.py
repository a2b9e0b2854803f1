"""Envoy's messages, in a package of Remit's: they keep what is put into them."""

from __future__ import annotations

from remit._envoy.envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2, external_processor_pb2_grpc


def test_a_check_and_a_process_come_back_as_they_were_sent() -> None:
    check = external_auth_pb2.CheckRequest()
    check.attributes.request.http.path = "/v1/x"
    check.attributes.source.address.pipe.path = "/run/x.sock"
    assert external_auth_pb2.CheckRequest.FromString(check.SerializeToString()) == check
    process = external_processor_pb2.ProcessingResponse()
    process.request_body.response.header_mutation.remove_headers.append("authorization")
    process.dynamic_metadata["cost"] = 5
    assert external_processor_pb2.ProcessingResponse.FromString(process.SerializeToString()) == process


def test_the_services_are_envoy_s_own() -> None:
    described = (external_auth_pb2.DESCRIPTOR, external_processor_pb2.DESCRIPTOR)
    names = [service.full_name for each in described for service in each.services_by_name.values()]
    assert names == ["envoy.service.auth.v3.Authorization", "envoy.service.ext_proc.v3.ExternalProcessor"]
    assert external_auth_pb2_grpc.AuthorizationServicer.Check
    assert external_processor_pb2_grpc.ExternalProcessorServicer.Process
