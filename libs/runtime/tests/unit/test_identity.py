"""Who a certificate names, with which roles, in which namespaces."""

from types import SimpleNamespace

import pytest

from contracts.roles import Role
from contracts.services import Service
from runtime import authorisation, identity
from runtime.errors import ConfigurationError
from runtime.identity import CertificateAuthenticator, Identity, LocalAuthenticator


class Call:
    """A call whose certificate has these URI SANs."""

    def __init__(self, *names):
        self._names = [name.encode() for name in names]

    def auth_context(self):
        return {"x509_subject_alternative_name": self._names} if self._names else {}


def caller(*names):
    return CertificateAuthenticator().authenticate(Call(*names), {})


def test_a_service_works_in_every_namespace():
    assert caller("spiffe://backbone/router") == Identity("router", frozenset({Role.SERVICE}))


def test_a_member_holds_its_role_in_its_namespace():
    assert caller("spiffe://backbone/ns/dev/author/ana") == Identity(
        "dev/ana", frozenset({Role.AUTHOR}), frozenset({"dev"})
    )


def test_a_member_may_hold_several_roles_of_one_namespace():
    found = caller("spiffe://backbone/ns/dev/author/ana", "spiffe://backbone/ns/dev/viewer/ana")
    assert found.roles == {Role.AUTHOR, Role.VIEWER}


def test_a_member_belongs_to_the_groups_of_its_namespace():
    found = caller(
        "spiffe://backbone/ns/dev/group/collections",
        "spiffe://backbone/ns/dev/assignee/ana",
        "spiffe://backbone/ns/dev/group/desk",
        "spiffe://backbone/ns/prod/group/managers",
    )
    assert found.roles == {Role.ASSIGNEE}
    assert found.groups == {"collections", "desk"}
    assert found.user == "ana"


def test_a_group_alone_is_nobody():
    assert caller("spiffe://backbone/ns/dev/group/collections") is None


def test_a_service_is_no_user():
    assert caller("spiffe://backbone/router").user == ""


def test_a_role_of_another_namespace_does_not_count_in_the_first():
    found = caller("spiffe://backbone/ns/dev/viewer/ana", "spiffe://backbone/ns/prod/author/ana")
    assert found.roles == {Role.VIEWER}
    assert found.namespaces == {"dev"}


@pytest.mark.parametrize(
    "name",
    [
        "spiffe://backbone/ns/dev/service/ana",
        "spiffe://backbone/ns/dev/king/ana",
        "spiffe://backbone/ns/dev/author/",
        "spiffe://backbone/ns/dev/author/ana/more",
        "spiffe://backbone/a/b",
        "spiffe://backbone/kafka",
        "spiffe://backbone/router\n",
        "spiffe://elsewhere/router",
        "spiffe://backbone.example/router",
        "spiffe://elsewhere/ns/dev/author/ana",
        "spiffe://backbone/",
        "https://backbone/router",
        "dns:router",
    ],
)
def test_what_is_not_one_of_the_two_forms_is_nobody(name):
    assert caller(name) is None


@pytest.mark.parametrize("service", sorted(set(Service) - {Service.CONSOLE}))
def test_the_name_that_a_service_is_given_is_the_one_it_is_known_by(service):
    assert caller(identity.service_uri("backbone", service)).subject == service


def test_the_console_is_nobody_of_itself():
    assert caller(identity.service_uri("backbone", Service.CONSOLE)) is None


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.SERVICE}))
def test_the_names_that_a_member_is_given_are_those_it_is_known_by(role):
    found = caller(
        identity.member_uri("backbone", namespace="dev", role=role, name="ana"),
        identity.group_uri("backbone", namespace="dev", group="desk"),
    )
    assert found == Identity(
        "dev/ana", frozenset({role}), frozenset({"dev"}), groups=frozenset({"desk"})
    )


@pytest.mark.parametrize(
    ("namespace", "role", "name"),
    [("dev", Role.SERVICE, "ana"), ("dev/x", Role.AUTHOR, "ana"), ("dev", Role.AUTHOR, "a/b")],
)
def test_no_name_is_made_that_would_be_read_as_another(namespace, role, name):
    with pytest.raises(ValueError, match="no identity"):
        identity.member_uri("backbone", namespace=namespace, role=role, name=name)


def test_another_trust_domain_can_be_ones_own():
    ours = CertificateAuthenticator("backbone.example")
    assert ours.authenticate(Call("spiffe://backbone.example/router"), {}) is not None
    assert ours.authenticate(Call("spiffe://backbone/router"), {}) is None


def test_without_a_certificate_nobody_is_calling():
    assert caller() is None


def test_locally_the_caller_names_itself():
    found = LocalAuthenticator().authenticate(Call(), {"backbone-actor": "ana"})
    assert found == Identity("local/ana", frozenset(Role))


@pytest.mark.parametrize("actor", ["", "two words", "a\nb", "x" * 200])
def test_a_name_that_a_log_would_not_show_as_it_is_becomes_somebody(actor):
    assert LocalAuthenticator().authenticate(Call(), {"backbone-actor": actor}).subject == (
        "local/somebody"
    )


def test_without_tls_only_the_local_environment_is_served():
    assert isinstance(identity.authenticator(environment="local", tls=False), LocalAuthenticator)
    with pytest.raises(ConfigurationError, match="BACKBONE_TLS_CERTIFICATE"):
        identity.authenticator(environment="prod", tls=False)


@pytest.mark.parametrize(
    ("namespaces", "request_", "allowed"),
    [
        (None, SimpleNamespace(namespace="prod"), True),
        (None, SimpleNamespace(), True),
        ({"dev"}, SimpleNamespace(namespace="dev"), True),
        ({"dev"}, SimpleNamespace(namespace="prod"), False),
        ({"dev"}, SimpleNamespace(namespace=""), False),
        ({"dev"}, SimpleNamespace(), False),
    ],
)
def test_who_belongs_to_a_namespace_may_name_only_that(namespaces, request_, allowed):
    member = Identity(
        "dev/ana", frozenset({Role.AUTHOR}), None if namespaces is None else frozenset(namespaces)
    )
    assert authorisation.allows_namespace(member, request_) is allowed
