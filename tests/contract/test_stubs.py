"""What the protos declare is what the services serve, and every method says who may call it."""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass

import pytest

from backbone.audit.v1 import audit_pb2
from backbone.ledger.v1 import ledger_pb2, routing_pb2
from backbone.outbox.v1 import outbox_pb2
from backbone.registry.v1 import registry_pb2
from backbone.router.v1 import router_pb2
from contracts.roles import Role
from runtime.authorisation import Policy
from runtime.grpcserver import Service

FILES = (
    registry_pb2.DESCRIPTOR,
    ledger_pb2.DESCRIPTOR,
    routing_pb2.DESCRIPTOR,
    router_pb2.DESCRIPTOR,
    outbox_pb2.DESCRIPTOR,
    audit_pb2.DESCRIPTOR,
)
DECLARED = {
    service.full_name: service for file in FILES for service in file.services_by_name.values()
}


@dataclass(frozen=True)
class Served:
    """What an adapter serves: the servicer's class and who may call which method."""

    servicer: type
    policy: Policy


@pytest.fixture(scope="module")
def served():
    """Return what the adapters serve, and what services share, by the name of the gRPC service."""
    found = {}
    for package in ("registry.adapters", "router.adapters", "ledger.adapters", "eventstore"):
        adapters = importlib.import_module(package)
        for info in pkgutil.iter_modules(adapters.__path__, f"{adapters.__name__}."):
            module = importlib.import_module(info.name)
            for servicer in vars(module).values():
                if not (inspect.isclass(servicer) and servicer.__module__ == module.__name__):
                    continue
                for name in DECLARED:
                    if servicer.__base__.__name__ == f"{name.rpartition('.')[2]}Servicer":
                        assert name not in found, f"{name} is served twice"
                        found[name] = Served(servicer, _policy_of(module))
    return found


def _policy_of(module):
    """Return the policy table beside a servicer, or that of the service its module makes."""
    if hasattr(module, "POLICY"):
        return module.POLICY
    (make,) = (
        function
        for function in vars(module).values()
        if inspect.isfunction(function) and inspect.signature(function).return_annotation is Service
    )
    # The use cases behind the servicer are not called.
    return make(**dict.fromkeys(inspect.signature(make).parameters)).policy


def _methods(name):
    return {method.name for method in DECLARED[name].methods}


def test_every_declared_service_is_served_and_no_other(served):
    assert set(served) == set(DECLARED)


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_declared_method_has_a_policy_entry_and_no_other(served, name):
    assert set(served[name].policy) == {f"/{name}/{method}" for method in _methods(name)}


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_method_is_open_to_some_role_and_never_to_what_is_not_one(served, name):
    for method, roles in served[name].policy.items():
        assert roles, f"nobody may call {method}"
        assert all(isinstance(role, Role) for role in roles)


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_servicer_implements_every_declared_method(served, name):
    servicer = served[name].servicer
    # A method that the servicer leaves to the generated base answers UNIMPLEMENTED.
    left = {m for m in _methods(name) if getattr(servicer, m).__module__.endswith("_pb2_grpc")}
    assert not left


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_each_method_has_a_request_and_a_response_of_its_own(name):
    for method in DECLARED[name].methods:
        assert method.input_type.name == f"{method.name}Request"
        assert method.output_type.name == f"{method.name}Response"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_enum_begins_with_unspecified(file):
    for enum in file.enum_types_by_name.values():
        assert enum.values[0].number == 0
        assert enum.values[0].name.endswith("_UNSPECIFIED")


# What the caller names is all there can be: so many offsets of one partition.
BOUNDED = {"ListDeadLetterResolutions"}


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_lists_are_paged(name):
    for method in DECLARED[name].methods:
        if method.name.startswith("List") and method.name not in BOUNDED:
            assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
            assert "next_page_token" in method.output_type.fields_by_name


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_request_names_its_namespace(name):
    # Who belongs to a namespace is held to it by this field: see runtime.authorisation.
    for method in DECLARED[name].methods:
        assert "namespace" in method.input_type.fields_by_name, method.full_name


MUTATING = ("Apply", "Activate", "Enable", "Disable", "Retire", "Complete", "Trigger")


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_what_people_change_carries_a_reason_and_a_request_id(name):
    for method in DECLARED[name].methods:
        if method.name.startswith(MUTATING):
            assert {"reason", "request_id"} <= set(method.input_type.fields_by_name), method.name
