"""What each may do on the servers of a secure stack is no more than it needs."""

import pytest

from contracts.services import Service
from devstack.infrastructure import access
from devstack.infrastructure.certificates import ADMIN

TENANTS = ("dev", "rival")


@pytest.mark.parametrize("namespace", TENANTS)
def test_a_tenant_may_write_in_temporal_in_its_own_namespace_alone(namespace):
    granted = access.temporal(namespaces=TENANTS)
    assert granted[f"{namespace}.developer"] == (f"{namespace}:write",)


def test_only_who_prepares_the_servers_may_administer_temporal():
    granted = access.temporal(namespaces=TENANTS)
    assert granted.pop(ADMIN) == ("temporal-system:admin",)
    rights = {right for rights in granted.values() for right in rights}
    assert rights == {"dev:write", "rival:write"}


def test_no_service_has_a_token_for_temporal_that_does_not_call_it():
    holders = set(access.temporal(namespaces=TENANTS)) & set(Service)
    assert holders == {Service.REGISTRY, Service.ROUTER, Service.ORCHESTRATOR_WORKER}
