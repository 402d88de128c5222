"""Fixtures of the families' room."""

import socket

import pytest


@pytest.fixture
def no_network(monkeypatch):
    """Any use of a socket fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("touched the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
